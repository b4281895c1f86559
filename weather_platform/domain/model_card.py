"""The card of a registered model: what it is, what it was made from, how good it is and what it cannot do, as Markdown.

What belongs here: the text, from plain values. What does not: measuring (`training`, `slices`) and where the card is
kept. The same values give the same text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from weather_platform.domain.algorithms import Algorithm
from weather_platform.domain.metrics import CONFIDENCE
from weather_platform.domain.reproduction import Recipe
from weather_platform.domain.slices import LEAST_ROWS, Slice
from weather_platform.domain.splits import Split
from weather_platform.domain.targets import ForecastTarget, Task
from weather_platform.domain.training import Contract

PLOTS = "plots"
"""Folder of the run's pictures, beside the card. The card names a picture as `plots/<name>.png`."""

_SLICE_METRICS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("f1", "roc_auc", "brier", "ece"),
    "regression": ("rmse", "mae", "bias", "coverage_90"),
}
_IMPORTANT = 15
_FITS: Mapping[bool, str] = {
    False: "Train fits the model; validation stops and calibrates it and is never reported.",
    True: "Train makes a first fit, which validation stops and calibrates and which is never reported. The model that "
    "serves is fitted again on train and validation, with as many rounds and the calibration of the first fit.",
}
"""By whether there was a second fit."""


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Everything a card says. `metrics` are those of the run, by their names there; `plots` are names of pictures."""

    target: ForecastTarget
    algorithm: Algorithm
    version: int
    digest: str
    run_id: str
    recipe: Recipe
    contract: Contract
    split: Split
    metrics: Mapping[str, float]
    baselines: Sequence[str]
    importance: Mapping[str, float]
    by_state: Sequence[Slice]
    by_season: Sequence[Slice]
    plots: Sequence[str]
    source: str


def model_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    sections = [_head(facts), _data(facts), _skill(facts), _slices(facts), _output(facts), _importance(facts)]
    return "\n\n".join([*sections, _recipe(facts), _limits(facts)]) + "\n"


def card_summary(facts: CardFacts) -> str:
    """What the page of a version shows without a click, as Markdown: what it is, its skill and its pictures."""
    return "\n\n".join([_head(facts), _skill(facts), _pictures(facts)])


def with_pictures(card: str, address: Callable[[str], str]) -> str:
    """A card whose pictures have other addresses, made from their names."""
    return re.sub(rf"\]\({PLOTS}/(\w+)\.png\)", lambda found: f"]({address(found[1])})", card)


def _head(facts: CardFacts) -> str:
    target = facts.target
    warning = (
        "> **Synthetic weather.** This model was trained and tested on generated rows. "
        "Its figures say nothing about real weather.\n\n"
        if facts.source == "synthetic"
        else ""
    )
    return (
        f"# {target.title}: version {facts.version}\n\n{warning}{target.description}\n\n"
        f"{facts.algorithm.title}: {facts.algorithm.description} The forecast is in {target.unit}.\n\n"
        f"- SHA-256 `{facts.digest}`\n- MLflow run `{facts.run_id}`\n"
        f"- made again and compared by `weather reproduce {target.name} {facts.version}`"
    )


def _data(facts: CardFacts) -> str:
    parts = {"train": facts.split.train, "validation": facts.split.validation, "test": facts.split.test}
    rows = [(part, span.first, span.last, f"{facts.metrics[f'rows_{part}']:,.0f}") for part, span in parts.items()]
    versions = ", ".join(f"`{table}` {number}" for table, number in sorted(facts.recipe.lake_versions.items()))
    return (
        f"## Data\n\nSource: {facts.source}. Lake versions: {versions}. Features: version "
        f"{facts.recipe.feature_version}, {len(facts.contract.feature_names)} of them.\n\n"
        f"{_table(('part', 'first day', 'last day', 'labelled rows'), rows, left=3)}\n\n"
        f"{_FITS[facts.recipe.refit]} Every figure below is of the test days, by the model that serves. Nothing after "
        f"{facts.contract.tuned_through} had a say in the model. One day between the parts and the weeks of the "
        "standing exam are left out."
    )


def _skill(facts: CardFacts) -> str:
    names = type(facts.contract.output).METRICS
    header = ("metric", "test", f"{CONFIDENCE:.0%} interval", *facts.baselines)
    rows = []
    for name in names:
        low, high = facts.metrics.get(f"test_{name}_low"), facts.metrics.get(f"test_{name}_high")
        interval = "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
        others = [f"{facts.metrics[f'{baseline}_{name}']:.4f}" for baseline in facts.baselines]
        rows.append((name, f"{facts.metrics[f'test_{name}']:.4f}", interval, *others))
    return (
        f"## Skill\n\n{_table(header, rows, left=1)}\n\n"
        f"The primary metric is `{facts.target.primary_metric}`. Intervals are a bootstrap over whole days. "
        "The baselines are measured on the same rows."
    )


def _slices(facts: CardFacts) -> str:
    names = _SLICE_METRICS[facts.target.task]
    label = "share of yes" if facts.target.task == "classification" else f"mean, {facts.target.unit}"

    def table(by: str, slices: Sequence[Slice]) -> str:
        rows = [(each.name, f"{each.rows:,}", f"{each.mean_label:.3f}", *_measured(each, names)) for each in slices]
        return _table((by, "rows", label, *names), rows, left=1)

    return (
        "## Where it is good and where not\n\n"
        f"{table('state', facts.by_state)}\n\n{table('season', facts.by_season)}\n\n"
        f"A dash: fewer than {LEAST_ROWS} rows, or labels of one kind only."
    )


def _measured(part: Slice, names: Sequence[str]) -> list[str]:
    return ["-" if part.metrics is None else f"{part.metrics[name]:.3f}" for name in names]


def _output(facts: CardFacts) -> str:
    pictures = _pictures(facts)
    if facts.target.task == "classification":
        text = (
            "The probability is calibrated on validation days; its expected calibration error on test days is "
            f"{facts.metrics['test_ece']:.4f}. It becomes a yes from {facts.contract.threshold:.4f} on, "
            "the threshold that is best on validation days."
        )
    else:
        text = (
            "Each value comes with a 90 % prediction interval made of the residuals of validation days. "
            f"On test days it held {facts.metrics['test_coverage_90']:.1%} of what was observed."
        )
    return f"## From the model to the forecast\n\n{text}" + (f"\n\n{pictures}" if pictures else "")


def _pictures(facts: CardFacts) -> str:
    return "\n\n".join(f"![{name}]({PLOTS}/{name}.png)" for name in facts.plots)


def _importance(facts: CardFacts) -> str:
    measure = facts.algorithm.importance_measure
    # By share, then by name: equal shares keep one order.
    ranked = sorted(facts.importance.items(), key=lambda item: (-item[1], item[0]))[:_IMPORTANT]
    rows = [(f"`{name}`", f"{share:.1%}") for name, share in ranked]
    return f"## What it looks at\n\n{_table(('feature', f'share of {measure}'), rows, left=1)}"


def _recipe(facts: CardFacts) -> str:
    recipe = facts.recipe
    settings = {**recipe.params, "refit": str(recipe.refit), "seed": str(recipe.seed), "threads": str(recipe.threads)}
    said = ", ".join(f"{name} {value}" for name, value in sorted(settings.items()))
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(recipe.libraries.items()))
    first = f" SHA-256 of the first fit's file: `{recipe.first_fit_sha256}`." if recipe.first_fit_sha256 else ""
    return f"## Recipe\n\n{said}.{first}\n\nLibraries: {libraries}. Code: {recipe.code}."


def _limits(facts: CardFacts) -> str:
    limits = [
        "It speaks of the day after the issue day, for stations that reported on the issue day, and of nothing else.",
        "It knows the stations and the climate of its training days. A new station, a moved instrument or weather "
        "that never occurred in them is outside of what was tested.",
        "The Bureau's rain of a day is what fell in the 24 hours to 9 am: rain 'tomorrow' is 9 am of the issue day to "
        "9 am of the next. The maximum temperature is of the 24 hours from 9 am.",
        "A forecast is issued at the end of the issue day and uses its 3 pm and evening reports. Part of the 24 hours "
        "of rain 'tomorrow' has passed by then. Do not compare the skill above with forecasts issued in the morning or "
        "the day before; docs/measurements.md has the skill with what is known at 9 am.",
        "Its figures are averages over the test days, in which rare, extreme days weigh little: no warning service.",
        f"It was tested up to {facts.contract.tested_through}; this card does not know how it fares since.",
    ]
    if facts.source == "synthetic":
        limits.insert(0, "It was made from synthetic weather and must not be used for real decisions.")
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _table(header: Sequence[object], rows: Sequence[Sequence[object]], *, left: int) -> str:
    """A Markdown table; the first `left` columns are text, the others numbers."""
    rule = ["---" if at < left else "---:" for at in range(len(header))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (header, rule, *rows))
