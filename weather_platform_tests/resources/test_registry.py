"""The model registry on a real MLflow: what it registers, loads and moves; outages and crashes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weather_platform.database import Database
from weather_platform.errors import DigestMismatchError, PromotionConflictError, RegistryError
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import PREVIOUS, PRODUCTION, Audit, ModelRegistry
from weather_platform_tests.processes import exit_code, race
from weather_platform_tests.small_models import TARGET, Store, model_folder, small_data, small_model

AUDIT = Audit(
    decision_id=None,
    reason="DEPLOY: better",
    dagster_run_id="run-1",
    changed_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def recorded(store: Store, alias: str = PRODUCTION) -> list[tuple[int | None, int | None]]:
    return [(change.from_version, change.to_version) for change in store.database.alias_changes(TARGET, alias)]


# ---------------------------------------------------------------- registering and loading


def test_a_registered_model_forecasts_the_same_bits_as_the_one_that_was_trained(store: Store) -> None:
    version = store.register()
    predictor = store.registry.load(version)
    values = small_data().values
    trained = small_model().predictor.predict(values)
    assert np.array_equal(predictor.predict(values).value, trained.value)
    assert predictor.digest == version.digest == small_model().digest
    assert version.tuned_through.isoformat() == small_model().contract.tuned_through


def test_registering_the_same_digest_again_gives_the_version_that_is_there(store: Store) -> None:
    first, again, other = store.register(), store.register(), store.register(seed=2)
    assert (first.version, again.version, other.version) == (1, 1, 2)
    assert [version.version for version in store.registry.versions(TARGET)] == [1, 2]
    assert store.registry.alias(TARGET, PRODUCTION) is None


def test_an_empty_registry_has_no_versions_and_no_champion(store: Store) -> None:
    assert store.registry.versions(TARGET) == []
    assert store.registry.alias(TARGET, PRODUCTION) is None
    with pytest.raises(RegistryError, match=f"{TARGET} version 3"):
        store.registry.version(TARGET, 3)


def test_a_version_that_somebody_else_registered_is_refused_by_name(store: Store) -> None:
    client = mlflow_client(store.tracking_uri)
    client.create_registered_model(TARGET)
    client.create_model_version(TARGET, source=store.log().model_uri)
    with pytest.raises(RegistryError, match="version 1 has no sha256 tag"):
        store.registry.versions(TARGET)


@pytest.mark.parametrize("file", ["model.ubj", "contract.json"])
def test_a_changed_file_is_never_loaded_registered_or_promoted(store: Store, file: str) -> None:
    reference = store.log()
    version = store.registry.register(reference)
    path = model_folder(version) / file
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    for use in (
        lambda: store.registry.load(version),
        lambda: store.registry.register(reference),
        lambda: store.registry.move_production(TARGET, 1, None, AUDIT),
    ):
        with pytest.raises(DigestMismatchError, match=rf"{TARGET}.*{file} has SHA-256 [0-9a-f]{{12}}.*restore"):
            use()
    assert store.registry.alias(TARGET, PRODUCTION) is None
    assert recorded(store) == []


def test_a_missing_file_is_an_error_that_names_the_model(store: Store) -> None:
    version = store.register()
    (model_folder(version) / "model.ubj").unlink()
    with pytest.raises(RegistryError, match=rf"downloading model\.ubj of {TARGET} version 1"):
        store.registry.load(version)


def test_mlflow_itself_can_load_what_was_registered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.xgboost

    store.register()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri)
    mlflow.set_tracking_uri(store.tracking_uri)
    booster = mlflow.xgboost.load_model(f"models:/{TARGET}/1")
    assert bytes(booster.save_raw("ubj")) == small_model().model_bytes


# ---------------------------------------------------------------- the compare-and-swap


def test_the_first_champion_has_no_predecessor_and_the_second_keeps_it_as_previous(store: Store) -> None:
    store.register()
    store.register(seed=2)
    assert store.registry.move_production(TARGET, 1, None, AUDIT).moved
    assert store.registry.aliases(TARGET) == {PRODUCTION: 1}
    move = store.registry.move_production(TARGET, 2, 1, AUDIT)
    assert (move.moved, move.from_version, move.production.version) == (True, 1, 2)
    assert store.registry.aliases(TARGET) == {PRODUCTION: 2, PREVIOUS: 1}
    assert recorded(store) == [(None, 1), (1, 2)]
    assert recorded(store, PREVIOUS) == [(None, 1)]


def test_a_decision_against_another_champion_moves_nothing(store: Store) -> None:
    for seed in (1, 2, 3):
        store.register(seed=seed)
    store.registry.move_production(TARGET, 1, None, AUDIT)
    store.registry.move_production(TARGET, 2, 1, AUDIT)
    for expected in (None, 1, 3):
        with pytest.raises(PromotionConflictError, match="Production is on version 2"):
            store.registry.move_production(TARGET, 3, expected, AUDIT)
    assert store.registry.aliases(TARGET) == {PRODUCTION: 2, PREVIOUS: 1}
    assert recorded(store) == [(None, 1), (1, 2)]


def test_applying_the_same_decision_twice_changes_nothing_the_second_time(store: Store) -> None:
    store.register()
    store.registry.move_production(TARGET, 1, None, AUDIT)
    assert not store.registry.move_production(TARGET, 1, None, AUDIT).moved
    assert recorded(store) == [(None, 1)]


def test_a_version_that_does_not_exist_is_not_promoted(store: Store) -> None:
    store.register()
    with pytest.raises(RegistryError):
        store.registry.move_production(TARGET, 9, None, AUDIT)
    assert store.registry.aliases(TARGET) == {}


def test_a_move_made_by_hand_is_recorded_as_found(store: Store) -> None:
    for seed in (1, 2, 3):
        store.register(seed=seed)
    store.registry.move_production(TARGET, 1, None, AUDIT)
    mlflow_client(store.tracking_uri).set_registered_model_alias(TARGET, PRODUCTION, "2")
    with pytest.raises(PromotionConflictError):
        store.registry.move_production(TARGET, 3, 1, AUDIT)
    assert recorded(store) == [(None, 1), (1, 2)]
    assert "by hand" in store.database.alias_changes(TARGET, PRODUCTION)[-1].reason
    store.registry.move_production(TARGET, 3, 2, AUDIT)
    assert recorded(store) == [(None, 1), (1, 2), (2, 3)]


class Dying(ModelRegistry):
    """A registry whose process is killed when it sets an alias."""

    def __init__(self, store: Store, alias: str, moment: str) -> None:
        super().__init__(store.tracking_uri, store.database)
        self.last, self.moment = alias, moment

    def _set_alias(self, ledger: Any, alias: str, move: Any, audit: Audit) -> None:
        if (alias, "before") == (self.last, self.moment):
            os.kill(os.getpid(), signal.SIGKILL)
        super()._set_alias(ledger, alias, move, audit)
        if (alias, "after") == (self.last, self.moment):
            os.kill(os.getpid(), signal.SIGKILL)


def promote_and_die(store: Store, alias: str, moment: str) -> None:
    Dying(store, alias, moment).move_production(TARGET, 2, 1, AUDIT)


@pytest.mark.parametrize(
    ("alias", "moment", "left"),
    [
        (PRODUCTION, "before", {PRODUCTION: 1, PREVIOUS: 1}),
        (PRODUCTION, "after", {PRODUCTION: 2, PREVIOUS: 1}),
    ],
)
def test_a_promotion_killed_between_its_steps_is_completed_by_the_next_one(
    store: Store, alias: str, moment: str, left: dict[str, int]
) -> None:
    store.register()
    store.register(seed=2)
    store.registry.move_production(TARGET, 1, None, AUDIT)
    assert exit_code(promote_and_die, store, alias, moment) == -signal.SIGKILL
    assert store.registry.aliases(TARGET) == left
    store.registry.move_production(TARGET, 2, 1, AUDIT)
    assert store.registry.aliases(TARGET) == {PRODUCTION: 2, PREVIOUS: 1}
    assert recorded(store) == [(None, 1), (1, 2)]
    assert recorded(store, PREVIOUS) == [(None, 1)]
    assert store.database.alias_changes(TARGET, PRODUCTION)[-1].reason == AUDIT.reason


def rival(start: Barrier, store: Store, version: int) -> str:
    registry = store.registry
    registry.aliases(TARGET)
    start.wait(60)
    try:
        registry.move_production(TARGET, version, 1, replace(AUDIT, reason=str(version)))
    except PromotionConflictError:
        return "conflict"
    return "moved"


def test_of_several_processes_that_promote_at_once_one_wins_and_each_move_is_recorded(store: Store) -> None:
    for seed in (1, 2, 3, 4):
        store.register(seed=seed)
    store.registry.move_production(TARGET, 1, None, AUDIT)
    outcomes = race(*((rival, store, version) for version in (2, 3, 4)))
    assert sorted(outcomes) == ["conflict", "conflict", "moved"]
    winner = outcomes.index("moved") + 2
    assert store.registry.aliases(TARGET) == {PRODUCTION: winner, PREVIOUS: 1}
    assert recorded(store) == [(None, 1), (1, winner)]


# ---------------------------------------------------------------- a server, and its outage


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    uri: str


@pytest.fixture
def server(empty_mlflow: Path, tmp_path: Path) -> Iterator[Server]:
    """A real MLflow server with proxied artifacts on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--workers",
        "1",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        f"{tmp_path}/files",
    ]
    (tmp_path / "server.db").write_bytes(empty_mlflow.read_bytes())
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, (tmp_path / "server.log").read_text()
        time.sleep(0.2)
    yield Server(process, f"http://127.0.0.1:{port}")
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_when_the_server_goes_down_nothing_moves_and_the_error_is_quick_and_clear(
    server: Server, tmp_path: Path
) -> None:
    store = Store(server.uri, f"sqlite:///{tmp_path}/weather.db")
    store.database.migrate()
    first, second = store.register(), store.register(seed=2)
    store.registry.move_production(TARGET, first.version, None, AUDIT)
    champion = store.registry.alias(TARGET, PRODUCTION)
    assert champion is not None
    assert store.registry.load(champion).digest == first.digest

    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    registry = store.registry
    for use in (
        lambda: registry.alias(TARGET, PRODUCTION),
        lambda: registry.load(champion),
        lambda: registry.move_production(TARGET, second.version, first.version, AUDIT),
    ):
        started = time.monotonic()
        with pytest.raises(RegistryError) as raised:
            use()
        assert time.monotonic() - started < 10
        message = str(raised.value)
        assert server.uri in message
        assert "WEATHER_MLFLOW_TRACKING_URI" in message
        assert "\n" not in message
    assert recorded(store) == [(None, first.version)]
    backend = Store(f"sqlite:///{tmp_path}/server.db", store.database_url)
    assert backend.registry.aliases(TARGET) == {PRODUCTION: first.version}


