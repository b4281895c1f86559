"""What a worker serves: loaded from the state folder, proven, swapped whole; what it does when files are wrong."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from weather_platform.domain.feature_table import observation_arrays, station_grid
from weather_platform.domain.features import build_features, neighbour_weights
from weather_platform.domain.splits import day_number
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import PREVIOUS, PRODUCTION
from weather_platform.serving import model_store
from weather_platform.serving.follower import Follower
from weather_platform.serving.model_store import ModelStore, StoreEvent
from weather_platform.serving.state import State, StateFolder
from weather_platform.settings import Settings
from weather_platform.stores import mlflow_tracking_uri, open_lake
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.e2e.test_outages import turn_a_bit
from weather_platform_tests.serving.homes import AUDIT, eventually
from weather_platform_tests.small_models import TARGET

OTHER = "max_temp_tomorrow"


class Worker:
    """A store that looks when it is told to, a follower that polls when it is told to, and what happened."""

    def __init__(self, home: MadeHome) -> None:
        self.home = home
        self.settings: Settings = home.settings
        self.folder = StateFolder(home.folder)
        self.follower = Follower(self.settings, home.registry, open_lake(self.settings), self.folder)
        self.follower.mend()
        self.events: list[StoreEvent] = []
        self.store = ModelStore(self.settings, self.events.append)

    def poll(self) -> State:
        state = self.follower.poll()
        self.store.look()
        return state

    def kinds(self) -> dict[str, int]:
        """How often what happened since this was asked last."""
        counted = Counter[str](event.kind for event in self.events)
        self.events.clear()
        return dict(counted)

    def write(self, state: State) -> None:
        self.folder.write(state)
        self.store.look()

    def serves(self, alias: str = PRODUCTION) -> int | None:
        assert self.store.served is not None
        model = self.store.served.models.get(TARGET, {}).get(alias)
        return model.version if model else None


@pytest.fixture
def worker(several: MadeHome) -> Worker:
    return Worker(several)


@pytest.fixture
def again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "AGAIN_SECONDS", 0.0)


def test_a_worker_imports_neither_dagster_nor_mlflow_nor_the_lake(worker: Worker) -> None:
    worker.poll()
    program = (
        "import sys, time;"
        "from weather_platform.serving.model_store import ModelStore;"
        "from weather_platform.serving.supervisor import FollowerSupervisor;"
        "from weather_platform.settings import load_settings;"
        f"store = ModelStore(load_settings(home={str(worker.home.folder)!r}), print); store.start();\n"
        "while store.served is None or not store.served.models: time.sleep(0.01)\n"
        "store.stop();"
        "print(sorted({'dagster', 'mlflow', 'deltalake', 'alembic', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_nothing_is_served_before_the_follower_has_written(worker: Worker) -> None:
    worker.store.look()
    assert worker.store.served is None
    assert worker.events == []
    assert worker.store.lag_seconds() < 60


def test_the_models_are_those_of_the_registry_bit_for_bit(worker: Worker) -> None:
    worker.poll()
    served = worker.store.served
    assert served is not None
    assert set(served.models) == {TARGET, OTHER}
    for target in (TARGET, OTHER):
        registered = worker.home.registry.production(target)
        model = served.models[target][PRODUCTION]
        assert (model.version, model.digest, model.run_id) == (registered.version, registered.digest, registered.run_id)
        assert model.tested_through == day_number(registered.tested_through)
        assert model.target.name == target
        contract, _ = worker.home.registry.verified_files(registered)
        assert model.contract_bytes == contract
        golden = worker.home.registry.golden(registered, model.predictor.contract.feature_names)
        assert np.array_equal(model.predictor.predict(golden.values).value, golden.expected)
    assert worker.kinds() == {"swapped": 2}


def test_the_recent_observations_give_the_features_of_the_lake(worker: Worker) -> None:
    worker.poll()
    served = worker.store.served
    assert served is not None
    assert served.recent is not None
    stations = worker.home.lake.read("stations")
    assert [station.id for station in served.stations] == stations["id"].to_pylist()
    grid = station_grid(stations)
    arrays = observation_arrays(worker.home.lake.read("observations"), grid)
    first, last = served.recent.first_day, served.recent.last_day
    expected = build_features(arrays, grid, neighbour_weights(grid), first_day=first, last_day=last)
    for row in (0, 1, len(expected) // 2, len(expected) - 1):
        station, day = int(expected.station_index[row]), int(expected.day[row])
        found = served.recent.features_of_one(station, day, {}, use_history=True)
        assert found.tobytes() == expected.values[row].tobytes()


def test_another_version_is_swapped_in_and_a_reader_keeps_what_it_took(worker: Worker) -> None:
    worker.poll()
    taken = worker.store.served
    assert taken is not None
    worker.kinds()
    worker.home.registry.move_production(TARGET, 2, 1, AUDIT)
    worker.poll()
    assert (worker.serves(), worker.serves(PREVIOUS)) == (2, 1)
    assert taken.models[TARGET][PRODUCTION].version == 1
    served = worker.store.served
    assert served is not None
    assert served.models[TARGET][PREVIOUS].predictor is taken.models[TARGET][PRODUCTION].predictor, "loaded once"
    assert served.models[OTHER][PRODUCTION] is taken.models[OTHER][PRODUCTION]
    assert worker.kinds() == {"swapped": 2}
    worker.poll()
    assert worker.kinds() == {}


@pytest.mark.parametrize("ahead", [timedelta(seconds=0.5), timedelta(days=365)], ids=["soon", "by-a-wrong-clock"])
def test_what_changed_is_served_from_the_moment_that_the_state_names_and_no_clock_holds_it_up(
    worker: Worker, ahead: timedelta
) -> None:
    before = worker.poll()
    assert before.serve_at is None, "the first state is served at once"
    serve_at = datetime.now(UTC) + ahead
    worker.write(replace(before, generation=before.generation + 1, serve_at=serve_at, refused=()))
    assert worker.store.served is not None
    assert worker.store.served.generation == before.generation + 1
    if ahead < timedelta(days=1):
        assert datetime.now(UTC) >= serve_at


def test_production_that_is_withdrawn_is_not_served_any_more(worker: Worker) -> None:
    worker.poll()
    worker.kinds()
    worker.home.registry.withdraw_production(TARGET, 1, AUDIT)
    worker.poll()
    served = worker.store.served
    assert served is not None
    assert set(served.models) == {OTHER}
    assert [(event.kind, event.target, event.alias, event.version) for event in worker.events] == [
        ("withdrawn", TARGET, PRODUCTION, 1)
    ]


def test_a_refusal_of_the_follower_is_told_once_and_what_served_goes_on(worker: Worker) -> None:
    worker.poll()
    registry = worker.home.registry
    registry.move_production(TARGET, 2, 1, AUDIT)
    three = registry.version(TARGET, 3)
    turn_a_bit(Path(three.model_uri.removeprefix("file://")) / "model.ubj")
    mlflow_client(mlflow_tracking_uri(worker.settings)).set_registered_model_alias(TARGET, PRODUCTION, "3")
    worker.kinds()
    for _ in range(3):
        worker.poll()
    assert worker.serves() == 1
    [refused] = [event for event in worker.events if event.kind == "refused"]
    assert (refused.target, refused.alias, refused.version) == (TARGET, PRODUCTION, 3)
    assert "model.ubj has SHA-256" in str(refused.reason)
    assert worker.store.served is not None
    assert [each.version for each in worker.store.served.refused] == [3]


@pytest.mark.parametrize("file", ["contract.json", "model", "golden.arrow"])
def test_altered_files_of_the_state_folder_are_not_served_and_what_served_goes_on(
    worker: Worker, again_at_once: None, file: str
) -> None:
    worker.poll()
    worker.kinds()
    worker.home.registry.move_production(TARGET, 2, 1, AUDIT)
    state = worker.follower.poll()
    digest = state.models[TARGET][PRODUCTION].digest
    path = worker.folder.path / "models" / digest / file
    kept = path.read_bytes()
    turn_a_bit(path)
    for _ in range(3):
        worker.store.look()
    assert worker.serves() == 1
    [failed] = [event for event in worker.events if event.kind == "load_failed"]
    assert (failed.target, failed.alias, failed.version) == (TARGET, PRODUCTION, 2)
    path.write_bytes(kept)
    worker.store.look()
    assert worker.serves() == 2


def test_the_follower_fetches_again_what_was_altered_in_the_state_folder(worker: Worker) -> None:
    state = worker.poll()
    digest = state.models[TARGET][PRODUCTION].digest
    path = worker.folder.path / "models" / digest / "model"
    kept = path.read_bytes()
    turn_a_bit(path)
    worker.poll()
    assert path.read_bytes() == kept
    assert state.recent is not None
    rows = worker.folder.path / "lake" / state.recent.observations.file
    rows.unlink()
    worker.poll()
    assert rows.exists()
    assert worker.serves() == 1


def test_a_file_that_is_gone_is_told_and_the_other_target_is_served(worker: Worker) -> None:
    state = worker.follower.poll()
    (worker.folder.path / "models" / state.models[TARGET][PRODUCTION].digest / "model").unlink()
    worker.store.look()
    assert worker.store.served is not None
    assert set(worker.store.served.models) == {OTHER}
    assert worker.kinds() == {"load_failed": 1, "swapped": 1}


def test_a_state_that_cannot_be_read_is_told_once_and_what_served_goes_on(worker: Worker, again_at_once: None) -> None:
    state = worker.poll()
    worker.kinds()
    (worker.folder.path / "served.json").write_text('{"format": "another"}')
    for _ in range(3):
        worker.store.look()
    assert worker.serves() == 1
    assert worker.kinds() == {"load_failed": 1}
    worker.write(state)
    assert worker.kinds() == {}
    assert worker.serves() == 1


def test_observations_that_were_altered_are_not_taken_over(worker: Worker) -> None:
    state = worker.poll()
    assert worker.store.served is not None
    before = worker.store.served.recent
    assert state.recent is not None
    other = replace(state.recent.observations, sha256="0" * 64)
    worker.write(replace(state, recent=replace(state.recent, observations=other)))
    assert worker.store.served.recent is before
    assert worker.events[-1].kind == "load_failed"
    assert "is not what the follower wrote" in str(worker.events[-1].reason)


def test_an_outage_of_the_registry_is_told_at_its_beginning_and_at_its_end(worker: Worker) -> None:
    state = worker.poll()
    worker.kinds()
    outage = replace(
        state, registry_error="MLflow at http://x failed", checked_at=datetime.now(UTC) - timedelta(seconds=90)
    )
    for _ in range(3):
        worker.write(outage)
    assert [(event.kind, event.reason) for event in worker.events] == [("stale", "MLflow at http://x failed")]
    assert 90 <= worker.store.lag_seconds() < 120
    assert worker.serves() == 1
    worker.kinds()
    worker.write(state)
    assert worker.kinds() == {"fresh": 1}


def test_a_follower_that_fell_silent_is_told(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    state = worker.poll()
    worker.kinds()
    monkeypatch.setattr(worker.store, "_silence_seconds", 0.0)
    worker.store.look()
    [event] = worker.events
    assert event.kind == "stale"
    assert "has not been heard of since" in str(event.reason)
    worker.kinds()
    monkeypatch.setattr(worker.store, "_silence_seconds", 60.0)
    worker.write(state)
    assert worker.kinds() == {"fresh": 1}


def test_the_thread_follows_by_itself_and_ends_when_it_is_told(worker: Worker) -> None:
    store = ModelStore(worker.settings, worker.events.append)
    store.start()
    worker.follower.poll()
    eventually(lambda: store.served is not None, "the models")
    store.stop()
    served = store.served
    worker.home.registry.move_production(TARGET, 2, 1, AUDIT)
    worker.follower.poll()
    assert store.served is served
