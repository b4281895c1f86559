"""The pictures that go with models and reports, as PNG bytes.

What belongs here: drawing what the domain measured. What does not: measuring. matplotlib is imported
inside the functions and used through its objects alone, so nothing global is touched and no display is
needed. The same model gives the same bytes.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.drift import DriftVerdict
from weather_platform.domain.leaderboard import Entry
from weather_platform.domain.metrics import CALIBRATION_BINS, ClassificationDiagnostics
from weather_platform.domain.outputs import INTERVAL_COVERAGE
from weather_platform.domain.regression_metrics import RegressionDiagnostics
from weather_platform.domain.training import TrainedModel
from weather_platform.reports.coastline import rings_within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

BLUE, ORANGE, GREY, INK, FAINT = "#2166ac", "#d6604d", "#8a8f98", "#22262b", "#d9dde2"
BASELINE_COLOURS = ("#5aae61", "#9970ab", "#bf812d", "#80cdc1")
_DPI = 130
_HEADLINE_POINTS = 11.5

LINE, COLOUR_BAR = 0.19, 0.7
"""Inches: a line of text below the axes, and the labels of a colour bar."""

_FARTHEST = 5.0
"""Thresholds that the axis of drift shows at most: one broken instrument would press all other bars flat."""

_SMALL_WIDTH_PIXELS, _SMALL_COLOURS = 560, 64

_SEA = "#eef3f8"
_MAP_MARGIN_DEG, _MAP_LEAST_DEG = 2.0, 12.0
"""Degrees around the outermost stations of a map, and the least that it shows."""
_NAME_POINTS = 7.5
"""Size of a station's name on a map."""
_DRAWN_WIDER = 1.06
"""A drawn line of text is a little wider than its outlines."""
_NAMES_TRIED = 200
"""Stations of a map that may get a name: more would not find room."""

IMPORTANCE_SHOWN = 25
"""Features in the importance plot; the rest is summed up in its caption."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "text.hinting": "none",
}


@dataclass(frozen=True, eq=False)
class StationDots:
    """Stations of a map, all arrays of one length: where they are, what they are coloured by, which have a ring."""

    name: Sequence[str]
    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    value: NDArray[np.float64]
    ringed: NDArray[np.bool_]


def model_plots(model: TrainedModel, title: str) -> dict[str, bytes]:
    """All plots of a model by name: those of its task, and `importance`."""
    shown = model.diagnostics
    if isinstance(shown, ClassificationDiagnostics):
        plots = {
            "reliability": reliability_png(model, shown, title),
            "precision_recall": precision_recall_png(model, shown, title),
        }
    else:
        plots = {
            "forecast_against_observed": forecast_against_observed_png(model, shown, title),
            "errors_by_month": errors_by_month_png(model, shown, title),
        }
    return plots | {"importance": importance_png(model, title)}


def reliability_png(model: TrainedModel, shown: ClassificationDiagnostics, title: str) -> bytes:
    """What was forecast against what happened, over how often each forecast was made."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.0, 6.4)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1), gridspec_kw={"hspace": 0.09})
        bins = shown.reliability
        full = bins.rows > 0
        upper.plot((0, 1), (0, 1), color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        upper.annotate("perfect", (0.9, 0.9), (3, -12), textcoords="offset points", color=GREY)
        # Two standard errors as if rows were independent; rows of a day are not, so the truth is wider.
        observed, rows = bins.observed[full], bins.rows[full]
        error = 2 * np.sqrt(np.clip(observed * (1 - observed), 0, None) / rows)
        upper.errorbar(
            bins.forecast[full],
            observed,
            yerr=(np.minimum(error, observed), np.minimum(error, 1 - observed)),
            color=BLUE,
            marker="o",
            markersize=5.5,
            linewidth=1.6,
            elinewidth=1,
            capsize=2.5,
        )
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="observed frequency")
        headline(figure, f"Reliability: {title}")
        ece, brier = model.metrics["ece"], model.metrics["brier"]
        text = f"expected calibration error {ece:.4f}\nBrier score {brier:.4f}\n{_span(model)}"
        upper.text(0.03, 0.97, text, transform=upper.transAxes, va="top", linespacing=1.5)
        edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
        lower.bar(edges[:-1], bins.rows, width=np.diff(edges), align="edge", color=BLUE, alpha=0.75, ec="white")
        _at_threshold(lower, shown.threshold)
        lower.set(xlabel="forecast probability", ylabel="forecasts")
        lower.grid(axis="x", visible=False)
        return png_of(figure)


