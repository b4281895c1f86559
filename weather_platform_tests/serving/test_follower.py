"""The follower: a real process on a real home, with a real MLflow that flips, breaks, goes away and comes back."""

import errno
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any, Self

import pyarrow.compute as pc
import pytest

from weather_platform.domain.canary import GOLDEN_FILE
from weather_platform.domain.training import sha256
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import PREVIOUS, PRODUCTION, RegisteredModel
from weather_platform.serving.follower import Follower
from weather_platform.serving.model_store import ModelStore, StoreEvent
from weather_platform.serving.state import StateFolder
from weather_platform.serving.supervisor import FollowerSupervisor
from weather_platform.settings import load_settings
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome, clean_environment, copied, environment
from weather_platform_tests.e2e.test_outages import turn_a_bit
from weather_platform_tests.e2e.test_rollback import another_record
from weather_platform_tests.serving.homes import (
    AUDIT,
    QUICK_POLL,
    Following,
    alive,
    eventually,
    following,
    is_running,
    register,
    start_follower,
    trained,
)
from weather_platform_tests.serving.servers import free_port
from weather_platform_tests.small_models import TARGET, Store, model_file, model_folder

OTHER = "max_temp_tomorrow"


def point(home: MadeHome, alias: str, version: int) -> None:
    """Move an alias past every check of the platform, as MLflow's own page does."""
    mlflow_client(mlflow_tracking_uri(home.settings)).set_registered_model_alias(TARGET, alias, str(version))


def new_version(home: MadeHome, seed: int) -> RegisteredModel:
    return register(home.registry, mlflow_tracking_uri(home.settings), trained(home.folder, seed))


def polling(home: MadeHome, **settings: object) -> Follower:
    """A follower in this process that has just started, and polls when it is told to."""
    follower = Follower.from_settings(load_settings(home=home.folder, **settings), StateFolder(home.folder))
    follower.mend()
    return follower


# ---------------------------------------------------------------- moving


def test_every_reader_sees_one_version_whole_while_production_moves_and_a_second_follower_takes_over(
    several: MadeHome,
) -> None:
    """The second one waits all the while, until the first is killed while Production moves."""
    registry, events = several.registry, list[StoreEvent]()
    models = {number: registry.version(TARGET, number) for number in (1, 2, 3)}
    expected = {
        model.digest: registry.golden(model, registry.load(model).contract.feature_names) for model in models.values()
    }
    with following(several) as followed, _waiting(several) as second, _store(several, events) as store:
        mixed, seen = list[str](), set[int]()
        asked = 0
        for to, expected_champion in ((2, 1), (3, 2), (1, 3), (2, 1)):
            registry.move_production(TARGET, to, expected_champion, AUDIT)
            moved_at = time.monotonic()
            while True:
                served = store.served
                assert served is not None
                model = served.models[TARGET][PRODUCTION]
                golden = expected[model.digest]
                says = model.predictor.predict(golden.values).value
                if model.digest != models[model.version].digest or says.tobytes() != golden.expected.tobytes():
                    mixed.append(model.name)
                seen.add(model.version)
                asked += 1
                time.sleep(0.002)  # the follower has the cores, too
                if model.version == to:
                    break
                assert time.monotonic() - moved_at < 10, f"version {to} is not served"
            previous = store.served
            assert previous is not None
            assert previous.models[TARGET][PREVIOUS].version == expected_champion
        assert (mixed, seen) == ([], {1, 2, 3})
        assert asked > 100
        production = ("swapped", TARGET, PRODUCTION)
        swaps = [event.version for event in events if (event.kind, event.target, event.alias) == production]
        assert swaps == [1, 2, 3, 1, 2]
        assert store.lag_seconds() < 5

        for champion, to in ((2, 1), (1, 3)):
            registry.move_production(TARGET, to, champion, AUDIT)
            time.sleep(0.25)
        followed.kill()
        whole(followed.folder)
        eventually(lambda: alive(second) and second.version(PRODUCTION) == 3, "the champion", 60)
        whole(followed.folder)


