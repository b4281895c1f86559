import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from weather_platform.domain.algorithms import ALGORITHMS, BASELINES, FitRows
from weather_platform.domain.calibration import Calibration
from weather_platform.domain.metrics import (
    CLASSIFICATION_METRICS,
    ClassificationDiagnostics,
    best_f1_threshold,
    bootstrap_intervals,
    classification_metrics,
)
from weather_platform.domain.outputs import ProbabilityOutput
from weather_platform.domain.regression_metrics import (
    REGRESSION_METRICS,
    RegressionDiagnostics,
    regression_metrics,
)
from weather_platform.domain.splits import near_standing_exam
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import (
    GOLDEN_ROWS,
    Contract,
    Predictor,
    TrainedModel,
    TrainingConfig,
    TrainingData,
    labelled,
    sha256,
    train,
)
from weather_platform.errors import DigestMismatchError, InvariantError, NotEnoughDataError, RegistryError
from weather_platform_tests.domain.algorithms.recipes import SMALL
from weather_platform_tests.domain.learning import small_data, small_split, small_values

RAIN, MAX_TEMP = TARGETS["rain_tomorrow"], TARGETS["max_temp_tomorrow"]
XGBOOST, SPLIT = ALGORITHMS["xgboost"], small_split()
CONFIG = TrainingConfig(seed=1, threads=1, params={"n_estimators": 60, "eta": 0.2, "max_depth": 3}, resamples=50)
ONCE = replace(CONFIG, refit=False)


def _train(data: TrainingData, config: TrainingConfig = CONFIG) -> TrainedModel:
    return train(RAIN, XGBOOST, data, SPLIT, config)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return small_data()


@pytest.fixture(scope="module")
def model(data: TrainingData) -> TrainedModel:
    return _train(data)


def test_a_model_beats_both_baselines_where_there_is_something_to_learn(model: TrainedModel) -> None:
    assert set(model.baselines) == {"persistence", "climatology"}
    for baseline in model.baselines.values():
        assert model.metrics["f1"] > baseline.metrics["f1"]
        assert model.metrics["brier"] < baseline.metrics["brier"]
        assert set(baseline.metrics) == set(CLASSIFICATION_METRICS)


def test_every_reported_metric_is_that_of_the_served_model_on_labelled_test_rows(
    model: TrainedModel, data: TrainingData
) -> None:
    test = labelled(SPLIT.parts(data.day), data.labels).test
    found = model.predictor.predict(data.values[test])
    threshold = model.contract.threshold
    assert threshold is not None
    assert dict(model.metrics) == classification_metrics(data.labels[test], found.value, threshold)
    assert model.rows["test"] == test.sum() < SPLIT.parts(data.day).test.sum()
    shown = model.diagnostics
    assert isinstance(shown, ClassificationDiagnostics)
    assert sum(shown.counts().values()) == model.rows["test"]
    assert set(model.intervals) == set(CLASSIFICATION_METRICS)
    assert shown.reliability.rows.sum() == model.rows["test"]
    assert (found.decision == (found.value >= threshold)).all()
    assert found.judged is found.label
    assert dict(model.intervals) == bootstrap_intervals(
        data.labels[test], found.value, threshold, data.day[test], seed=CONFIG.seed, resamples=CONFIG.resamples
    )


