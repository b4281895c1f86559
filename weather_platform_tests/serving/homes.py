"""Homes with several registered versions, and real follower processes on them."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import psutil

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.feature_table import training_columns, training_data
from weather_platform.domain.splits import plan_split
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import TrainedModel, TrainingConfig, train
from weather_platform.io_managers.mlflow_models import Candidate, Origin, log_candidate
from weather_platform.resources.mlflow_client import ensure_experiment, mlflow_client
from weather_platform.resources.mlflow_tracking import MlflowRun
from weather_platform.resources.registry import Audit, ModelRegistry, RegisteredModel
from weather_platform.serving.state import State, StateFolder
from weather_platform.settings import PROJECT_DIR
from weather_platform_tests.e2e.homes import MadeHome, clean_environment
from weather_platform_tests.small_models import TARGET

AUDIT = Audit(decision_id=None, reason="a test", dagster_run_id="run-1", changed_at=datetime(2026, 1, 1, tzinfo=UTC))
QUICK_POLL: Mapping[str, str] = {"WEATHER_SERVING_POLL_SECONDS": "0.5"}
"""A look at the registry is a tenth of a second of processor time."""


@cache
def trained(features: Path, seed: int) -> TrainedModel:
    """A small real model on the stored features of a home; another seed gives another digest."""
    home = MadeHome(features, {})
    target = TARGETS[TARGET]
    table = home.lake.read("features", columns=training_columns(target))
    data = training_data(table.to_batches(), table.num_rows, target)
    config = TrainingConfig(seed=seed, threads=1, params={"n_estimators": 8}, resamples=20)
    return train(target, ALGORITHMS["xgboost"], data, plan_split(2015, date(2012, 1, 1), date(2015, 6, 29)), config)


def register(registry: ModelRegistry, tracking_uri: str, model: TrainedModel) -> RegisteredModel:
    """Log a model as its asset would, and register it."""
    client = mlflow_client(tracking_uri)
    experiment_id = ensure_experiment(client, tracking_uri, "serving tests")
    parent = client.create_run(experiment_id, run_name="parent").info.run_id
    run = MlflowRun(client, tracking_uri, experiment_id, parent, None)
    origin = Origin(dagster_run_id="d", asset_key=f"{TARGET}/xgboost", partition="2015", code_version="1")
    candidate = Candidate(model, {"features": 1, f"{TARGET}__split": 1}, model.golden.values[:5], 300.0, "synthetic")
    return registry.register(registry.reference(str(log_candidate(run, candidate, origin)["mlflow_run_id"])))


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20) -> float:
    """Wait until something is so; seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


@dataclass
class Following:
    """A follower process and what it leaves."""

    home: MadeHome
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def folder(self) -> StateFolder:
        return StateFolder(self.home.folder)

    @property
    def state(self) -> State:
        state = self.folder.read()
        assert state is not None
        return state

    def version(self, alias: str, target: str = TARGET) -> int | None:
        """The version that the state names for an alias."""
        found = self.state.models.get(target, {}).get(alias)
        return found.version if found else None

    def refused(self, alias: str) -> str | None:
        """Why the version of an alias is refused."""
        return next((each.reason for each in self.state.refused if each.alias == alias), None)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def start_follower(home: MadeHome, *arguments: str, **env: str) -> Following:
    """Start the real process; its log goes on in the same file when it is started again."""
    log_file = home.folder.parent / f"{home.folder.name}-follower.log"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "weather_platform.serving.follow", *arguments],
            cwd=PROJECT_DIR, env=clean_environment() | dict(home.env) | dict(QUICK_POLL) | env, stderr=log, stdout=log,
        )  # fmt: skip
    return Following(home, process, log_file)


@contextmanager
def following(home: MadeHome, *arguments: str, **env: str) -> Iterator[Following]:
    """A follower that has looked at registry and lake once; killed at the end."""
    before = StateFolder(home.folder).signature()
    followed = start_follower(home, *arguments, **env)
    try:
        eventually(lambda: alive(followed) and followed.folder.signature() != before, "the first state", 60)
        yield followed
    finally:
        if followed.process.poll() is None:
            followed.kill()


def alive(followed: Following) -> bool:
    """Whether the process runs; what it said when it does not."""
    assert followed.process.poll() is None, followed.log
    return True


def is_running(pid: int) -> bool:
    """Whether there is a process of this number that has not ended."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
