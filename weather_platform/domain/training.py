"""One model from its rows: fit, make its values forecasts, measure, and pack it so that it can be trusted.

What belongs here: the order of those steps and the two files a model consists of. What does not: the steps
themselves (`algorithms`, `outputs`, `metrics`), where rows come from, or where files go.

* train rows: the first fit of the algorithm and of the baselines
* validation rows: early stopping, calibration and threshold (classification), prediction interval (regression), all of
  the first fit; every validation metric is of it
* train and validation rows: the refit, with as many rounds as the first fit kept. It is what is served
* test rows: every reported metric, of the served model and of the refitted baselines, and nothing else

The refit sees a year of rows more, and is worth as much on the real table as six years of newer data (Brier -0.0013).
It keeps calibration, threshold and interval of the first fit, as no row is left to fit them on. The last day that had a
say in a model is the same with and without it.

A model is two files, and one digest covers both: the model file has a SHA-256; the contract (`contract.json`:
what goes in, how raw values become a forecast) contains that SHA-256; the SHA-256 of the contract is the
DIGEST of the model. Seconds and other accidents of a run are in neither file, so the same rows and recipe
give the same digest.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.algorithms import (
    ALGORITHMS,
    BASELINES,
    Algorithm,
    BaselineRows,
    FitRows,
    FittedModel,
    Mask,
    Params,
)
from weather_platform.domain.metrics import RESAMPLES, Floats, Interval
from weather_platform.domain.outputs import OUTPUTS, Diagnostics, Forecasts, Output
from weather_platform.domain.splits import Parts, Split, verify_kinds, verify_parts
from weather_platform.domain.targets import ForecastTarget, Task
from weather_platform.errors import DigestMismatchError, InvariantError, RegistryError

CONTRACT_FILE = "contract.json"
"""What the contract is called beside the model file."""

CONTRACT_FORMAT = "weather-platform/forecast-contract/2"

GOLDEN_ROWS = 64
"""Test rows whose forecasts are kept with a model: enough to reach most leaves, small enough to ask at every move."""


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The recipe beside the data. All of it is recorded with the model.

    ``threads`` is part of the recipe because sums of floating-point numbers may be split by threads.
    """

    seed: int = 20071101
    threads: int = 2
    params: Params = field(default_factory=dict)
    resamples: int = RESAMPLES
    refit: bool = True
    """Whether what is served is fitted again on training and validation rows. Models of earlier versions were not."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """All rows of all parts, as one table that is only ever looked at through masks.

    ``labels`` are NaN where unknown. ``station_ids`` are the catalogue that ``station_index`` counts in.
    """

    station_ids: tuple[str, ...]
    station_index: NDArray[np.int32]
    day: NDArray[np.int32]
    values: NDArray[np.float32]
    labels: NDArray[np.float32]
    feature_names: tuple[str, ...]
    feature_version: str

    def __post_init__(self) -> None:
        lengths = {len(self.station_index), len(self.day), len(self.values), len(self.labels)}
        if len(lengths) != 1 or self.values.shape[1:] != (len(self.feature_names),):
            raise InvariantError(
                f"training data of {len(self.day)} days, {len(self.labels)} labels and values of shape "
                f"{self.values.shape} for {len(self.feature_names)} features do not belong together"
            )

    def __len__(self) -> int:
        return len(self.day)

    def only(self, mask: Mask) -> "TrainingData":
        """The masked rows, as copies."""
        return replace(
            self,
            station_index=self.station_index[mask],
            day=self.day[mask],
            values=self.values[mask],
            labels=self.labels[mask],
        )

    def today(self, target: ForecastTarget, mask: Mask) -> NDArray[np.float32]:
        """The target's label of the issue day itself: what persistence goes by."""
        try:
            at = self.feature_names.index(target.column)
        except ValueError:
            raise InvariantError(
                f"{target.name} needs a feature named {target.column}, the station's own day, for persistence"
            ) from None
        return target.label(self.values[mask, at])

    def baseline_rows(self, target: ForecastTarget, mask: Mask) -> BaselineRows:
        """The masked rows as the baselines see them."""
        return BaselineRows.of(self.station_index[mask], self.day[mask], self.today(target, mask))


