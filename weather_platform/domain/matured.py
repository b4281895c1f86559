"""What forecasts were worth, once the next day was there: forecasts joined with what happened, as sums that add up.

What belongs here: which forecasts have matured, their errors beside those of persistence and climatology, and the
sums they are kept as. What does not: the metrics of a test part (`metrics`), the comparison of two models (`skill`).

Everything that is kept is a count or a sum over rows, by model version, kind and state. So a season, a year, all
states or all of time are exact sums of what is kept (`combine`), and every score is worked out of sums
(`with_scores`). Live forecasts and hindcasts are never in one sum unless somebody leaves `kind` out.

* matured: the label of the issue day is known
* pending: it is not, and no station has a label of that day or a later one yet
* unmatched: it is not, and others have one: the station did not report the next day, or not this value

The bias (mean of forecast minus observed) is kept too, for all, each state and each station, with an interval: that
needs the days apart, so it cannot be worked out of the sums.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from weather_platform.domain.algorithms import BASELINES, BaselineRows, FittedBaseline
from weather_platform.domain.algorithms.baselines import baseline_from_dict, baseline_to_dict
from weather_platform.domain.feature_table import label_column
from weather_platform.domain.metrics import CALIBRATION_BINS, ROUNDING, Floats, calibration_bin
from weather_platform.domain.splits import Split
from weather_platform.domain.targets import ForecastTarget, Task
from weather_platform.domain.training import labelled
from weather_platform.errors import InvariantError, RegistryError

REFERENCES = ("climatology", "persistence")
"""The baselines that skill is measured against."""

UNKNOWN_STATE = "unknown"
"""State of a station that the catalogue does not have any more."""

SEASONS: Mapping[str, tuple[int, ...]] = {
    "summer": (12, 1, 2),
    "autumn": (3, 4, 5),
    "winter": (6, 7, 8),
    "spring": (9, 10, 11),
}
"""Meteorological seasons of the southern hemisphere and their calendar months."""

COUNTS = ("forecasts", "matured", "pending", "unmatched")
DECISIONS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("true_positive", "false_positive", "false_negative"),
    "regression": ("covered",),
}
"""What is counted of yes/no forecasts, and of intervals (how many hold what happened); null for the other task."""
_TALLIES = (*DECISIONS["classification"], *DECISIONS["regression"])
SUMS = (
    "forecast_sum",
    "observed_sum",
    "observed_squared_sum",
    "squared_error",
    "absolute_error",
    *(f"{name}_{error}" for name in REFERENCES for error in ("squared_error", "absolute_error")),
)
"""Sums over matured forecasts; of the errors of the model and of both references on the same rows."""
ADDITIVE = (*COUNTS, *_TALLIES, *SUMS)
SCORES = (
    "mean_squared_error",
    "mean_absolute_error",
    "bias",
    *(f"{error}_skill_{name}" for name in REFERENCES for error in ("squared", "absolute")),
    "f1",
    "r2",
    "coverage",
)
"""Worked out of the sums; null where nothing has matured or the denominator is zero (of R², zero but for rounding).
The mean squared error of a probability is its Brier score, and `squared_skill_climatology` its Brier skill score."""

MAIN_ERROR: Mapping[Task, str] = {"classification": "squared", "regression": "absolute"}
"""The error whose skill stands for the whole. Absolute errors of a probability reward overconfidence."""

HEADINGS: Mapping[Task, Mapping[str, str]] = {
    "classification": {
        "mean_squared_error": "Brier score",
        "squared_skill_climatology": "Brier skill against climatology",
        "squared_skill_persistence": "against persistence",
        "f1": "F1",
    },
    "regression": {
        "mean_absolute_error": "MAE",
        "absolute_skill_climatology": "MAE skill against climatology",
        "absolute_skill_persistence": "against persistence",
        "mean_squared_error": "MSE",
        "squared_skill_climatology": "MSE skill against climatology",
        "r2": "R²",
        "bias": "bias",
        "coverage": "in the interval",
    },
}
"""The scores that people are shown, and what they are called."""

SLICE = ("model_version", "kind", "state")
"""What one kept row is about, within a target and a month."""

_SLICE_FIELDS = [
    pa.field("target", pa.string(), nullable=False),
    pa.field("month", pa.string(), nullable=False),
    pa.field("model_version", pa.int64(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("state", pa.string(), nullable=False),
]
MATURED_SCHEMA: pa.Schema = pa.schema(
    [
        *_SLICE_FIELDS,
        *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS),
        *(pa.field(name, pa.int64()) for name in _TALLIES),
        *(pa.field(name, pa.float64(), nullable=False) for name in SUMS),
        *(pa.field(name, pa.float64()) for name in SCORES),
    ]
)
"""One row per month, model version, kind and state."""

BIN_SUMS = ("matured", "forecast_sum", "observed_sum")
RELIABILITY_SCHEMA: pa.Schema = pa.schema(
    [
        *_SLICE_FIELDS,
        pa.field("bin", pa.int64(), nullable=False),
        pa.field("matured", pa.int64(), nullable=False),
        pa.field("forecast_sum", pa.float64(), nullable=False),
        pa.field("observed_sum", pa.float64(), nullable=False),
    ]
)
"""The matured forecasts of each row above by what was forecast: tenths of probability, or whole units of the value."""

BIAS_CONFIDENCE = 0.98
"""Of the interval around a bias. Two months in a row outside of it are asked for before anything follows."""
SCOPES = ("all", "state", "station")
BIAS_SCHEMA: pa.Schema = pa.schema(
    [
        *_SLICE_FIELDS[:-1],
        pa.field("scope", pa.string(), nullable=False),
        pa.field("place", pa.string(), nullable=False),  # state or station; empty for all
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("days", pa.int64(), nullable=False),
        pa.field("bias", pa.float64(), nullable=False),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
    ]
)
"""Mean of forecast minus observed of the matured forecasts, in the unit of the target, by month, version, kind and
place. The interval holds BIAS_CONFIDENCE; it is null on a single day."""


@dataclass(frozen=True, eq=False)
class References:
    """Persistence and climatology as they were known when a model was trained: fitted on its training rows alone."""

    station_ids: tuple[str, ...]
    fitted: Mapping[str, FittedBaseline]

    def forecasts(
        self, station: pa.ChunkedArray, day: NDArray[np.int32], today: NDArray[np.float32]
    ) -> dict[str, Floats]:
        """What each reference says of these rows; ``today`` is the label's own value on the issue day."""
        rows = BaselineRows.of(_index(station, self.station_ids), day, today)
        return {name: baseline.predict(rows) for name, baseline in self.fitted.items()}

    def to_bytes(self) -> bytes:
        """As JSON. Floats are written so that they read back to the same bits."""
        fitted = {name: baseline_to_dict(baseline) for name, baseline in self.fitted.items()}
        values = {"station_ids": list(self.station_ids), "fitted": fitted}
        return (json.dumps(values, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "References":
        """From that JSON; RegistryError when it holds no references."""
        try:
            values = json.loads(data)
            fitted = {name: baseline_from_dict(values["fitted"][name]) for name in REFERENCES}
            return cls(tuple(map(str, values["station_ids"])), fitted)
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"the references of the model cannot be used ({error!r}); export it again") from error


@dataclass(frozen=True, eq=False)
class Matured:
    """One month: sums by model version, kind and state, their reliability, and the bias of each place."""

    skill: pa.Table
    reliability: pa.Table
    bias: pa.Table = field(default_factory=BIAS_SCHEMA.empty_table)


def nothing_matured() -> Matured:
    """A month without forecasts."""
    return Matured(MATURED_SCHEMA.empty_table(), RELIABILITY_SCHEMA.empty_table())


def facts_columns(target: ForecastTarget) -> tuple[str, ...]:
    """The columns of the stored features that say what happened: on the issue day and on the next."""
    return ("station", "day", target.column, label_column(target.name))


def fit_references(target: ForecastTarget, split: Split, facts: pa.Table, *, refit: bool) -> References:
    """The references of a model from the rows it was trained on; `facts` may hold later rows, which are not used.

    `refit`: what serves was fitted again on training and validation rows.
    """
    day, today, label = _observed(target, facts)
    parts = labelled(split.parts(day), label)
    train = parts.train | parts.validation if refit else parts.train
    if not train.any():
        raise InvariantError(
            f"{target.name}: no labelled row lies in the training part of {split.year} ({split.train}), "
            "so there is no climatology to compare with; materialise the features of those years"
        )
    station_ids = tuple(pc.unique(facts["station"]).sort().to_pylist())
    rows = BaselineRows.of(_index(facts["station"], station_ids), day, today).where(train)
    return References(station_ids, {name: BASELINES[name].fit(rows, label[train], target.task) for name in REFERENCES})


def measure_month(
    target: ForecastTarget,
    month: str,
    forecasts: pa.Table,
    facts: pa.Table,
    states: Mapping[str, str],
    references: Callable[[int], References],
) -> Matured:
    """All forecasts issued in a month against what happened.

    `facts` are the `facts_columns` of the year of the month, all of it; `states` is station -> state; `references`
    gives those of a model version.
    """
    rows = _joined(target, forecasts, facts)
    _, today, label = _observed(target, rows)
    day = rows["day"].cast(pa.int32()).to_numpy()
    forecast = rows[_FORECAST_COLUMN[target.task]].to_numpy().astype(np.float64)
    version = rows["model_version"].to_numpy()
    known = ~np.isnan(label)
    compared = {name: np.zeros(len(rows)) for name in REFERENCES}
    for one in np.unique(version).tolist():
        of_one = version == one
        said = references(one).forecasts(rows["station"].filter(pa.array(of_one)), day[of_one], today[of_one])
        for name, values in said.items():
            compared[name][of_one] = values
    state = [states.get(station, UNKNOWN_STATE) for station in rows["station"].to_pylist()]
    base = {
        "target": pa.repeat(target.name, len(rows)),
        "month": pa.repeat(month, len(rows)),
        "model_version": rows["model_version"],
        "kind": rows["kind"],
        "state": pa.array(state, pa.string()),
    }
    observed = np.where(known, label, 0.0).astype(np.float64)
    said_sum = np.where(known, forecast, 0.0)
    per_row = pa.table(
        base
        | _counts(known, day, _newest_label(target, facts))
        | _tallies(target.task, known, observed, rows)
        | {"forecast_sum": said_sum, "observed_sum": observed, "observed_squared_sum": observed**2}
        | _errors("", known, forecast, observed)
        | {
            name: values
            for reference in REFERENCES
            for name, values in _errors(f"{reference}_", known, compared[reference], observed).items()
        }
    )
    by = ("target", "month", *SLICE)
    bins = {"bin": _bins(target.task, said_sum), "matured": known.astype(np.int64)}
    per_bin = pa.table(base | bins | {"forecast_sum": said_sum, "observed_sum": observed}).filter(pa.array(known))
    places = {"all": pa.repeat("", len(rows)), "state": base["state"], "station": rows["station"]}
    errors = pa.table({"day": day, "error": forecast - label}).filter(pa.array(known))
    of = pa.table({name: base[name] for name in ("target", "month", "model_version", "kind")}).filter(pa.array(known))
    return Matured(
        with_scores(combine(per_row, by)).select(MATURED_SCHEMA.names).cast(MATURED_SCHEMA),
        combine_bins(per_bin, by).select(RELIABILITY_SCHEMA.names).cast(RELIABILITY_SCHEMA),
        pa.concat_tables(
            [_biases(of, scope, place.filter(pa.array(known)), errors) for scope, place in places.items()]
        ),
    )


def combine(rows: pa.Table, by: Sequence[str]) -> pa.Table:
    """The exact sums of rows (of months, or of single forecasts) that agree in `by`; without `by`, one row of all."""
    return _summed(rows, by, ADDITIVE)


def combine_bins(rows: pa.Table, by: Sequence[str]) -> pa.Table:
    """The same of reliability rows; bins stay apart."""
    return _summed(rows, (*by, "bin"), BIN_SUMS)


def with_scores(sums: pa.Table) -> pa.Table:
    """The sums with every score of SCORES beside them."""
    column = {name: sums[name].cast(pa.float64()).to_numpy() for name in ADDITIVE}
    matured, error = column["matured"], column["squared_error"]
    square = column["observed_squared_sum"]
    spread = square - _ratio(column["observed_sum"] ** 2, matured)
    # Squares are added from zero and not from their mean, so what rounding leaves of them grows with their number.
    varies = spread > np.maximum(ROUNDING, np.finfo(np.float64).eps * matured) * square
    misses = column["false_positive"] + column["false_negative"]
    scores = {
        "mean_squared_error": _ratio(error, matured),
        "mean_absolute_error": _ratio(column["absolute_error"], matured),
        "bias": _ratio(column["forecast_sum"] - column["observed_sum"], matured),
        **{
            f"{kind}_skill_{name}": 1 - _ratio(column[f"{kind}_error"], column[f"{name}_{kind}_error"])
            for name in REFERENCES
            for kind in ("squared", "absolute")
        },
        "f1": _ratio(2 * column["true_positive"], 2 * column["true_positive"] + misses),
        "r2": 1 - _ratio(error, np.where(varies & ~np.isnan(column["covered"]), spread, np.nan)),  # of numbers only
        "coverage": _ratio(column["covered"], matured),
    }
    table = sums.select([name for name in sums.column_names if name not in SCORES])
    for name, values in scores.items():
        table = table.append_column(name, pa.array(values, pa.float64(), from_pandas=True))
    return table


def notable_biases(bias: pa.Table) -> pa.Table:
    """The rows of all places together, and of those places whose interval is on one side of 0."""
    outside = (pc.field("low") > 0) | (pc.field("high") < 0)
    return bias.filter((pc.field("scope") == "all") | outside)


def with_season(rows: pa.Table) -> pa.Table:
    """The rows with the season of their month."""
    names = {number: season for season, numbers in SEASONS.items() for number in numbers}
    seasons = [names[int(month[5:7])] for month in rows["month"].to_pylist()]
    return rows.append_column("season", pa.array(seasons, pa.string()))


def bin_edges(task: Task, bins: Iterable[int]) -> list[float]:
    """The lower edge of each bin in what was forecast."""
    return [number / CALIBRATION_BINS if task == "classification" else float(number) for number in bins]


def _biases(of: pa.Table, scope: str, place: pa.Array | pa.ChunkedArray, errors: pa.Table) -> pa.Table:
    """The bias of each place with its interval, in the order of its keys.

    Stations of one day share their weather, so a day is the unit: the bias is a ratio of sums over days (errors, rows),
    and its standard error is that of a ratio. A bootstrap of days agrees with it and needs a seed.
    """
    by = [*of.column_names, "scope", "place"]
    rows = of.append_column("scope", pa.repeat(scope, of.num_rows)).append_column("place", place)
    rows = rows.append_column("day", errors["day"]).append_column("error", errors["error"])
    rows = rows.append_column("rows", pa.repeat(1, of.num_rows))
    days = _summed(rows, (*by, "day"), ("error", "rows"))
    whole = _summed(days.append_column("days", pa.repeat(1, days.num_rows)), by, ("error", "rows", "days"))
    count, number = (whole[name].to_numpy().astype(np.float64) for name in ("rows", "days"))
    bias = whole["error"].to_numpy() / count
    at = np.repeat(np.arange(whole.num_rows), whole["days"].to_numpy())  # both tables are in the order of `by`
    residual = days["error"].to_numpy() - days["rows"].to_numpy() * bias[at]
    spread = np.bincount(at, weights=residual**2, minlength=whole.num_rows)
    half = _t_quantile((1 + BIAS_CONFIDENCE) / 2, number - 1) * np.sqrt(_ratio(number * spread, number - 1)) / count
    found = whole.drop_columns(["error"])
    for name, values in (("bias", bias), ("low", bias - half), ("high", bias + half)):
        found = found.append_column(name, pa.array(values, pa.float64(), from_pandas=True))
    return found.select(BIAS_SCHEMA.names).cast(BIAS_SCHEMA)


def _t_quantile(probability: float, freedom: Floats) -> Floats:
    """Student's quantile; NaN without a degree of freedom."""
    from scipy.special import stdtrit  # the service does without

    return np.asarray(stdtrit(np.where(freedom > 0, freedom, np.nan), probability), dtype=np.float64)


_FORECAST_COLUMN: Mapping[Task, str] = {"classification": "probability", "regression": "value"}


def _joined(target: ForecastTarget, forecasts: pa.Table, facts: pa.Table) -> pa.Table:
    """Each forecast with its facts, in one order, so that sums have the same bits whatever order rows came in."""
    rows = forecasts.join(facts, ["station", "day"], join_type="left outer")
    if rows.num_rows != forecasts.num_rows:
        raise InvariantError(
            f"{target.name}: {rows.num_rows - forecasts.num_rows} forecasts meet two rows of features; "
            "a station has one row a day, materialise the features again"
        )
    return rows.sort_by([(name, "ascending") for name in ("model_version", "day", "station")])


def _observed(
    target: ForecastTarget, facts: pa.Table
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Issue day, the label's own value on it, and the label; NaN where unknown."""
    today, label = (
        facts[name].to_numpy().astype(np.float32, copy=False) for name in (target.column, label_column(target.name))
    )
    return facts["day"].cast(pa.int32()).to_numpy(), target.label(today), label


def _newest_label(target: ForecastTarget, facts: pa.Table) -> int:
    """The newest day with a label, or a day before all days."""
    known = facts.filter(pc.is_valid(facts[label_column(target.name)]))
    return int(known["day"].cast(pa.int32()).to_numpy().max(initial=np.iinfo(np.int32).min))


def _index(station: pa.ChunkedArray, station_ids: tuple[str, ...]) -> NDArray[np.int32]:
    found = pc.index_in(station, value_set=pa.array(station_ids, pa.string()))
    return pc.fill_null(found, -1).to_numpy().astype(np.int32)  # type: ignore[no-any-return]


def _counts(known: NDArray[np.bool_], day: NDArray[np.int32], newest_label: int) -> dict[str, NDArray[np.int64]]:
    pending = ~known & (day > newest_label)
    return {
        "forecasts": np.ones(len(known), dtype=np.int64),
        "matured": known.astype(np.int64),
        "pending": pending.astype(np.int64),
        "unmatched": (~known & ~pending).astype(np.int64),
    }


def _tallies(task: Task, known: NDArray[np.bool_], observed: Floats, rows: pa.Table) -> dict[str, pa.Array]:
    if task == "classification":
        happened = observed == 1
        said = rows["label"].to_numpy().astype(np.bool_)
        found: tuple[NDArray[np.bool_], ...] = (
            known & said & happened,
            known & said & ~happened,
            known & ~said & happened,
        )
    else:
        low, high = (rows[name].to_numpy().astype(np.float64) for name in ("value_low", "value_high"))
        found = (known & (low <= observed) & (observed <= high),)
    nothing = {name: pa.nulls(len(known), pa.int64()) for name in _TALLIES}
    counted = {name: pa.array(hits.astype(np.int64)) for name, hits in zip(DECISIONS[task], found, strict=True)}
    return nothing | counted


def _errors(prefix: str, known: NDArray[np.bool_], forecast: Floats, observed: Floats) -> dict[str, Floats]:
    error = np.where(known, forecast - observed, 0.0)
    return {f"{prefix}squared_error": error**2, f"{prefix}absolute_error": np.abs(error)}


def _bins(task: Task, forecast: Floats) -> NDArray[np.int64]:
    return (calibration_bin(forecast) if task == "classification" else np.floor(forecast)).astype(np.int64)


def _summed(rows: pa.Table, by: Sequence[str], names: Sequence[str]) -> pa.Table:
    # One thread: the order of additions decides the last bits.
    summed = rows.group_by(list(by), use_threads=False).aggregate([(name, "sum") for name in names])
    table = pa.table({name: summed[name] for name in by} | {name: summed[f"{name}_sum"] for name in names})
    return table.sort_by([(name, "ascending") for name in by]) if by else table


def _ratio(above: Floats, below: Floats) -> Floats:
    """The quotient, NaN where there is nothing to divide by."""
    return np.asarray(np.divide(above, below, out=np.full(len(below), np.nan), where=~(np.isnan(below) | (below == 0))))