def test_the_metrics_to_choose_by_are_those_of_the_first_fit_on_validation_rows(
    model: TrainedModel, data: TrainingData
) -> None:
    validation = labelled(SPLIT.parts(data.day), data.labels).validation
    first = _train(data, ONCE).predictor
    said = first.predict(data.values[validation]).value
    assert model.contract.threshold is not None
    assert dict(model.validation_metrics) == classification_metrics(
        data.labels[validation], said, model.contract.threshold
    )
    seen = model.predictor.predict(data.values[validation]).value
    flattered = classification_metrics(data.labels[validation], seen, model.contract.threshold)
    assert flattered["brier"] < model.validation_metrics["brier"], "the refit has learnt these rows"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_serves_is_fitted_again_on_training_and_validation_with_the_rounds_and_output_of_the_first_fit(
    data: TrainingData, values: TrainingData, name: str
) -> None:
    algorithm = ALGORITHMS[name]
    target, rows = (RAIN, data) if "classification" in algorithm.tasks else (MAX_TEMP, values)
    config = TrainingConfig(seed=1, threads=1, params=SMALL.get(name, {}), resamples=5)
    first = train(target, algorithm, rows, SPLIT, replace(config, refit=False))
    served = train(target, algorithm, rows, SPLIT, config)
    assert first.first_fit_sha256 is None
    assert served.first_fit_sha256 == first.model_sha256 != served.model_sha256
    assert served.contract.output == first.contract.output
    assert served.notes.get("trees") == first.notes.get("trees")
    assert (served.contract.tuned_through, served.rows) == (first.contract.tuned_through, first.rows)
    parts = labelled(SPLIT.parts(rows.day), rows.labels)
    both = FitRows(rows.values, rows.labels, rows.feature_names, parts.train | parts.validation, None)
    rounds = {} if algorithm.rounds is None else {algorithm.rounds: first.notes["trees"]}
    again = algorithm.fit(both, target.task, algorithm.resolve({**config.params, **rounds}), 1, 1)
    assert again.to_bytes() == served.model_bytes


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_learns_from_the_rows_of_the_model_and_takes_its_threshold_from_validation(
    model: TrainedModel, data: TrainingData, name: str
) -> None:
    parts = labelled(SPLIT.parts(data.day), data.labels)
    both = parts.train | parts.validation
    first, again = (
        BASELINES[name].fit(data.baseline_rows(RAIN, part), data.labels[part], RAIN.task)
        for part in (parts.train, both)
    )
    chosen_on = first.predict(data.baseline_rows(RAIN, parts.validation))
    threshold = best_f1_threshold(data.labels[parts.validation], chosen_on)
    test_rows = data.baseline_rows(RAIN, parts.test)
    for trained, fitted in ((model, again), (_train(data, ONCE), first)):
        expected = classification_metrics(data.labels[parts.test], fitted.predict(test_rows), threshold)
        assert dict(trained.baselines[name].metrics) == expected