@contextmanager
def _waiting(home: MadeHome) -> Iterator[Following]:
    """A follower of a home that has one."""
    second = start_follower(home)
    try:
        eventually(lambda: "waiting for it to end" in second.log, "the second one")
        yield second
    finally:
        second.kill()


@contextmanager
def _store(home: MadeHome, events: list[StoreEvent]) -> Iterator[ModelStore]:
    with environment(clean_environment() | dict(QUICK_POLL)):
        settings = load_settings(home=home.folder)
    store = ModelStore(settings, events.append)
    store.start()
    try:
        eventually(lambda: store.served is not None, "the first models")
        yield store
    finally:
        store.stop()


def test_folders_of_versions_that_nothing_names_go_and_those_still_served_stay(several: MadeHome) -> None:
    registry = several.registry
    one, two = (registry.version(TARGET, number).digest for number in (1, 2))
    models = several.folder / "serving" / "models"
    follower = polling(several, serving_keep_seconds=0)
    follower.poll()
    registry.move_production(TARGET, 2, 1, AUDIT)
    assert follower.poll().models[TARGET][PREVIOUS].version == 1
    assert {one, two} < {path.name for path in models.iterdir()}, "Previous serves version 1"
    mlflow_client(mlflow_tracking_uri(several.settings)).delete_registered_model_alias(TARGET, PREVIOUS)
    state = follower.poll()
    assert not (models / one).exists()
    assert StateFolder(several.folder).model_files(two).model
    assert {path.name for path in models.iterdir()} == state.digests()


# ---------------------------------------------------------------- outages


@contextmanager
def mlflow_server(backend: Path, files: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real MLflow server with proxied artifacts on this port."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{backend}", "--artifacts-destination", str(files),
    ]  # fmt: skip
    quiet = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with backend.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(command, env=quiet, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: _listens(port), "the server", 90)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Gate:
    """A port in front of that of a server. Shut, it refuses whoever comes and has cut the connections of before."""

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self._behind = ("127.0.0.1", server_port)
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def open(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        self._sockets = [listening]
        Thread(target=self._accept, args=(listening,), daemon=True).start()

    def shut(self) -> None:
        for each in self._sockets:
            with suppress(OSError):  # the other side was first
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):  # how it learns that it is shut
            while True:
                one, other = listening.accept()[0], socket.create_connection(self._behind)
                self._sockets += [one, other]
                for pair in ((one, other), (other, one)):
                    Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, taken_from: socket.socket, given_to: socket.socket) -> None:
        with suppress(OSError):
            while data := taken_from.recv(65_536):
                given_to.sendall(data)
            given_to.shutdown(socket.SHUT_WR)