@dataclass(frozen=True, slots=True)
class Contract:
    """What goes into a model and how its raw values become a forecast: everything but the trees."""

    target: str
    task: Task
    unit: str
    algorithm: str
    feature_version: str
    feature_names: tuple[str, ...]
    output: Output
    tuned_through: str
    tested_through: str
    model_file: str
    model_sha256: str

    @property
    def threshold(self) -> float | None:
        """From which probability on a classification says yes; None for a regression."""
        return getattr(self.output, "threshold", None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in a fixed order."""
        return {
            "format": CONTRACT_FORMAT,
            "target": self.target,
            "task": self.task,
            "unit": self.unit,
            "algorithm": self.algorithm,
            "feature_version": self.feature_version,
            "feature_names": list(self.feature_names),
            **self.output.to_dict(),
            "tuned_through": self.tuned_through,
            "tested_through": self.tested_through,
            "model_file": self.model_file,
            "model_sha256": self.model_sha256,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Contract":
        """From plain values; RegistryError when they are not a contract of this format."""
        if values.get("format") != CONTRACT_FORMAT:
            raise RegistryError(
                f"the model's contract has format {values.get('format')!r}, "
                f"and this code reads {CONTRACT_FORMAT!r}; serve it with the code that registered it"
            )
        try:
            return cls(
                target=str(values["target"]),
                task=values["task"],
                unit=str(values["unit"]),
                algorithm=str(values["algorithm"]),
                feature_version=str(values["feature_version"]),
                feature_names=tuple(values["feature_names"]),
                output=OUTPUTS[values["task"]].from_dict(values),
                tuned_through=str(values["tuned_through"]),
                tested_through=str(values["tested_through"]),
                model_file=str(values["model_file"]),
                model_sha256=str(values["model_sha256"]),
            )
        except (KeyError, TypeError, ValueError, InvariantError) as error:
            raise RegistryError(f"the model's contract cannot be used ({error!r}); register the model again") from error

    def to_bytes(self) -> bytes:
        """The contract file. Floats are written so that they read back to the same bits."""
        return (json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Contract":
        """From the contract file."""
        try:
            values = json.loads(data)
        except ValueError as error:
            raise RegistryError("the model's contract is not JSON; register the model again") from error
        if not isinstance(values, dict):
            raise RegistryError("the model's contract is not a JSON object; register the model again")
        return cls.from_dict(values)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that is ready to forecast. The same bits for a row alone and among a million."""

    contract: Contract
    model: FittedModel
    digest: str

    def predict(self, values: NDArray[np.float32]) -> Forecasts:
        """The forecasts of float32 rows whose columns are ``contract.feature_names``, in that order."""
        return self.contract.output.apply(self.model.predict_raw(values))

    def require_features(self, feature_version: str, feature_names: tuple[str, ...] | list[str]) -> None:
        """InvariantError unless rows of these features are what the model was trained on."""
        trained_on = self.contract.feature_version
        if feature_version != trained_on:
            raise InvariantError(
                f"the model of {self.contract.target} was trained on features {trained_on}, "
                f"these are {feature_version}; train a model on the present features"
            )
        if tuple(feature_names) != self.contract.feature_names:
            raise InvariantError(
                f"the columns are not those the model of {self.contract.target} was trained on; "
                "their names and order must be the same"
            )

    @classmethod
    def load(cls, contract_bytes: bytes, model_bytes: bytes, *, digest: str, threads: int = 1) -> "Predictor":
        """From the two stored files; DigestMismatchError unless they are the files with this digest."""
        if (found := sha256(contract_bytes)) != digest:
            raise DigestMismatchError(
                f"the model's contract has SHA-256 {found}, and {digest} was registered; "
                "restore the file or roll back to another version"
            )
        contract = Contract.from_bytes(contract_bytes)
        if (found := sha256(model_bytes)) != contract.model_sha256:
            raise DigestMismatchError(
                f"{contract.model_file} has SHA-256 {found}, and {contract.model_sha256} was registered; "
                "restore the file or roll back to another version"
            )
        if contract.algorithm not in ALGORITHMS:
            raise RegistryError(
                f"the model was made by '{contract.algorithm}', which this code does not know; "
                f"it knows {', '.join(sorted(ALGORITHMS))}"
            )
        model = ALGORITHMS[contract.algorithm].load(model_bytes, contract.task, threads)
        if model.feature_names != contract.feature_names:
            raise RegistryError("model file and contract name different features; register it again")
        return cls(contract, model, digest)


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """A baseline on the same test rows; its output stage is fitted on validation, as the model's is."""

    name: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    diagnostics: Diagnostics


@dataclass(frozen=True, eq=False)
class GoldenSample:
    """A few test rows with ``Forecasts.value`` of each: what the model must say again wherever it is loaded."""

    values: NDArray[np.float32]
    expected: Floats


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A candidate: the two files, what they can do on test rows, and how they came to be.

    ``metrics`` are those of the test part; ``validation_metrics`` are of the first fit, for choosing between
    candidates, and flatter the model, as its output stage was fitted there. ``first_fit_sha256`` is the SHA-256 of the
    first fit's model file where what is served was fitted again. ``skill`` is one minus the model's loss over a
    baseline's on the test rows, by names such as ``mae_skill_vs_climatology``.
    """

    target: str
    algorithm: str
    split: Split
    predictor: Predictor
    contract_bytes: bytes
    model_bytes: bytes
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    diagnostics: Diagnostics
    skill: Mapping[str, float]
    validation_metrics: Mapping[str, float]
    baselines: Mapping[str, BaselineResult]
    importance: Mapping[str, float]
    golden: GoldenSample
    params: Params
    seed: int
    threads: int
    notes: Mapping[str, int]
    rows: Mapping[str, int]
    libraries: Mapping[str, str]
    seconds: Mapping[str, float]
    first_fit_sha256: str | None

    @property
    def contract(self) -> Contract:
        """What goes in and how it becomes a forecast."""
        return self.predictor.contract

    @property
    def model_sha256(self) -> str:
        """The SHA-256 of the model file."""
        return self.contract.model_sha256

    @property
    def digest(self) -> str:
        """The SHA-256 of the contract, which contains that of the model file: it stands for the whole model."""
        return self.predictor.digest


def labelled(parts: Parts, labels: NDArray[np.float32]) -> Parts:
    """The rows of each part that have a label."""
    known = ~np.isnan(labels)
    return Parts(
        train=parts.train & known,
        validation=parts.validation & known,
        test=parts.test & known,
        standing_exam=parts.standing_exam & known,
    )


def train(
    target: ForecastTarget,
    algorithm: Algorithm,
    data: TrainingData,
    split: Split,
    config: TrainingConfig,
) -> TrainedModel:
    """One candidate for one target and test year. Same data, split and recipe: same digest."""
    if target.task not in algorithm.tasks:
        raise InvariantError(f"{algorithm.name} does not do {target.task}, which {target.name} needs")
    params = algorithm.resolve(config.params)
    parts = labelled(split.parts(data.day), data.labels)
    verify_parts(split, data.day, parts)
    if target.task == "classification":
        verify_kinds(split, parts, data.labels)
    clock = time.perf_counter()
    seconds: dict[str, float] = {}

    def lap(step: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[step], clock = now - clock, now

    def fitted(train_rows: Mask, stop_rows: Mask | None, chosen: Params) -> FittedModel:
        rows = FitRows(data.values, data.labels, data.feature_names, train_rows, stop_rows)
        return algorithm.fit(rows, target.task, chosen, config.seed, config.threads)

    first = model = fitted(parts.train, parts.validation, params)
    first_fit_sha256 = None
    lap("fit")

    validation_labels = data.labels[parts.validation]
    raw = first.predict_raw(data.values[parts.validation])
    output = OUTPUTS[target.task].fit(validation_labels, raw)
    lap("calibrate")

    if config.refit:
        first_fit_sha256 = sha256(first.to_bytes())
        model = fitted(parts.train | parts.validation, None, algorithm.settled(params, first))
        lap("refit")
    model_bytes = model.to_bytes()
    contract = Contract(
        target=target.name,
        task=target.task,
        unit=target.unit,
        algorithm=algorithm.name,
        feature_version=data.feature_version,
        feature_names=data.feature_names,
        output=output,
        tuned_through=split.tuned_through.isoformat(),
        tested_through=split.test.last.isoformat(),
        model_file=algorithm.file_name,
        model_sha256=sha256(model_bytes),
    )
    contract_bytes = contract.to_bytes()
    # What is measured is what will be served: the model as it comes back from its two files.
    predictor = Predictor.load(contract_bytes, model_bytes, digest=sha256(contract_bytes), threads=config.threads)

    test_labels, test_day = data.labels[parts.test], data.day[parts.test]
    test_values = data.values[parts.test]
    lap("gather")
    test = predictor.predict(test_values)
    lap("predict")
    metrics = output.metrics(test_labels, test)
    intervals = output.intervals(test_labels, test, test_day, seed=config.seed, resamples=config.resamples)
    baselines = _baselines(target, data, parts, config)
    lap("measure")
    return TrainedModel(
        target=target.name,
        algorithm=algorithm.name,
        split=split,
        predictor=predictor,
        contract_bytes=contract_bytes,
        model_bytes=model_bytes,
        metrics=MappingProxyType(metrics),
        intervals=MappingProxyType(intervals),
        diagnostics=output.diagnose(test_labels, test, test_day),
        skill=MappingProxyType(_skill(output, metrics, baselines)),
        validation_metrics=MappingProxyType(output.metrics(validation_labels, output.apply(raw))),
        baselines=MappingProxyType(baselines),
        importance=MappingProxyType(model.importance()),
        golden=_golden(test_values, test),
        params=params,
        seed=config.seed,
        threads=config.threads,
        notes=MappingProxyType(dict(model.notes)),
        rows=MappingProxyType(
            {
                part: int(np.count_nonzero(getattr(parts, part)))
                for part in ("train", "validation", "test", "standing_exam")
            }
        ),
        libraries=MappingProxyType(_libraries(algorithm)),
        seconds=MappingProxyType(seconds),
        first_fit_sha256=first_fit_sha256,
    )


def _baselines(
    target: ForecastTarget, data: TrainingData, parts: Parts, config: TrainingConfig
) -> dict[str, BaselineResult]:
    train_rows = data.baseline_rows(target, parts.train)
    validation_rows = data.baseline_rows(target, parts.validation)
    test_rows = data.baseline_rows(target, parts.test)
    labels, day = data.labels[parts.test], data.day[parts.test]
    results = {}
    for baseline in BASELINES.values():
        if target.task not in baseline.tasks:
            continue
        fitted = baseline.fit(train_rows, data.labels[parts.train], target.task)
        output = OUTPUTS[target.task].fit_baseline(data.labels[parts.validation], fitted.predict(validation_rows))
        if config.refit:  # they learn from the same rows as the model
            both = parts.train | parts.validation
            fitted = baseline.fit(data.baseline_rows(target, both), data.labels[both], target.task)
        forecasts = output.apply(fitted.predict(test_rows))
        results[baseline.name] = BaselineResult(
            name=baseline.name,
            metrics=MappingProxyType(output.metrics(labels, forecasts)),
            intervals=MappingProxyType(
                output.intervals(labels, forecasts, day, seed=config.seed, resamples=config.resamples)
            ),
            diagnostics=output.diagnose(labels, forecasts, day),
        )
    return results


def _skill(output: Output, metrics: Mapping[str, float], baselines: Mapping[str, BaselineResult]) -> dict[str, float]:
    """Every loss of the task against every baseline: 1 is perfect, 0 no better, below 0 worse."""
    losses = output.losses(metrics)
    return {
        f"{loss}_skill_vs_{name}": 1 - losses[loss] / reference
        for name, baseline in baselines.items()
        for loss, reference in output.losses(baseline.metrics).items()
        if reference > 0  # nothing is better than a perfect baseline, and skill against it means nothing
    }


def _golden(values: NDArray[np.float32], forecasts: Forecasts) -> GoldenSample:
    """Rows spread evenly over the test part."""
    at = np.unique(np.linspace(0, len(values) - 1, GOLDEN_ROWS).round().astype(np.intp))
    return GoldenSample(values[at], forecasts.value[at])


_MODULES = {"scikit-learn": "sklearn"}
"""Distributions whose module has another name."""


def _libraries(algorithm: Algorithm) -> dict[str, str]:
    """Versions that a reproduction must have in common with this run."""
    names = ("numpy", "scipy", *algorithm.libraries)
    return {name: str(import_module(_MODULES.get(name, name)).__version__) for name in names}