def test_the_same_seed_gives_the_same_digest_also_in_another_process(model: TrainedModel, data: TrainingData) -> None:
    again = _train(data)
    assert (again.digest, again.model_bytes, again.contract_bytes) == (
        model.digest,
        model.model_bytes,
        model.contract_bytes,
    )
    assert again.metrics == model.metrics
    assert again.intervals == model.intervals
    program = (
        "from weather_platform_tests.domain.test_training import _train, small_data\nprint(_train(small_data()).digest)"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert other.stdout.strip() == model.digest


def test_another_seed_gives_another_digest(model: TrainedModel, data: TrainingData) -> None:
    assert _train(data, replace(CONFIG, seed=2)).digest != model.digest


def test_no_label_of_test_or_of_the_exam_has_any_say_in_the_model(model: TrainedModel, data: TrainingData) -> None:
    learnt = SPLIT.train.contains(data.day) | SPLIT.validation.contains(data.day)
    hidden = ~learnt | near_standing_exam(data.day)
    labels = data.labels.copy()
    labels[hidden] = 1 - labels[hidden]
    changed = _train(replace(data, labels=labels))
    assert changed.digest == model.digest
    assert changed.metrics != model.metrics
    parts = labelled(SPLIT.parts(data.day), data.labels)
    for part in (parts.train, parts.validation):
        labels = data.labels.copy()
        labels[part] = 1 - labels[part]
        assert _train(replace(data, labels=labels)).digest != model.digest


def test_labels_that_chance_alone_made_give_no_skill(data: TrainingData) -> None:
    labels = data.labels[np.random.default_rng(3).permutation(len(data))]
    assert 0.45 < _train(replace(data, labels=labels)).metrics["roc_auc"] < 0.55


def test_a_model_comes_back_from_its_two_files_bit_for_bit(model: TrainedModel, data: TrainingData) -> None:
    back = Predictor.load(model.contract_bytes, model.model_bytes, digest=model.digest)
    assert back.contract == model.contract
    many = model.predictor.predict(data.values)
    np.testing.assert_array_equal(back.predict(data.values).value, many.value)
    alone = [back.predict(data.values[i : i + 1]).value[0] for i in range(200)]
    np.testing.assert_array_equal(alone, many.value[:200])
    assert ((many.value >= 0) & (many.value <= 1)).all()


def test_the_golden_sample_is_what_the_served_model_says_of_rows_all_over_the_test_part(
    model: TrainedModel, data: TrainingData
) -> None:
    golden = model.golden
    assert (golden.values.shape, golden.expected.shape) == ((GOLDEN_ROWS, len(data.feature_names)), (GOLDEN_ROWS,))
    np.testing.assert_array_equal(model.predictor.predict(golden.values).value, golden.expected)
    rows = data.values[labelled(SPLIT.parts(data.day), data.labels).test]
    np.testing.assert_array_equal(golden.values[[0, -1]], rows[[0, -1]])


def test_skill_is_what_is_gained_of_the_loss_of_a_baseline(model: TrainedModel) -> None:
    assert set(model.skill) == {"brier_skill_vs_persistence", "brier_skill_vs_climatology"}
    reference = model.baselines["climatology"].metrics["brier"]
    assert model.skill["brier_skill_vs_climatology"] == 1 - model.metrics["brier"] / reference > 0


def test_a_changed_byte_in_either_file_is_found(model: TrainedModel) -> None:
    spoilt = bytearray(model.model_bytes)
    spoilt[len(spoilt) // 2] ^= 1
    with pytest.raises(DigestMismatchError, match=r"model\.ubj has SHA-256"):
        Predictor.load(model.contract_bytes, bytes(spoilt), digest=model.digest)
    lowered = replace(model.contract, output=ProbabilityOutput(Calibration(), 0.0)).to_bytes()
    with pytest.raises(DigestMismatchError, match="contract has SHA-256"):
        Predictor.load(lowered, model.model_bytes, digest=model.digest)


def test_the_digest_covers_the_contract_and_through_it_the_model_file(model: TrainedModel) -> None:
    assert model.digest == sha256(model.contract_bytes)
    assert json.loads(model.contract_bytes)["model_sha256"] == sha256(model.model_bytes) == model.model_sha256


def test_a_contract_that_cannot_be_used_is_named(model: TrainedModel) -> None:
    good = model.contract.to_dict()
    for bad, sentence in (
        (b"\x80\x04.", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "has format None"),
        (json.dumps(good | {"format": "other/9"}).encode(), "has format 'other/9'"),
        (json.dumps({k: v for k, v in good.items() if k != "threshold"}).encode(), "threshold"),
        (json.dumps(good | {"calibration": {"slope": -1, "intercept": 0}}).encode(), "cannot be used"),
    ):
        with pytest.raises(RegistryError, match=sentence):
            Contract.from_bytes(bad)
    unknown = replace(model.contract, algorithm="oracle").to_bytes()
    with pytest.raises(RegistryError, match="'oracle', which this code does not know"):
        Predictor.load(unknown, model.model_bytes, digest=sha256(unknown))
    renamed = replace(model.contract, feature_names=("a", "b", "c", "d", "e")).to_bytes()
    with pytest.raises(RegistryError, match="different features"):
        Predictor.load(renamed, model.model_bytes, digest=sha256(renamed))


def test_other_features_than_those_of_training_are_refused(model: TrainedModel, data: TrainingData) -> None:
    model.predictor.require_features("1-test", list(data.feature_names))
    with pytest.raises(InvariantError, match="trained on features 1-test, these are 2-test"):
        model.predictor.require_features("2-test", data.feature_names)
    with pytest.raises(InvariantError, match="names and order"):
        model.predictor.require_features("1-test", data.feature_names[::-1])


def test_seconds_are_recorded_and_part_of_no_digest(model: TrainedModel) -> None:
    assert set(model.seconds) == {"fit", "calibrate", "refit", "gather", "predict", "measure"}
    assert b"seconds" not in model.contract_bytes


def test_data_that_cannot_train_is_named(data: TrainingData) -> None:
    with pytest.raises(InvariantError, match="do not belong together"):
        replace(data, labels=data.labels[1:])
    renamed = replace(data, feature_names=("other", *data.feature_names[1:]))
    with pytest.raises(InvariantError, match="needs a feature named rainfall_mm"):
        _train(renamed)
    test = SPLIT.test.contains(data.day)
    unlabelled = replace(data, labels=np.where(test, np.nan, data.labels).astype(np.float32))
    with pytest.raises(InvariantError, match="no row in test"):
        _train(unlabelled)


@pytest.mark.parametrize("name", [name for name, each in ALGORITHMS.items() if "classification" in each.tasks])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_every_algorithm_refuses_labels_of_one_kind_in_the_same_words(name: str, part: str, data: TrainingData) -> None:
    inside = getattr(labelled(SPLIT.parts(data.day), data.labels), part)
    dry = replace(data, labels=np.where(inside, 0, data.labels).astype(np.float32))
    with pytest.raises(NotEnoughDataError, match=rf"one kind only in {part} \(.*times no; observe more stations"):
        train(RAIN, ALGORITHMS[name], dry, SPLIT, TrainingConfig(threads=1, resamples=5))


# ---------------------------------------------------------------- values


@pytest.fixture(scope="module")
def values() -> TrainingData:
    return small_values()


@pytest.fixture(scope="module")
def value_model(values: TrainingData) -> TrainedModel:
    return train(MAX_TEMP, XGBOOST, values, SPLIT, CONFIG)


def test_a_model_of_values_beats_both_baselines_and_says_by_how_much(value_model: TrainedModel) -> None:
    assert set(value_model.metrics) == set(value_model.intervals) == set(REGRESSION_METRICS)
    for name, baseline in value_model.baselines.items():
        assert set(baseline.metrics) == set(REGRESSION_METRICS)
        assert value_model.metrics["r2"] > baseline.metrics["r2"]
        gained = 1 - value_model.metrics["mae"] / baseline.metrics["mae"]
        assert value_model.skill[f"mae_skill_vs_{name}"] == gained > 0
        squares = (value_model.metrics["rmse"] / baseline.metrics["rmse"]) ** 2
        assert value_model.skill[f"mse_skill_vs_{name}"] == pytest.approx(1 - squares)


def test_metrics_of_values_are_those_of_the_served_model_on_labelled_test_rows(
    value_model: TrainedModel, values: TrainingData
) -> None:
    test = labelled(SPLIT.parts(values.day), values.labels).test
    found = value_model.predictor.predict(values.values[test])
    assert dict(value_model.metrics) == regression_metrics(values.labels[test], found.value, *found.interval)
    assert found.judged is found.value
    assert 0.85 < value_model.metrics["coverage_90"] < 0.95
    assert value_model.contract.threshold is None
    shown = value_model.diagnostics
    assert isinstance(shown, RegressionDiagnostics)
    assert shown.density.sum() == value_model.rows["test"]
    np.testing.assert_array_equal(
        value_model.predictor.predict(value_model.golden.values).value, value_model.golden.expected
    )


def test_a_model_of_values_comes_back_from_its_two_files_bit_for_bit_with_its_intervals(
    value_model: TrainedModel, values: TrainingData
) -> None:
    back = Predictor.load(value_model.contract_bytes, value_model.model_bytes, digest=value_model.digest)
    assert back.contract == value_model.contract
    many = value_model.predictor.predict(values.values)
    for row in range(0, 2000, 13):
        alone = back.predict(values.values[row : row + 1])
        assert alone.value.tobytes() == many.value[row : row + 1].tobytes()
        for one, all_of_them in zip(alone.interval, many.interval, strict=True):
            assert one.tobytes() == all_of_them[row : row + 1].tobytes()


def test_no_value_of_test_or_of_the_exam_has_any_say_in_the_model_or_its_interval(
    value_model: TrainedModel, values: TrainingData
) -> None:
    learnt = SPLIT.train.contains(values.day) | SPLIT.validation.contains(values.day)
    hidden = ~learnt | near_standing_exam(values.day)
    labels = np.where(hidden, values.labels + 10, values.labels)
    changed = train(MAX_TEMP, XGBOOST, replace(values, labels=labels), SPLIT, CONFIG)
    assert changed.digest == value_model.digest
    assert changed.metrics["bias"] < value_model.metrics["bias"] - 9
    validation = labelled(SPLIT.parts(values.day), values.labels).validation
    labels = np.where(validation, values.labels + 0.5, values.labels).astype(np.float32)
    assert train(MAX_TEMP, XGBOOST, replace(values, labels=labels), SPLIT, CONFIG).digest != value_model.digest


def test_values_that_never_change_cannot_be_measured(values: TrainingData) -> None:
    test = SPLIT.test.contains(values.day)
    flat = replace(values, labels=np.where(test & ~np.isnan(values.labels), 20, values.labels).astype(np.float32))
    with pytest.raises(InvariantError, match="same label"):
        train(MAX_TEMP, XGBOOST, flat, SPLIT, CONFIG)


def test_values_may_be_the_same_on_all_training_rows(values: TrainingData) -> None:
    train_rows = labelled(SPLIT.parts(values.day), values.labels).train
    flat = replace(values, labels=np.where(train_rows, 20, values.labels).astype(np.float32))
    assert train(MAX_TEMP, XGBOOST, flat, SPLIT, CONFIG).rows["train"] == train_rows.sum()


def test_the_contract_of_a_value_without_its_interval_is_named(value_model: TrainedModel) -> None:
    good = value_model.contract.to_dict()
    assert "threshold" not in good
    for bad in (
        {k: v for k, v in good.items() if k != "interval"},
        good | {"interval": good["interval"] | {"low": [1.0]}},
    ):
        with pytest.raises(RegistryError, match="contract cannot be used"):
            Contract.from_bytes(json.dumps(bad).encode())


def test_a_task_that_an_algorithm_does_not_do_is_refused(data: TrainingData) -> None:
    only_values = replace(XGBOOST, tasks=frozenset({"regression"}))
    with pytest.raises(InvariantError, match="xgboost does not do classification"):
        train(RAIN, only_values, data, SPLIT, CONFIG)
