"""`production_alias` tick by tick on a real MLflow: a move by hand is recorded, tried, and put back if it fails."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from weather_platform.automation.aliases import alias_sensors
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.alias_moves import CANARY, FOUND_SO
from weather_platform.domain.features import FEATURE_VERSION, feature_names
from weather_platform.domain.notices import NoticeKind
from weather_platform.domain.splits import plan_split
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import TrainingConfig, train
from weather_platform.errors import WeatherError
from weather_platform.io_managers.mlflow_models import Candidate
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import NOT_OURS, PREVIOUS, PRODUCTION, Audit
from weather_platform.resources.rollback import keep_or_put_back, roll_back, withdraw
from weather_platform_tests.checks.test_models import damaged
from weather_platform_tests.mlflow_stores import empty_mlflow as empty_mlflow
from weather_platform_tests.mlflow_stores import store as store
from weather_platform_tests.mlflow_stores import tracking_uri as tracking_uri
from weather_platform_tests.small_models import TARGET, Store, model_folder, small_data
from weather_platform_tests.stages import MOMENT, Home

AUDIT = Audit(decision_id=None, reason="DEPLOY: better", dagster_run_id="run-1", changed_at=MOMENT)
KEY = dg.AssetKey([TARGET, "production"])
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@cache
def servable(seed: int) -> Candidate:
    """A small model of the features of today."""
    small = small_data()
    values = np.full((len(small.day), len(feature_names())), np.nan, dtype=np.float32)
    values[:, :3] = small.values
    data = replace(small, values=values, feature_names=tuple(feature_names()), feature_version=FEATURE_VERSION)
    split = plan_split(2015, date(2008, 1, 1), date(2017, 6, 29))
    config = TrainingConfig(seed=seed, threads=1, params={"n_estimators": 4}, resamples=20)
    model = train(TARGETS[TARGET], ALGORITHMS["xgboost"], data, split, config)
    return Candidate(model, {"features": 7, f"{TARGET}__split": 0}, values[:5], 300.0, "synthetic")


class Platform:
    """A home with three versions of which 1 and then 2 were promoted, and its sensor from tick to tick."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store, self.home = store, Home(folder)
        for seed in (1, 2, 3):
            store.registry.register(store.log_any(servable(seed)))
        store.registry.move_production(TARGET, 1, None, AUDIT)
        store.registry.move_production(TARGET, 2, 1, AUDIT)
        self.now = datetime.now(UTC)
        self.keys: set[str] = set()

    def by_hand(self, version: int) -> None:
        mlflow_client(self.store.tracking_uri).set_registered_model_alias(TARGET, PRODUCTION, str(version))

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        """The requests that Dagster would start, as their keys are new, and what was said instead."""
        [sensor] = alias_sensors(self.home.settings, lambda: self.now, dg.DefaultSensorStatus.STOPPED)
        with dg.build_sensor_context(
            self.home.instance,
            repository_def=self.home.graph.get_repository_def(),
            resources={"database": self.store.database},
        ) as context:
            ticked = sensor.evaluate_tick(context)
        requests = [request for request in ticked.run_requests or [] if request.run_key not in self.keys]
        self.keys |= {request.run_key for request in requests if request.run_key}
        return requests, ticked.skip_message or ""

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        job = self.home.graph.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.home.instance, asset_selection=request.asset_selection, tags=dict(request.tags),
            run_config=QUIET, raise_on_error=False,
        )  # fmt: skip

    def answer(self) -> dg.ExecuteInProcessResult:
        """One tick and its run."""
        [request], _ = self.tick()
        assert request.asset_selection == [KEY]
        return self.run(request)

    @property
    def alias(self) -> int | None:
        return self.store.registry.aliases(TARGET).get(PRODUCTION)

    @property
    def moves(self) -> list[tuple[int | None, int | None]]:
        return [(move.from_version, move.to_version) for move in self.store.database.alias_changes(TARGET, PRODUCTION)]

    @property
    def reason(self) -> str:
        return self.store.database.alias_changes(TARGET, PRODUCTION)[-1].reason

    def notices(self, kind: NoticeKind) -> list[str]:
        with self.store.database.outbox(writing=False) as outbox:
            return [each.title for each in outbox.notices(open_only=False) if each.kind is kind]

    def data_version(self) -> str | None:
        event = self.home.instance.get_latest_materialization_event(KEY)
        assert event is not None
        assert event.asset_materialization is not None
        return (event.asset_materialization.tags or {}).get("dagster/data_version")