def test_an_address_that_answers_404_is_not_taken_for_an_empty_registry(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    web = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    Thread(target=web.serve_forever, daemon=True).start()
    uri = f"http://user:s3cret@127.0.0.1:{web.server_port}"
    registry = ModelRegistry(uri, Database(f"sqlite:///{tmp_path}/weather.db"))
    try:
        with pytest.raises(RegistryError) as raised:
            registry.alias(TARGET, PRODUCTION)
    finally:
        web.shutdown()
        web.server_close()
    assert "s3cret" not in str(raised.value)


def test_a_reference_to_an_unfinished_run_is_refused(store: Store) -> None:
    client = mlflow_client(store.tracking_uri)
    run = client.create_run("0")
    with pytest.raises(RegistryError, match="no finished model"):
        store.registry.reference(run.info.run_id)


def test_a_reference_to_a_run_that_failed_after_its_model_was_logged_is_refused(store: Store) -> None:
    reference = store.log()
    mlflow_client(store.tracking_uri).set_terminated(reference.run_id, "FAILED")
    with pytest.raises(RegistryError, match=r"holds no finished model \(status FAILED\); train it again"):
        store.registry.reference(reference.run_id)


def test_a_version_that_lacks_what_its_run_should_have_said_is_named(store: Store) -> None:
    version = store.register()
    assert version.lake_version("features") == 7
    bare = replace(version, tags={})
    with pytest.raises(RegistryError, match="version 1 does not say which version of 'features' trained it"):
        bare.lake_version("features")
    with pytest.raises(RegistryError, match="version 1 has no golden_sha256 tag to verify its predictions by"):
        store.registry.verified_golden(bare)


def test_a_reference_whose_digest_was_changed_is_not_loaded(store: Store) -> None:
    reference = store.log()
    with pytest.raises(DigestMismatchError):
        store.registry.load(replace(reference, digest="0" * 64))