def precision_recall_png(model: TrainedModel, shown: ClassificationDiagnostics, title: str) -> bytes:
    """Precision against recall, with the point the threshold chooses, beside the baselines and their points."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = new_figure(6.4, 6.2, right=0.55, bottom=1.1 + LINE * len(model.baselines))
        axes = figure.subplots()
        _f1_contours(axes)
        events = shown.confusion.true_positive + shown.confusion.false_negative
        share = events / model.rows["test"]
        for colour, (name, baseline) in zip(
            BASELINE_COLOURS * len(model.baselines), sorted(model.baselines.items()), strict=False
        ):
            found = baseline.metrics
            label = f"{name}: PR-AUC {found['pr_auc']:.3f}, F1 {found['f1']:.3f}"
            if isinstance(baseline.diagnostics, ClassificationDiagnostics):
                curve = baseline.diagnostics.curve
                axes.plot(curve.recall[:-1], curve.precision[:-1], color=colour, linewidth=1.3)
            axes.plot(found["recall"], found["precision"], "o", color=colour, markersize=6, mec="white", label=label)
        found = model.metrics
        axes.plot(shown.curve.recall, shown.curve.precision, color=BLUE, linewidth=2)
        axes.plot(
            found["recall"],
            found["precision"],
            "o",
            color=BLUE,
            markersize=9,
            mec="white",
            mew=1.5,
            zorder=5,
            label=f"{model.algorithm}: PR-AUC {found['pr_auc']:.3f}, F1 {found['f1']:.3f}",
        )
        axes.axhline(share, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(f"always yes: {share:.2f}", (0.01, share), (0, 3), textcoords="offset points", color=GREY)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        headline(figure, f"Precision and recall: {title}")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1],
            labels[::-1],
            loc="lower left",
            title=f"{_span(model)}; points at the threshold ({shown.threshold:.2f} for the model)",
            alignment="left",
            title_fontsize=9,
        )
        return png_of(figure)


def forecast_against_observed_png(model: TrainedModel, shown: RegressionDiagnostics, title: str) -> bytes:
    """How many test rows lie where: what was forecast over what was observed, with the line where both are equal."""
    from matplotlib import rc_context
    from matplotlib.colors import LogNorm

    unit, found = model.contract.unit, model.metrics
    ends = (shown.edges[0], shown.edges[-1])
    with rc_context(STYLE):
        figure = new_figure(6.8, 6.05, right=COLOUR_BAR)
        axes = figure.subplots()
        counted = np.ma.masked_equal(shown.density.T, 0)  # rows of a mesh are the vertical axis
        mesh = axes.pcolormesh(
            shown.edges, shown.edges, counted, cmap="Blues", norm=LogNorm(1, max(2, int(counted.max())))
        )
        figure.colorbar(mesh, ax=axes, label="forecasts", fraction=0.05, aspect=32, pad=0.02)
        axes.plot(ends, ends, color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        axes.set_xlabel(f"observed, {unit}")
        axes.set_ylabel(f"forecast, {unit}")
        headline(figure, f"Forecast and observed: {title}")
        lines = [
            f"R² {found['r2']:.4f}",
            f"RMSE {found['rmse']:.3f}, MAE {found['mae']:.3f}, bias {found['bias']:+.3f} {unit}",
            *(f"{name}: R² {each.metrics['r2']:.3f}, MAE {each.metrics['mae']:.2f}"
              for name, each in sorted(model.baselines.items())),
            _span(model),
        ]  # fmt: skip
        axes.text(0.03, 0.97, "\n".join(lines), transform=axes.transAxes, va="top", linespacing=1.5, fontsize=8.5)
        return png_of(figure)


def errors_by_month_png(model: TrainedModel, shown: RegressionDiagnostics, title: str) -> bytes:
    """The errors of each month of the issue day as boxes, and how often the prediction interval held the truth."""
    from matplotlib import rc_context

    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    months = np.flatnonzero(shown.month_rows)
    boxes = [
        dict(zip(("whislo", "q1", "med", "q3", "whishi"), shown.month_error[month], strict=True)) for month in months
    ]
    found = model.metrics
    with rc_context(STYLE):
        figure = new_figure(7.6, 5.2, left=0.85, bottom=0.6 + LINE)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1), gridspec_kw={"hspace": 0.09})
        upper.bxp(
            boxes, positions=months, widths=0.6, showfliers=False, patch_artist=True,
            boxprops={"facecolor": BLUE, "alpha": 0.75, "edgecolor": BLUE},
            medianprops={"color": "white", "linewidth": 1.6},
            whiskerprops={"color": BLUE}, capprops={"color": BLUE},
        )  # fmt: skip
        upper.axhline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
        upper.set_ylabel(f"forecast minus observed, {model.contract.unit}")
        headline(figure, f"Errors by month: {title}")
        lower.plot(months, 100 * shown.month_coverage[months], color=BLUE, marker="o", markersize=5, linewidth=1.4)
        lower.axhline(100 * INTERVAL_COVERAGE, color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)))
        lower.set_ylabel("inside the\ninterval, %")
        lower.set_ylim(min(75.0, 100 * float(shown.month_coverage[months].min()) - 2), 100)
        lower.set_xlim(-0.6, len(names) - 0.4)
        lower.set_xticks(range(len(names)), names)
        lower.set_xlabel(
            f"month of the issue day; {_span(model)}\nboxes: middle half, whiskers: middle 90 %; "
            f"intervals hold {found['coverage_90']:.1%}, mean width {found['interval_width']:.2f} {model.contract.unit}"
        )
        return png_of(figure)


def importance_png(model: TrainedModel, title: str) -> bytes:
    """The features that explain most, by their share of what the algorithm measures importance by."""
    from matplotlib import rc_context

    ranked = sorted(model.importance.items(), key=lambda item: (-item[1], item[0]))
    shown = ranked[:IMPORTANCE_SHOWN]
    rest = sum(share for _, share in ranked[IMPORTANCE_SHOWN:])
    with rc_context(STYLE):
        names, shares = [name for name, _ in shown], [100 * share for _, share in shown]
        figure = new_figure(7.6, 1.5 + 0.235 * len(shown), left=width_of(names))
        axes = figure.subplots()
        bars = axes.barh(range(len(shown)), shares, color=BLUE, alpha=0.85, height=0.72)
        axes.bar_label(bars, fmt="%.1f", padding=3, color=INK, fontsize=8.5)
        axes.set_yticks(range(len(shown)), names)
        axes.invert_yaxis()
        axes.margins(x=0.1, y=0.015)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        xlabel = f"share of {ALGORITHMS[model.algorithm].importance_measure}, %"
        if len(ranked) > len(shown):
            xlabel += f"   (the other {len(ranked) - len(shown)} features together: {100 * rest:.1f} %)"
        axes.set_xlabel(xlabel, loc="right")
        headline(figure, f"Importance: {title}")
        return png_of(figure)


def station_map_png(
    stations: StationDots,
    title: str,
    *,
    unit: str,
    colours: str,
    ends: tuple[float, float],
    ring_means: str | None = None,
) -> bytes:
    """Stations (one or more) where they are, coloured by their values between two ends, the largest on top.

    ``ring_means`` says in the legend what the dark ring around a ringed station stands for. As many stations are named
    as there is room for, those with the largest values first.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    order = np.argsort(stations.value, kind="stable")
    longitude, latitude = stations.longitude_deg[order], stations.latitude_deg[order]
    ringed = stations.ringed[order]
    with rc_context(STYLE):
        figure = new_figure(8.2, 6.5, right=COLOUR_BAR, top=0.6, bottom=0.35)
        axes = figure.subplots()
        _land(axes, longitude, latitude)
        dots = axes.scatter(
            longitude, latitude, c=stations.value[order], s=50, cmap=colours, vmin=ends[0], vmax=ends[1],
            edgecolor=np.where(ringed, INK, GREY), linewidth=np.where(ringed, 1.6, 0.5), zorder=3,
        )  # fmt: skip
        figure.colorbar(dots, ax=axes, label=unit.replace("degC", "°C"), fraction=0.05, aspect=32, pad=0.02)
        if ring_means is not None:
            ring = Line2D([], [], linestyle="", marker="o", markersize=7, markerfacecolor="white", markeredgecolor=INK,
                          markeredgewidth=1.6, label=ring_means)  # fmt: skip
            axes.legend(handles=[ring], loc="lower left", frameon=True, framealpha=0.9, edgecolor=FAINT)
        _name_stations(axes, [stations.name[at] for at in order[::-1]], longitude[::-1], latitude[::-1])
        axes.xaxis.set_major_formatter(lambda degrees, _: _degrees(degrees, "E", "W"))
        axes.yaxis.set_major_formatter(lambda degrees, _: _degrees(degrees, "N", "S"))
        headline(figure, title)
        return png_of(figure)