PROMOTED = [(None, 1), (1, 2)]


@pytest.fixture
def platform(tmp_path: Path, store: Store) -> Iterator[Platform]:
    made = Platform(tmp_path, store)
    yield made
    made.home.instance.dispose()


def test_moves_of_the_platform_itself_ask_for_nothing(platform: Platform) -> None:
    assert platform.tick() == ([], "no alias was moved by hand")
    roll_back(platform.store.registry, platform.store.database, TARGET, None, AUDIT)
    assert platform.tick() == ([], "no alias was moved by hand")
    withdraw(platform.store.registry, platform.store.database, TARGET, AUDIT)
    assert platform.tick() == ([], "no alias was moved by hand")
    assert platform.notices(NoticeKind.ALIAS_MOVED) == []


def test_a_move_to_a_version_that_may_serve_is_recorded_and_stays(platform: Platform) -> None:
    platform.by_hand(3)
    assert platform.answer().success
    assert (platform.alias, platform.moves) == (3, [*PROMOTED, (2, 3)])
    assert platform.reason.startswith(FOUND_SO)
    assert "does not record who" in platform.reason
    assert platform.notices(NoticeKind.ALIAS_MOVED) == [f"{TARGET}: version 3 serves"]
    assert platform.data_version() == platform.store.registry.version(TARGET, 3).digest
    [seen] = platform.home.instance.fetch_observations(KEY, limit=5).records
    said = seen.asset_observation.description if seen.asset_observation else None
    assert said == "Production was moved by hand from version 2 to version 3, which may serve"
    assert platform.tick() == ([], "no alias was moved by hand"), "nothing is asked for a second time"


@pytest.mark.parametrize("file", ["model.ubj", "golden.arrow"])
def test_a_move_to_a_version_that_may_not_serve_is_put_back(platform: Platform, file: str) -> None:
    with damaged(model_folder(platform.store.registry.version(TARGET, 3)) / file):
        platform.by_hand(3)
        assert platform.answer().success
    assert (platform.alias, platform.moves) == (2, [*PROMOTED, (2, 3), (3, 2)])
    assert platform.reason.startswith(f"{CANARY}Production was moved by hand from version 2 to version 3")
    assert f"{file} has SHA-256" in platform.reason
    assert platform.notices(NoticeKind.CANARY_FAILED) == [f"{TARGET}: version 2 serves"]
    assert platform.data_version() == platform.store.registry.version(TARGET, 2).digest
    assert platform.tick()[0] == []


def test_a_version_that_the_platform_did_not_register_is_put_back(platform: Platform) -> None:
    client = mlflow_client(platform.store.tracking_uri)
    source = platform.store.registry.version(TARGET, 1).model_uri
    client.create_model_version(TARGET, source=source)
    platform.by_hand(4)
    assert platform.answer().success
    assert platform.alias == 2
    found = platform.store.database.alias_changes(TARGET, PRODUCTION)[-2]
    assert (found.to_version, found.digest) == (4, NOT_OURS)
    assert platform.store.registry.aliases(TARGET)[PREVIOUS] == 1, "a foreign version is no version to go back to"


def test_a_version_that_the_platform_did_not_register_is_left_by_a_rollback(platform: Platform) -> None:
    client = mlflow_client(platform.store.tracking_uri)
    client.create_model_version(TARGET, source=platform.store.registry.version(TARGET, 1).model_uri)
    platform.by_hand(4)
    roll_back(platform.store.registry, platform.store.database, TARGET, 1, AUDIT)
    assert platform.alias == 1


