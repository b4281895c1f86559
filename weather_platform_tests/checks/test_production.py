"""The check of stage production, firing and not firing, on a real registry and a real audit."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.checks.production import alias_faults
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import RegistryError
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import PRODUCTION, Audit, RegisteredModel
from weather_platform_tests.checks.test_models import damaged
from weather_platform_tests.small_models import TARGET, Store, model_folder
from weather_platform_tests.stages import MOMENT, Home, evaluations, failing, started

AUDIT = Audit(decision_id=None, reason="DEPLOY: better", dagster_run_id="run-1", changed_at=MOMENT)


def _promoted(store: Store, version: int = 1, expected: int | None = None) -> RegisteredModel:
    return store.registry.move_production(TARGET, version, expected, AUDIT).production


def _faults(store: Store) -> str:
    return "; ".join(alias_faults(TARGETS[TARGET], store.registry, store.database).values())


def _by_hand(store: Store, version: int) -> None:
    mlflow_client(store.tracking_uri).set_registered_model_alias(TARGET, PRODUCTION, str(version))


def test_an_alias_that_moved_by_a_recorded_decision_has_no_fault(store: Store) -> None:
    _promoted(store)
    assert _faults(store) == ""
    _promoted(store, version=2, expected=1)
    assert _faults(store) == ""


def test_a_target_without_a_production_model_is_a_fault(store: Store) -> None:
    assert _faults(store) == "no version has this alias"


def test_an_alias_that_somebody_moved_by_hand_is_a_fault(store: Store) -> None:
    _promoted(store)
    _by_hand(store, 2)
    assert _faults(store) == "on version 2, and the audit knows version 1"


def test_an_alias_that_no_audit_row_explains_is_a_fault(store: Store) -> None:
    _by_hand(store, 1)
    assert _faults(store) == "on version 1, and the audit knows no move at all"


@pytest.mark.parametrize("file", ["model.ubj", "contract.json"])
def test_an_altered_file_of_the_production_model_is_a_fault(store: Store, file: str) -> None:
    with damaged(model_folder(_promoted(store)) / file):
        assert f"{file} has SHA-256" in _faults(store)


def test_an_unreadable_registry_is_an_error_and_no_finding(store: Store, tmp_path: Path) -> None:
    _promoted(store)
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(RegistryError, match="reading the aliases"):
        alias_faults(TARGETS[TARGET], store.registry, store.database)


def test_a_faulty_alias_stops_the_forecasts_and_a_sound_one_does_not(tmp_path: Path, store: Store) -> None:
    home = Home(tmp_path)
    day = date(2015, 6, 1)
    home.observe("2015", [day])
    model = _promoted(store)
    check = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey([TARGET, "production"]), "alias_as_audited"))
    selection = check | dg.AssetSelection.assets([TARGET, "forecasts"])

    sound = home.run(selection, day.isoformat())
    assert evaluations(sound)["alias_as_audited"].passed
    assert f"{TARGET}__forecasts" in started(sound)  # and fails there: there are no features in this lake

    with damaged(model_folder(model) / "model.ubj"):
        faulty = home.run(selection, day.isoformat())
    assert not faulty.success
    assert started(faulty) == {f"{TARGET}__production_alias_as_audited"}
    told = evaluations(faulty)["alias_as_audited"]
    assert (told.passed, told.blocking, list(failing(told))) == (False, True, [PRODUCTION])