def _degrees(degrees: float, positive: str, negative: str) -> str:
    side = positive if degrees > 0 else negative if degrees < 0 else ""
    return f"{abs(degrees):g}°{side}"


def _land(axes: "Axes", longitude_deg: NDArray[np.float64], latitude_deg: NDArray[np.float64]) -> None:
    """Set the view around these places, and draw the land in it below everything else."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    # A degree of longitude is shorter than one of latitude; the axes keep their size and show more of the world.
    shorter = max(np.cos(np.radians(float(latitude_deg.mean()))), 0.1)
    box = axes.get_window_extent()
    height = max(float(np.ptp(latitude_deg)) + 2 * _MAP_MARGIN_DEG, _MAP_LEAST_DEG)
    width = max(float(np.ptp(longitude_deg)) + 2 * _MAP_MARGIN_DEG, _MAP_LEAST_DEG)
    height = max(height, width * shorter * box.height / box.width)
    width = height * box.width / box.height / shorter
    west, south = (float((each.min() + each.max()) / 2) - size / 2
                   for each, size in ((longitude_deg, width), (latitude_deg, height)))  # fmt: skip
    axes.set(xlim=(west, west + width), ylim=(south, south + height), aspect="auto", facecolor=_SEA)
    axes.grid(visible=False)
    if rings := rings_within(west, west + width, south, south + height):
        axes.add_patch(PathPatch(Path.make_compound_path(*(Path(ring, closed=True) for ring in rings)),
                                 facecolor="white", edgecolor=GREY, linewidth=0.6, zorder=0))  # fmt: skip


def _name_stations(
    axes: "Axes", names: Sequence[str], longitude_deg: NDArray[np.float64], latitude_deg: NDArray[np.float64]
) -> None:
    """Write the names that fit beside their dots without touching another name or dot, in the order given."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.transforms import Bbox

    font = FontProperties(family=STYLE["font.family"], size=_NAME_POINTS)
    dots = axes.transData.transform(np.column_stack([longitude_deg, latitude_deg]))
    frame = axes.get_window_extent()
    scale = axes.figure.dpi / 72
    high, gap = 1.25 * _NAME_POINTS * scale, 5.5 * scale
    taken: list[Bbox] = []
    for name, (x, y) in zip(names[:_NAMES_TRIED], dots, strict=False):
        wide = _DRAWN_WIDER * scale * _points_wide(name, font)
        for side, shift, box in (
            ("left", (gap, 0), Bbox.from_bounds(x + gap, y - high / 2, wide, high)),
            ("right", (-gap, 0), Bbox.from_bounds(x - gap - wide, y - high / 2, wide, high)),
            ("center", (0, -gap - high / 2), Bbox.from_bounds(x - wide / 2, y - gap - high, wide, high)),
            ("center", (0, gap + high / 2), Bbox.from_bounds(x - wide / 2, y + gap, wide, high)),
        ):
            inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
            if inside and not box.count_overlaps(taken) and not box.padded(gap / 2).count_contains(dots):
                taken.append(box)
                axes.annotate(
                    name, (x, y), shift, xycoords="figure pixels", textcoords="offset pixels",
                    ha=side, va="center", fontsize=_NAME_POINTS, color=INK, zorder=4,
                )  # fmt: skip
                break