def test_when_the_recorded_version_may_not_serve_either_nothing_serves(platform: Platform) -> None:
    folders = [model_folder(platform.store.registry.version(TARGET, version)) for version in (2, 3)]
    with damaged(folders[0] / "model.ubj"), damaged(folders[1] / "model.ubj"):
        platform.by_hand(3)
        assert not platform.answer().success
    assert (platform.alias, platform.moves[-1]) == (None, (3, None))
    assert platform.tick()[0] == []


def test_an_alias_set_by_hand_where_none_was_is_recorded(platform: Platform) -> None:
    withdraw(platform.store.registry, platform.store.database, TARGET, AUDIT)
    platform.by_hand(3)
    assert platform.answer().success
    assert (platform.alias, platform.moves[-1]) == (3, (None, 3))


def test_a_deleted_alias_opens_one_notice_which_ends_when_it_is_back(platform: Platform) -> None:
    mlflow_client(platform.store.tracking_uri).delete_registered_model_alias(TARGET, PRODUCTION)
    for _ in range(2):
        assert platform.tick() == ([], f"{TARGET}: the alias is gone, and nothing moves by itself")
    assert platform.notices(NoticeKind.ALIAS_MOVED) == [f"{TARGET}: the Production alias is gone"]
    assert platform.moves == PROMOTED, "an empty registry looks the same: the champion is not forgotten"
    roll_back(platform.store.registry, platform.store.database, TARGET, 2, AUDIT)
    platform.now += timedelta(minutes=1)
    platform.tick()
    with platform.store.database.outbox(writing=False) as outbox:
        assert outbox.notices(open_only=True) == []


def test_a_move_that_the_platform_is_making_is_not_by_hand(platform: Platform) -> None:
    """The alias is set before the record is committed: a tick in between waits for the lock."""
    holding, ticked = threading.Event(), []

    def promote() -> None:
        with platform.store.database.locked(TARGET) as ledger:
            platform.by_hand(3)
            last = ledger.latest_alias_change(PRODUCTION)
            assert last is not None
            holding.set()
            threading.Event().wait(2.5)
            digest = platform.store.registry.version(TARGET, 3).digest
            ledger.record_alias_change(replace(last, id=None, from_version=2, to_version=3, digest=digest))

    promoting = threading.Thread(target=promote)
    promoting.start()
    assert holding.wait(30)
    ticked.append(platform.tick())
    promoting.join(30)
    assert ticked == [([], "no alias was moved by hand")]


def test_while_the_registry_cannot_be_read_the_tick_fails_and_afterwards_the_move_is_seen(
    platform: Platform, tmp_path: Path
) -> None:
    platform.by_hand(3)
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "kept.db")
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises((WeatherError, dg.DagsterError), match="MLflow"):
        platform.tick()
    assert platform.moves == PROMOTED
    shutil.copy(tmp_path / "kept.db", tmp_path / "mlflow.db")
    assert platform.answer().success
    assert platform.moves == [*PROMOTED, (2, 3)]


def test_a_run_that_fails_is_followed_by_another_after_a_while(platform: Platform, tmp_path: Path) -> None:
    platform.by_hand(3)
    files = model_folder(platform.store.registry.version(TARGET, 3))
    shutil.move(files, tmp_path / "away")
    assert not platform.answer().success, "the files cannot be read, as when their store is away"
    assert platform.moves == PROMOTED
    shutil.move(tmp_path / "away", files)
    platform.now = datetime.now(UTC)
    requests, said = platform.tick()
    assert requests == []
    assert "the next try is at" in said
    platform.now += timedelta(minutes=2)
    assert platform.answer().success
    assert platform.moves == [*PROMOTED, (2, 3)]


def test_a_move_in_the_middle_of_the_answer_is_not_recorded_untried(platform: Platform) -> None:
    platform.by_hand(3)
    assert not platform.store.registry.record_found(TARGET, 1, AUDIT)
    assert platform.moves == PROMOTED
    assert keep_or_put_back(platform.store.registry, platform.store.database, TARGET, AUDIT)
    assert platform.moves == [*PROMOTED, (2, 3)]
