"""The one door to Evidently: its drift report of a month, as a page, as plain values, and as distances.

What belongs here: asking Evidently with every method and threshold fixed, and making its page small. What does not:
which rows are compared and what the distances mean (`domain.drift`), storing pages (`io_managers.reports`). Evidently
takes seconds to import, so it is imported inside the functions; nothing of it speaks to the network.
"""

import base64
import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from weather_platform.domain.drift import METHOD, DriftVerdict, Sides

STATIC_FOLDER = "static"
"""Folder of what all pages share, beside the folders of the reports."""
_TO_STATIC = f"../../{STATIC_FOLDER}"
_COLOURS = {"none": "#1b7837", "drift": "#b2182b", "unknown": "#8a6d00"}


@dataclass(frozen=True, eq=False)
class Measured:
    """What Evidently found: the distance of each column, its own share of drifted columns, page and values."""

    distances: Mapping[str, float]
    share: float | None
    page: str
    values: Mapping[str, Any]


def measure(sides: Sides, thresholds: Mapping[str, float]) -> Measured:
    """Evidently's report on the columns that have a threshold. None at all is a page without figures."""
    if not thresholds:
        return Measured({}, None, _EMPTY_PAGE, {})
    # Evidently's settings are read at import. Its telemetry belongs to its own web service; off all the same.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import DriftedColumnsCount, ValueDrift

    at = {column.name: position for position, column in enumerate(sides.columns)}
    observed = [name for name in thresholds if sides.columns[at[name]].kind == "observation"]

    def dataset(values: Any) -> Any:
        frame = pd.DataFrame({name: values[:, at[name]] for name in thresholds})
        return Dataset.from_pandas(frame, data_definition=DataDefinition(numerical_columns=list(thresholds)))

    metrics: list[Any] = [ValueDrift(column=name, method=METHOD, threshold=limit) for name, limit in thresholds.items()]
    if observed:
        count = DriftedColumnsCount(
            columns=observed,
            drift_share=1 / len(observed),  # its test fails from the first drifted column on
            per_column_method=dict.fromkeys(observed, METHOD),
            per_column_threshold={name: thresholds[name] for name in observed},
        )
        metrics.insert(0, count)
    snapshot = Report(metrics, include_tests=True).run(dataset(sides.current), dataset(sides.reference))
    values = json.loads(snapshot.json())
    found = {str(metric["config"].get("column")): metric["value"] for metric in values["metrics"]}
    return Measured(
        {name: float(found[name]) for name in thresholds},
        float(values["metrics"][0]["value"]["share"]) if observed else None,
        _lean(snapshot.get_html_str(as_iframe=False)),
        values,
    )


def page(measured: Measured, verdict: DriftVerdict, note: str) -> bytes:
    """Evidently's page with the verdict on top; the note stands behind it."""
    reference = (
        f"{verdict.reference_months[0]} to {verdict.reference_months[-1]}" if verdict.reference_months else "none"
    )
    facts = [
        *verdict.reasons,
        f"{verdict.rows:,} rows of {verdict.days} days; reference {reference}, {verdict.reference_rows:,} rows",
        *_listed("Missing all month", verdict.named("missing")),
        *_listed("Not compared", verdict.named("unknown")),
        *_listed("Stations not in the reference", verdict.unseen_stations),
        *_listed("Stations of the reference that are silent", verdict.silent_stations),
    ]
    items = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    head = (
        '<div style="font-family: sans-serif; margin: 24px">'
        f'<h2>Drift of {verdict.month}: <span style="color: {_COLOURS[verdict.status]}">{verdict.status}</span>'
        f"{html.escape(note)}</h2>"
        f"<ul>{items}</ul></div>"
    )
    return measured.page.replace("<body>", f"<body>{head}", 1).encode()


def static_files() -> dict[str, bytes]:
    """What all pages share, by file name: four megabytes once instead of in every page."""
    return {name: data for name, data, _ in _shared_parts()}


_EMPTY_PAGE = "<!DOCTYPE html>\n<html lang='en'><head><meta charset='UTF-8'></head><body></body></html>\n"


def _lean(whole: str) -> str:
    for name, _, inside in _shared_parts():
        opening, closing, reference = (
            ("<script>", "</script>", f'<script src="{_TO_STATIC}/{name}"></script>')
            if name.endswith(".js")
            else ("url(data:font/ttf;base64,", ")", f"url({_TO_STATIC}/{name})")
        )
        whole = whole.replace(f"{opening}{inside}{closing}", reference)
    return whole


@cache
def _shared_parts() -> tuple[tuple[str, bytes, str], ...]:
    """Name, bytes, and how the page holds them: Evidently's script and its font. The name carries its version."""
    import evidently
    from evidently.legacy.utils.dashboard import STATIC_PATH

    script = (Path(STATIC_PATH) / "index.js").read_bytes()
    font = (Path(STATIC_PATH) / "material-ui-icons.woff2").read_bytes()
    return (
        (f"evidently-{evidently.__version__}.js", script, script.decode()),
        (f"evidently-{evidently.__version__}.woff2", font, base64.b64encode(font).decode()),
    )


def _listed(title: str, names: list[str] | tuple[str, ...]) -> list[str]:
    return [f"{title}: {', '.join(names)}"] if names else []