def leaderboard_png(entries: Sequence[Entry], title: str) -> bytes:
    """The metric on test with its interval, a line per candidate in order of validation, and the baselines below."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        names = [f"{entry.rank}  {entry.name}" if entry.rank else entry.name for entry in entries]
        figure = new_figure(7.6, 1.6 + 0.38 * len(entries), left=width_of(names))
        axes = figure.subplots()
        for at, entry in enumerate(entries):
            candidate = entry.rank is not None
            colour = BLUE if candidate else GREY
            if entry.test_low is not None and entry.test_high is not None:
                axes.plot((entry.test_low, entry.test_high), (at, at), color=colour, linewidth=2.2, alpha=0.6)
            axes.plot(entry.test, at, "o" if candidate else "s", color=colour, markersize=7, mec="white")
            if entry.validation is not None:
                axes.plot(entry.validation, at, "|", color=ORANGE, markersize=13, mew=2)
            axes.annotate(f"{entry.test:.4f}", (entry.test, at), (0, 7), textcoords="offset points", ha="center",
                          color=INK, fontsize=8)  # fmt: skip
        axes.set_yticks(range(len(entries)), names)
        axes.set_ylim(len(entries) - 0.5, -0.7)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(
            f"{entries[0].metric} on {entries[0].test_rows:,} test rows with its 95 % interval; "
            "the orange mark is validation, which ranks",
            loc="right",
        )
        headline(figure, f"Leaderboard: {title}")
        return png_of(figure)


def drift_png(verdict: DriftVerdict, title: str) -> bytes:
    """Each column's distance from the reference as a share of its threshold; a column beyond the line drifted."""
    from matplotlib import rc_context

    columns = verdict.columns[::-1]
    shares = [(c.distance or 0.0) / c.threshold if c.distance is not None and c.threshold else 0.0 for c in columns]
    colours = [ORANGE if column.status == "drift" else BLUE for column in columns]
    with rc_context(STYLE):
        names = [column.name for column in columns]
        figure = new_figure(6.4, 1.0 + 0.19 * len(columns), left=width_of(names))
        axes = figure.subplots()
        axes.barh(range(len(columns)), shares, color=colours, height=0.68)
        axes.axvline(1.0, color=INK, linewidth=1.2)
        for line, column in enumerate(columns):
            if column.status in ("missing", "unknown"):
                said = "missing all month" if column.status == "missing" else "not compared"
                axes.annotate(said, (0, line), (3, 0), textcoords="offset points", va="center", color=GREY, fontsize=8)
            elif shares[line] > _FARTHEST:
                axes.annotate(f"{shares[line]:,.0f} x", (_FARTHEST, line), (-4, 0), textcoords="offset points",
                              ha="right", va="center", color="white", fontsize=8)  # fmt: skip
        axes.set_yticks(range(len(columns)), names, fontsize=8.5)
        axes.set_ylim(-0.6, len(columns) - 0.4)
        axes.set_xlim(0, min(_FARTHEST, max(1.1, *(share * 1.05 for share in shares))))
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"distance from the reference, as a share of the threshold ({verdict.times_usual:g} x usual)")
        headline(figure, title)
        return png_of(figure)


