"""The pictures of skill over time, after the fact and by test year, as PNG bytes.

What belongs here: drawing the sums of `domain.matured`, and leaderboards side by side. What does not: adding sums up
otherwise than by `combine`, or ranking. matplotlib is imported inside the functions; style and files are those of
`plots`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.domain.leaderboard import Entry
from weather_platform.domain.matured import (
    COUNTS,
    HEADINGS,
    MAIN_ERROR,
    REFERENCES,
    bin_edges,
    combine,
    combine_bins,
    with_scores,
)
from weather_platform.domain.targets import ForecastTarget
from weather_platform.plots import BASELINE_COLOURS, BLUE, GREY, INK, LINE, ORANGE, STYLE, headline, new_figure, png_of

LEGEND_COLUMNS = 4
VERSIONS_SHOWN = 4
"""Newest model versions in a reliability plot."""

_KINDS = {"live": (BLUE, "-", "o"), "hindcast": (ORANGE, "--", "s")}


def matured_reliability_png(target: ForecastTarget, reliability: pa.Table, title: str) -> bytes:
    """What was forecast against what happened, a line for each model version and kind, over how often."""
    from matplotlib import rc_context

    bins = combine_bins(reliability, ("kind", "model_version")).filter(pc.field("matured") > 0)
    newest = sorted(set(bins["model_version"].to_pylist()))[-VERSIONS_SHOWN:]
    lines = [
        (kind, version, rows, line["forecast_sum"].to_numpy() / rows, line["observed_sum"].to_numpy() / rows)
        for kind in _KINDS
        for version in newest
        for line in [bins.filter((pc.field("kind") == kind) & (pc.field("model_version") == version))]
        for rows in [line["matured"].to_numpy()]
        if len(rows)
    ]
    with rc_context(STYLE):
        figure = new_figure(6.0, 6.4)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1), gridspec_kw={"hspace": 0.09})
        width = np.diff(bin_edges(target.task, (0, 1)))[0]
        edges = np.array(bin_edges(target.task, bins["bin"].to_pylist()))
        if target.task == "classification":
            low, high = 0.0, 1.0
        else:
            shown = np.concatenate([edges, edges + width, *(observed for *_, observed in lines)])
            margin = 0.02 * np.ptp(shown)  # no mark is cut by the frame
            low, high = shown.min() - margin, shown.max() + margin
        upper.plot((low, high), (low, high), color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for kind, version, rows, forecast, observed in lines:
            colour, style, marker = _KINDS[kind]
            older = newest[::-1].index(version)
            upper.plot(
                forecast, observed, color=colour, linestyle=style, marker=marker, markersize=4.5, linewidth=1.6,
                alpha=1 - 0.2 * older, label=f"version {version}, {kind}: {rows.sum():,} forecasts",
            )  # fmt: skip
        upper.set(xlim=(low, high), ylim=(low, high))
        headline(figure, f"Reliability: {title}")
        upper.set_ylabel("observed frequency" if target.task == "classification" else f"mean observed, {target.unit}")
        upper.legend(loc="best")  # upper left, unless observed means lie there
        total = combine_bins(bins, ())
        lower.bar(
            bin_edges(target.task, total["bin"].to_pylist()), total["matured"].to_numpy(), width=width, align="edge",
            color=BLUE, alpha=0.75, ec="white",
        )  # fmt: skip
        lower.set(xlabel=f"forecast, {target.unit}", ylabel="forecasts")
        lower.grid(axis="x", visible=False)
        return png_of(figure)


def skill_by_month_png(target: ForecastTarget, skill: pa.Table, title: str) -> bytes:
    """Skill against both references month by month, live and hindcast apart, over how many forecasts matured."""
    from matplotlib import rc_context

    scores = with_scores(combine(skill, ("kind", "month"))).filter(pc.field("matured") > 0)
    months = sorted(set(scores["month"].to_pylist()))
    column = f"{MAIN_ERROR[target.task]}_skill"
    with rc_context(STYLE):
        figure = new_figure(9.0, 5.0, bottom=0.75)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1), gridspec_kw={"hspace": 0.09})
        upper.axhline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
        stacked = np.zeros(len(months))
        for kind, (bar_colour, style, marker) in _KINDS.items():
            of_kind = scores.filter(pc.field("kind") == kind)
            if not of_kind.num_rows:
                continue
            at = [months.index(month) for month in of_kind["month"].to_pylist()]
            for colour, reference in zip((BLUE, *BASELINE_COLOURS), REFERENCES, strict=False):
                values = of_kind[f"{column}_{reference}"].to_numpy()
                upper.plot(
                    at, values, color=colour, linestyle=style, marker=marker, markersize=5, linewidth=1.7,
                    label=f"{kind}, against {reference}",
                )  # fmt: skip
            rows = np.zeros(len(months))
            rows[at] = of_kind["matured"].to_numpy()
            lower.bar(range(len(months)), rows, bottom=stacked, color=bar_colour, alpha=0.75, ec="white", label=kind)
            stacked += rows
        upper.set_ylim(bottom=min(0.0, *upper.get_ylim()), top=1)
        word = HEADINGS[target.task][f"{column}_{REFERENCES[0]}"].split(" against ")[0]
        upper.set_ylabel(word)
        headline(figure, f"{word} by month: {title}")
        upper.legend(loc="upper left", ncols=2)
        lower.set_ylabel(COUNTS[1])
        step = -(-len(months) // 24)  # at most 24 labels
        lower.set_xticks(range(0, len(months), step), months[::step], rotation=45, ha="right")
        lower.grid(axis="x", visible=False)
        return png_of(figure)


def skill_by_year_png(target: ForecastTarget, boards: Mapping[int, Sequence[Entry]], note: str) -> bytes:
    """The primary metric on test year by year: candidates with their intervals, baselines dashed.

    The note ends the title.
    """
    from matplotlib import rc_context

    years = sorted(boards)
    lines = [line for year in years for line in boards[year]]
    models = sorted({line.name for line in lines if line.rank is not None})
    baselines = sorted({line.name for line in lines if line.rank is None})
    with rc_context(STYLE):
        names = models + baselines
        figure = new_figure(9.0, 5.0, bottom=0.5 + LINE * -(-len(names) // LEGEND_COLUMNS))
        axes = figure.subplots()
        # Side by side around the year, so that intervals of several models can be told apart.
        shifts = dict(zip(models, np.linspace(-0.02, 0.02, len(models)) * len(models), strict=True))
        for colour, name in zip((BLUE, ORANGE, *BASELINE_COLOURS, GREY) * len(models), models, strict=False):
            own = {year: line for year in years for line in boards[year] if line.name == name}
            at = [year + shifts[name] for year in own]
            axes.plot(
                at, [line.test for line in own.values()], color=colour, marker="o", markersize=5, linewidth=1.6,
                label=name,
            )  # fmt: skip
            for x, line in zip(at, own.values(), strict=True):
                if line.test_low is not None and line.test_high is not None:
                    axes.vlines(x, line.test_low, line.test_high, color=colour, linewidth=1.2)
        for colour, name in zip((GREY, INK) * len(baselines), baselines, strict=False):
            own = {year: line for year in years for line in boards[year] if line.name == name}
            values = [line.test for line in own.values()]
            axes.plot(list(own), values, color=colour, linestyle=(0, (4, 3)), marker="s", markersize=4, label=name)
        metric = {"f1": "F1", "r2": "R²"}.get(target.primary_metric, target.primary_metric)
        axes.set_xticks(years, [str(year) for year in years])
        axes.set_ylabel(f"{metric} on test")
        headline(figure, f"{target.title}: {metric} by test year, 95 % intervals{note}")
        axes.grid(axis="x", visible=False)
        figure.legend(loc="lower left", ncols=LEGEND_COLUMNS)
        return png_of(figure)