def test_a_registry_that_goes_away_and_comes_back(
    first: MadeHome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home, backend = copied(first, tmp_path / "home"), tmp_path / "server.db"
    database = f"sqlite:///{home.folder}/weather.db"
    shutil.copy(home.folder / "mlflow.db", backend)
    mlflow_client(f"sqlite:///{backend}").delete_registered_model(TARGET)
    with mlflow_server(backend, tmp_path / "files", server_port := free_port()), Gate(server_port) as gate:
        uri = f"http://127.0.0.1:{gate.port}"
        stack = {
            "profile": "stack", "lake_uri": str(home.folder / "lake"), "reports_uri": str(tmp_path / "reports"),
            "s3_access_key_id": "id", "s3_secret_access_key": "key", "mlflow_tracking_uri": uri,
            "database_url": database,
        }  # fmt: skip
        registry = Store(uri, database).registry
        one = register(registry, uri, trained(first.folder, 2))
        registry.move_production(TARGET, one.version, None, AUDIT)
        two = register(registry, uri, trained(first.folder, 3))
        with following(home, **{f"WEATHER_{name.upper()}": value for name, value in stack.items()}) as followed:
            assert followed.version(PRODUCTION) == one.version
            gate.shut()
            eventually(lambda: followed.state.registry_error is not None, "the outage")
            assert uri in str(followed.state.registry_error)
            assert followed.version(PRODUCTION) == one.version
            checked_at = followed.state.checked_at
            assert checked_at is not None
            signature = followed.folder.signature()
            eventually(lambda: followed.folder.signature() != signature, "another look")
            assert followed.state.checked_at == checked_at, "how old the answer is"
        assert followed.log.count("the registry is out of reach") == 1
        assert "Traceback" not in followed.log

        # That one was killed; this one has never heard of the registry.
        caplog.set_level(logging.INFO)
        again = polling(home, **stack)
        for _ in range(2):
            state = again.poll()
            assert uri in str(state.registry_error)
            assert state.models[TARGET][PRODUCTION].version == one.version
            assert state.checked_at == checked_at
        gate.open()
        registry.move_production(TARGET, two.version, one.version, AUDIT)
        state = again.poll()
        assert state.models[TARGET][PRODUCTION].version == two.version
        assert state.registry_error is None
        assert state.checked_at is not None
        assert state.checked_at > checked_at
        assert caplog.text.count("the registry is out of reach") == 1, "once for each process"
        assert caplog.text.count("the registry answers again") == 1
        assert "Traceback" not in caplog.text


def test_a_lake_that_cannot_be_read_is_told_and_what_was_read_stays_and_new_rows_come_in(
    several: MadeHome, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    table = several.folder / "lake" / "observations"
    follower = polling(several)
    before = follower.poll().recent
    assert before is not None
    table.rename(table.with_name("away"))
    for _ in range(3):
        state = follower.poll()
    assert state.lake_error is not None
    assert (state.recent, state.registry_error) == (before, None)
    table.with_name("away").rename(table)
    state = follower.poll()
    assert (state.recent, state.lake_error) == (before, None)
    rows = several.lake.snapshot("observations").read(keys=["2015"])
    fewer = rows.filter(pc.field("day") < before.last_day)
    several.lake.replace_partition("observations", "year", "2015", fewer)
    recent = follower.poll().recent
    assert recent is not None
    assert recent.last_day == before.last_day - timedelta(days=1)
    assert recent.stations == before.stations
    assert caplog.text.count("the lake is out of reach") == caplog.text.count("the lake answers again") == 1


def test_a_home_without_models_is_told_and_nothing_is_made_in_the_registry(tmp_path: Path) -> None:
    home = MadeHome(tmp_path / "home", {"WEATHER_HOME": str(tmp_path / "home")})
    home.folder.mkdir()
    with following(home) as followed:
        assert "no model was registered in" in str(followed.state.registry_error)
        assert (followed.state.checked_at, followed.state.models, followed.state.recent) == (None, {}, None)
        assert {path.name for path in home.folder.iterdir()} == {"serving"}


def test_a_registry_that_was_replaced_by_another_file_is_not_mistaken_for_the_old_one(
    several: MadeHome, caplog: pytest.LogCaptureFixture
) -> None:
    follower = polling(several)
    follower.poll()
    shutil.copy(several.folder / "mlflow.db", several.folder / "restored.db")
    (several.folder / "restored.db").rename(several.folder / "mlflow.db")
    with pytest.raises(SystemExit) as end:  # of the process, and its supervisor starts it again
        follower.poll()
    assert end.value.code == 0
    assert "another file now" in caplog.text


# ---------------------------------------------------------------- killed


def whole(folder: StateFolder) -> None:
    """Everything that the state names is there and is what it should be."""
    state = folder.read()
    assert state is not None
    for aliases in state.models.values():
        for version in aliases.values():
            files = folder.model_files(version.digest)
            assert sha256(files.contract) == version.digest
            assert sha256(files.golden) == version.golden_sha256
    assert state.recent is not None
    assert folder.table(state.recent.observations).num_rows
    assert folder.table(state.recent.stations).num_rows


def test_what_was_half_written_when_a_follower_was_killed_is_mended_by_the_next(
    several: MadeHome, caplog: pytest.LogCaptureFixture
) -> None:
    folder, state = StateFolder(several.folder), polling(several).poll()
    whole(folder)
    digest, recent = state.models[TARGET][PRODUCTION].digest, state.recent
    assert recent is not None
    leftovers = [folder.path / ".served.json", folder.path / "models" / f".{digest}" / "model"]
    leftovers += [folder.path / "lake" / ".observations-9.arrow"]
    for path in leftovers:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    model, rows = folder.path / "models" / digest / "model", folder.path / "lake" / recent.observations.file
    for path in (model, rows):  # as a disk that lost its last writes leaves them
        path.write_bytes(path.read_bytes()[:100])
    mended = polling(several).poll()
    whole(folder)
    assert mended.models[TARGET][PRODUCTION].version == 1
    assert not any(path.exists() for path in leftovers)
    (folder.path / "served.json").write_bytes(b'{"format": "weather-platform/served/1", "gen')
    polling(several).poll()
    whole(folder)
    assert "cannot be used" in caplog.text


def test_a_supervisor_that_is_stopped_ends_the_follower_for_good(tmp_path: Path) -> None:
    supervisor = FollowerSupervisor(tmp_path)
    supervisor.start()
    eventually(lambda: supervisor.pid is not None, "the start")
    pid = supervisor.pid
    assert pid is not None
    assert is_running(pid)
    supervisor.stop()
    assert not is_running(pid)
    time.sleep(1.5)
    assert supervisor.pid == pid


def test_a_follower_that_the_system_cannot_start_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, faults = subprocess.Popen, [OSError(errno.ENOMEM, "Cannot allocate memory")]

    def fail_once(*arguments: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return start(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", fail_once)
    supervisor = FollowerSupervisor(tmp_path)
    supervisor.start()
    try:
        eventually(lambda: supervisor.pid is not None, "the second start")
    finally:
        supervisor.stop()
    assert "the follower cannot be started: Cannot allocate memory; it is started again in 1 s" in caplog.text


def test_a_follower_with_settings_that_cannot_be_used_says_so_in_one_line(several: MadeHome) -> None:
    followed = start_follower(several, WEATHER_SERVING_POLL_SECONDS="0")
    assert followed.process.wait(30) == 1
    assert "WEATHER_SERVING_POLL_SECONDS" in followed.log
    assert len(followed.log.splitlines()) == 1


def test_a_state_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    home = MadeHome(tmp_path / "home", {"WEATHER_HOME": str(tmp_path / "home")})
    home.folder.mkdir()
    (home.folder / "serving").write_text("in the way")
    followed = start_follower(home)
    assert followed.process.wait(30) == 1
    assert "cannot be written" in followed.log
    assert len(followed.log.splitlines()) == 1


# ---------------------------------------------------------------- what is served


@pytest.fixture(scope="module")
def shared(three_versions: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Following]:
    """One process for the tests that each use an alias of their own. They come last: it looks about until the end."""
    with following(copied(three_versions, tmp_path_factory.mktemp("followed") / "home")) as followed:
        yield followed


def test_it_finds_the_production_versions_of_every_target_with_their_files(shared: Following) -> None:
    state = shared.state
    for target in (TARGET, OTHER):
        model = shared.home.registry.production(target)
        served = state.models[target][PRODUCTION]
        assert (served.version, served.digest, served.run_id) == (model.version, model.digest, model.run_id)
        assert served.tested_through == model.tested_through
        assert f"test_{'f1' if target == TARGET else 'r2'}" in served.metrics
        files = shared.folder.model_files(served.digest)
        assert (files.contract, files.model) == shared.home.registry.verified_files(model)
        assert files.golden == (model_folder(model) / GOLDEN_FILE).read_bytes()
    assert (state.registry_error, state.lake_error, state.refused) == (None, None, ())


def test_it_keeps_the_newest_days_and_the_days_that_they_look_back_on(shared: Following) -> None:
    recent = shared.state.recent
    assert recent is not None
    stored = shared.home.lake.read("observations")
    days = sorted(set(stored["day"].to_pylist()))
    assert (recent.first_day, recent.last_day) == (days[-120], days[-1])
    kept = shared.folder.table(recent.observations)
    expected = stored.filter(pc.field("day") >= recent.first_day - timedelta(days=30)).select(kept.column_names)
    assert sorted(map(str, kept.to_pylist())) == sorted(map(str, expected.to_pylist()))
    assert shared.folder.table(recent.stations).equals(shared.home.lake.read("stations"))


def test_a_new_alias_is_served_and_one_that_is_taken_away_is_not(shared: Following) -> None:
    point(shared.home, "trial", 2)
    eventually(lambda: shared.version("trial") == 2, "the new alias")
    mlflow_client(mlflow_tracking_uri(shared.home.settings)).delete_registered_model_alias(TARGET, "trial")
    eventually(lambda: shared.version("trial") is None, "the end of the alias")
    assert shared.version(PRODUCTION) == 1


def test_the_state_tells_how_fresh_it_is_and_counts_its_changes(shared: Following) -> None:
    before = shared.state
    eventually(lambda: shared.state.checked_at != before.checked_at, "another look")
    assert shared.state.generation == before.generation
    point(shared.home, "counted", 3)
    eventually(lambda: shared.state.generation > before.generation, "a new generation")


# ---------------------------------------------------------------- what is refused


def test_a_corrupted_artifact_is_refused_with_the_reason_and_served_once_it_is_restored(shared: Following) -> None:
    model = new_version(shared.home, seed=11)
    point(shared.home, "corrupted", 2)
    eventually(lambda: shared.version("corrupted") == 2, "the version before")
    kept = model_file(model).read_bytes()
    turn_a_bit(model_file(model))
    point(shared.home, "corrupted", model.version)
    eventually(lambda: shared.refused("corrupted") is not None, "the refusal")
    assert f"{model_file(model).name} has SHA-256" in str(shared.refused("corrupted"))
    assert shared.version("corrupted") == 2
    time.sleep(2.5)  # in which it is tried again
    assert shared.log.count("@corrupted: version") == 1, "told once"
    model_file(model).write_bytes(kept)
    eventually(lambda: shared.version("corrupted") == model.version, "the restored version")
    assert shared.refused("corrupted") is None


def test_a_version_that_says_something_else_than_on_record_is_refused(shared: Following) -> None:
    model = new_version(shared.home, seed=12)
    another_record(shared.home, model.version)
    point(shared.home, "untrue", model.version)
    eventually(lambda: shared.refused("untrue") is not None, "the refusal")
    assert "does not reproduce its recorded test predictions (1 of 64 rows" in str(shared.refused("untrue"))
    assert shared.version("untrue") is None


def test_a_version_of_other_features_is_refused(shared: Following) -> None:
    store = Store(mlflow_tracking_uri(shared.home.settings), f"sqlite:///{shared.home.folder}/weather.db")
    point(shared.home, "foreign", store.register().version)
    eventually(lambda: shared.refused("foreign") is not None, "the refusal")
    assert "was trained on features test-1" in str(shared.refused("foreign"))


def test_a_version_that_somebody_else_registered_is_refused(shared: Following) -> None:
    client = mlflow_client(mlflow_tracking_uri(shared.home.settings))
    source = shared.home.registry.version(TARGET, 1)
    made = client.create_model_version(TARGET, source=source.model_uri, run_id=source.run_id)
    point(shared.home, "stranger", int(made.version))
    eventually(lambda: shared.refused("stranger") is not None, "the refusal")
    assert "was not registered by this platform" in str(shared.refused("stranger"))
    client.delete_registered_model_alias(TARGET, "stranger")
    eventually(lambda: shared.refused("stranger") is None, "the end of the refusal")