def markdown_image(name: str, png: bytes) -> str:
    """A picture as Markdown that carries its own bytes, for the metadata of an asset.

    In as many colours as a palette has, which halves it: the event log keeps it for ever.
    """
    from PIL import Image

    with Image.open(io.BytesIO(png)) as full:
        few = full.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    few.save(buffer, format="png")
    return f"![{name}]({data_address(buffer.getvalue())})"


def data_address(png: bytes) -> str:
    """The picture as an address that carries it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def small_png(png: bytes) -> bytes:
    """A smaller copy in fewer colours, for the event log, which keeps every event for ever."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as full:
        height = round(full.height * _SMALL_WIDTH_PIXELS / full.width)
        small = full.convert("RGB").resize((_SMALL_WIDTH_PIXELS, height), Image.Resampling.HAMMING)
    buffer = io.BytesIO()
    small.quantize(_SMALL_COLOURS, Image.Quantize.FASTOCTREE).save(buffer, format="png")
    return buffer.getvalue()


def _f1_contours(axes: "Axes") -> None:
    """Faint lines of equal F1, labelled at the right edge."""
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / 2 + 0.004, 1, 200)
        precision = f1 * recall / (2 * recall - f1)
        inside = precision <= 1.0
        axes.plot(recall[inside], precision[inside], color=FAINT, linewidth=1.1, zorder=0)
        axes.annotate(
            f"F1 {f1:.1f}",
            (1.0, f1 / (2 - f1)),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=GREY,
            fontsize=8,
            annotation_clip=False,
        )
    axes.grid(visible=False)


