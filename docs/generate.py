"""Write the reference tables from the code they describe: settings, columns, features, assets. `make docs` runs it.

A test compares the files with what this program would write, so the tables cannot be out of date.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from dagster import TimeWindowPartitionsDefinition
from prometheus_client import CollectorRegistry

from weather_platform.build import build_definitions
from weather_platform.domain.features import FEATURE_VERSION, FEATURES
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.observability.metrics import ServingMetrics
from weather_platform.serving.app import documented_api
from weather_platform.settings import Settings

GRAINS = {"%Y-%m": "month", "%Y": "year", "%Y-%m-%d": "day"}
REFERENCE = Path(__file__).parent / "reference"


def pages() -> dict[str, str]:
    """File name -> text of every generated page."""
    return {
        "settings.md": _settings(),
        "columns.md": _columns(),
        "features.md": _features(),
        "assets.md": _assets(),
        "metrics.md": _metrics(),
        "openapi.json": _openapi(),
    }


def _metrics() -> str:
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
        for name, kind, labels, text in ServingMetrics(CollectorRegistry()).described()
    ]
    return "# Metrics\n\nWhat `/metrics` of the service tells, added up over its workers.\n\n" + _table(
        ("metric", "type", "labels", "meaning"), rows
    )


def _openapi() -> str:
    return json.dumps(documented_api().openapi(), indent=1, ensure_ascii=False) + "\n"


def _settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        rows.append((f"`WEATHER_{name.upper()}`", f"`{default}`" if default else "", field.description or ""))
    return (
        "# Settings\n\nEach is an environment variable. Unknown names that begin with `WEATHER_`, in either case, are "
        "refused. An empty address or key of a server is one that is not set. The "
        "choice of source is also kept in `<home>/weather.env`; the environment wins over it.\n\n"
        + _table(("variable", "default", "meaning"), rows)
    )


def _columns() -> str:
    rows = [
        (
            f"`{c.name}`", c.unit, "" if c.low is None else f"{c.low:g} to {c.high:g}", f"`{c.weather_aus}`",
            f"`{c.bureau}`" if c.bureau else "", c.description,
        )
        for c in OBSERVATION_COLUMNS
    ]  # fmt: skip
    return (
        "# Observed columns\n\nThe one contract: cleaning, checks and features read it. A value outside its range "
        "becomes missing and is counted.\n\n"
        + _table(("column", "unit", "physical range", "weatherAUS", "Bureau file", "meaning"), rows)
    )


def _features() -> str:
    return f"# Features\n\nFeature version `{FEATURE_VERSION}`.\n\n" + _table(
        ("feature", "unit", "meaning"), ((f"`{f.name}`", f.unit, f.description) for f in FEATURES)
    )


def _assets() -> str:
    rows = []
    for spec in sorted(build_definitions(Settings()).resolve_all_asset_specs(), key=lambda s: s.key.to_user_string()):
        windows = spec.partitions_def
        grain = GRAINS[windows.fmt] if isinstance(windows, TimeWindowPartitionsDefinition) else ""
        upstream = ", ".join(sorted(f"`{dep.asset_key.to_user_string()}`" for dep in spec.deps))
        text = " ".join((spec.description or "").split())
        rows.append((f"`{spec.key.to_user_string()}`", spec.group_name or "", grain, upstream, text))
    return "# Assets\n\n" + _table(("asset", "group", "partition", "depends on", "what it is"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
