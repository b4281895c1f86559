"""Checks of stage models, firing and not firing, on real models in a real MLflow."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.checks.models import altered_models, unbeaten_baselines
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import RegistryError
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import ModelReference
from weather_platform_tests.small_models import TARGET, Store, model_folder
from weather_platform_tests.stages import Home, evaluations, failing, made, started

CHECKS = ("digest_verifies", "beats_the_baselines")


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """One bit of a file is turned, as by a bad disk."""
    sound = path.read_bytes()
    data = bytearray(sound)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(sound)


def candidate(store: Store, version: int = 1) -> ModelReference:
    """The candidate that became this version."""
    return store.registry.reference(store.registry.version(TARGET, version).run_id)


def _measured(**metrics: float) -> ModelReference:
    return ModelReference(
        target=TARGET, algorithm="xgboost", year=2015, run_id="r", model_id="m", model_uri="file:///m", digest="d",
        golden_sha256="g", threshold=0.5, feature_version="1", tuned_through=date(2014, 12, 30),
        tested_through=date(2015, 12, 31), metrics=metrics, lake_versions={}, source="csv",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "persistence", "climatology", "said"),
    [
        (0.7, 0.5, 0.6, None),
        (0.6, 0.5, 0.6, "f1 0.6000, but climatology 0.6000"),  # as good as no model is not good enough
        (0.4, 0.5, 0.6, "f1 0.4000, but persistence 0.5000, climatology 0.6000"),
    ],
)
def test_a_model_that_is_no_better_than_a_baseline_is_named_with_it(
    model: float, persistence: float, climatology: float, said: str | None
) -> None:
    measured = _measured(test_f1=model, persistence_f1=persistence, climatology_f1=climatology)
    assert unbeaten_baselines(TARGETS[TARGET], {"2015": measured}) == ({} if said is None else {"2015": said})


@pytest.mark.parametrize("lacking", ["test_f1", "persistence_f1", "climatology_f1"])
def test_a_metric_that_was_never_measured_is_an_error_and_never_passes(lacking: str) -> None:
    metrics = {"test_f1": 0.7, "persistence_f1": 0.5, "climatology_f1": 0.6}
    del metrics[lacking]
    with pytest.raises(RegistryError, match=f"has no metric {lacking}"):
        unbeaten_baselines(TARGETS[TARGET], {"2015": _measured(**metrics)})


@pytest.mark.parametrize("file", ["model.ubj", "contract.json"])
def test_a_stored_model_that_was_altered_is_named_and_the_others_are_not(store: Store, file: str) -> None:
    candidates = {"2014": candidate(store, 1), "2015": candidate(store, 2)}
    assert altered_models(store.registry, candidates) == {}
    with damaged(model_folder(candidates["2015"]) / file):
        findings = altered_models(store.registry, candidates)
    assert list(findings) == ["2015"]
    assert "restore the file" in str(findings["2015"])


def test_a_model_whose_files_are_gone_is_an_error_and_never_passes(store: Store) -> None:
    file = model_folder(candidate(store)) / "model.ubj"
    away = file.rename(file.with_suffix(".away"))
    try:
        with pytest.raises(RegistryError, match="downloading model"):
            altered_models(store.registry, {"2015": candidate(store)})
    finally:
        away.rename(file)


def _check_then_promote(home: Home) -> dg.ExecuteInProcessResult:
    key = dg.AssetKey([TARGET, "xgboost"])
    checks = dg.AssetSelection.checks(*(dg.AssetCheckKey(key, name) for name in CHECKS))
    after = dg.AssetSelection.assets([TARGET, "leaderboard"], [TARGET, "promotion"])
    return home.run(checks | after, "2015")


def test_checks_look_at_the_models_that_dagster_recorded(tmp_path: Path, store: Store) -> None:
    home = Home(tmp_path)
    home.claim_model("2015", candidate(store).run_id)
    told = evaluations(_check_then_promote(home))
    assert {name: (told[name].passed, told[name].blocking) for name in CHECKS} == {
        "digest_verifies": (True, True),
        "beats_the_baselines": (True, False),
    }


def test_a_model_that_a_baseline_equals_is_warned_about_and_goes_on_to_the_board(tmp_path: Path, store: Store) -> None:
    home = Home(tmp_path)
    reference = candidate(store)
    mlflow_client(store.tracking_uri).log_metric(reference.run_id, "climatology_f1", reference.metric("test_f1"))
    home.claim_model("2015", reference.run_id)
    result = _check_then_promote(home)
    told = evaluations(result)["beats_the_baselines"]
    assert (told.passed, told.severity, list(failing(told))) == (False, dg.AssetCheckSeverity.WARN, ["2015"])
    assert f"{TARGET}__leaderboard" in started(result)  # and fails there: there is but one candidate


def test_an_altered_model_never_reaches_a_decision(tmp_path: Path, store: Store) -> None:
    home = Home(tmp_path)
    reference = candidate(store)
    home.claim_model("2015", reference.run_id)
    with damaged(model_folder(reference) / "model.ubj"):
        result = _check_then_promote(home)
    assert not result.success
    assert made(result) == set()
    assert f"{TARGET}__promotion" not in started(result)
    told = evaluations(result)["digest_verifies"]
    assert (told.passed, told.blocking) == (False, True)
    assert list(failing(told)) == ["2015"]
    assert store.database.decisions(TARGET) == []


def test_a_year_without_a_recorded_model_never_reaches_a_decision(tmp_path: Path, store: Store) -> None:
    result = _check_then_promote(Home(tmp_path))
    assert not result.success
    assert f"{TARGET}__promotion" not in started(result)