def _at_threshold(axes: "Axes", threshold: float) -> None:
    axes.axvline(threshold, color=ORANGE, linewidth=1.4)
    axes.annotate(
        f"threshold {threshold:.2f}",
        (threshold, 0.98),
        (5, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        color=ORANGE,
    )


def _span(model: TrainedModel) -> str:
    return f"test {model.split.test}, {model.rows['test']:,} rows"


def headline(figure: "Figure", text: str) -> None:
    """A title from the left end of the figure, as large as it fits: its end says whether the weather was generated."""
    from matplotlib.font_manager import FontProperties

    bold = FontProperties(weight="bold", size=_HEADLINE_POINTS)
    points = max(_points_wide(line, bold) for line in text.splitlines())
    room = 72 / _DRAWN_WIDER * figure.get_figwidth()
    figure.suptitle(text, x=0.01, y=1 - 0.1 / figure.get_figheight(), ha="left", va="top", fontweight="bold",
                    fontsize=_HEADLINE_POINTS * min(1.0, room / points), color=INK)  # fmt: skip


def width_of(labels: Sequence[str]) -> float:
    """Inches that tick labels on the left take, with the ticks."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=STYLE["font.family"], size=STYLE["font.size"])
    points = max((_points_wide(label, font) for label in labels), default=0.0)
    return 0.25 + _DRAWN_WIDER * points / 72


def _points_wide(text: str, font: "FontProperties") -> float:
    """Points that a text is wide, by the corners of its outline: the exact extent costs ten times that."""
    from matplotlib.textpath import TextPath

    x = TextPath((0, 0), text, prop=font).vertices[:, 0]
    return float(np.ptp(x)) if len(x) else 0.0


def new_figure(
    width: float, height: float, *, left: float = 0.7, right: float = 0.2, bottom: float = 0.6, top: float = 0.45
) -> "Figure":
    """A figure whose size and margins around its axes are in inches.

    The margins are given because a layout that measures the texts draws everything once more: half the time of a plot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    figure.subplots_adjust(left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height)
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: "Figure") -> bytes:
    """The picture of a figure; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    # The canvas itself, whose print_png has no types: `savefig` draws the figure more than once.
    canvas: Any = figure.canvas
    # The quickest compression: a sixth larger, and the others take as long as a third of the drawing.
    canvas.print_png(buffer, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()
