"""Small real models, trained in a fraction of a second, for tests of what happens to models."""

from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np

from weather_platform.database import Database
from weather_platform.domain.algorithms import ALGORITHMS, Params
from weather_platform.domain.splits import day_number, plan_split
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import (
    CONTRACT_FILE,
    Contract,
    TrainedModel,
    TrainingConfig,
    TrainingData,
    train,
)
from weather_platform.io_managers.mlflow_models import Candidate, Origin, log_candidate
from weather_platform.resources.mlflow_client import ensure_experiment, mlflow_client
from weather_platform.resources.mlflow_tracking import MlflowRun
from weather_platform.resources.registry import ModelReference, ModelRegistry, RegisteredModel

TARGET = "rain_tomorrow"
FEATURE_NAMES = ("rainfall_mm", "humidity_3pm_pct", "pressure_3pm_hpa")


@cache
def small_data() -> TrainingData:
    """Six stations over ten years, with rain that follows humidity."""
    random = np.random.default_rng(1)
    days = np.arange(day_number(date(2008, 1, 1)), day_number(date(2017, 6, 30)) + 1, dtype=np.int32)
    stations = 6
    values = random.normal(size=(len(days) * stations, len(FEATURE_NAMES))).astype(np.float32)
    labels = (values[:, 1] + random.normal(scale=0.7, size=len(values)) > 0.8).astype(np.float32)
    values[::17, 2] = np.nan
    return TrainingData(
        station_ids=tuple(f"station {number}" for number in range(stations)),
        station_index=np.tile(np.arange(stations, dtype=np.int32), len(days)),
        day=np.repeat(days, stations),
        values=values,
        labels=labels,
        feature_names=FEATURE_NAMES,
        feature_version="test-1",
    )


FEW_TREES: dict[str, Params] = {
    "xgboost": {"n_estimators": 8},
    "random_forest": {"n_estimators": 4},
    "hist_gradient_boosting": {"max_iterations": 8},
}


@cache
def small_model(year: int = 2015, seed: int = 1, algorithm: str = "xgboost") -> TrainedModel:
    """A model of the year; another seed gives another digest."""
    data = small_data()
    split = plan_split(year, date(2008, 1, 1), date(2017, 6, 29))
    config = TrainingConfig(seed=seed, threads=1, params=FEW_TREES.get(algorithm, {}), resamples=20)
    return train(TARGETS[TARGET], ALGORITHMS[algorithm], data, split, config)


@cache
def candidate(year: int = 2015, seed: int = 1, algorithm: str = "xgboost") -> Candidate:
    """The model as its training asset gives it, whose plots are drawn once."""
    versions = {"features": 7, "rain_tomorrow__split": 0}
    return Candidate(small_model(year, seed, algorithm), versions, small_data().values[:5], 300.0, "synthetic")


@dataclass(frozen=True)
class Store:
    """An MLflow address with an application database, as the platform's resources see them."""

    tracking_uri: str
    database_url: str

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.tracking_uri, Database(self.database_url))

    @property
    def database(self) -> Database:
        return Database(self.database_url)

    def log(self, year: int = 2015, seed: int = 1, algorithm: str = "xgboost") -> ModelReference:
        """Log a candidate the way its asset would, without Dagster."""
        return self.log_any(candidate(year, seed, algorithm))

    def log_any(self, given: Candidate) -> ModelReference:
        """Log this candidate."""
        client = mlflow_client(self.tracking_uri)
        experiment_id = ensure_experiment(client, self.tracking_uri, "weather")
        parent = client.create_run(experiment_id, run_name="parent").info.run_id
        run = MlflowRun(client, self.tracking_uri, experiment_id, parent, None)
        asset_key, _, partition = given.name.partition(" ")
        origin = Origin(dagster_run_id="d", asset_key=asset_key, partition=partition, code_version="1")
        run_id = log_candidate(run, given, origin)["mlflow_run_id"]
        return self.registry.reference(run_id)

    def register(self, year: int = 2015, seed: int = 1) -> RegisteredModel:
        """Log and register."""
        return self.registry.register(self.log(year, seed))


def model_folder(model: RegisteredModel | ModelReference) -> Path:
    """Where the files of a model of an SQLite store lie."""
    return Path(model.model_uri.removeprefix("file://"))


def model_file(model: RegisteredModel | ModelReference) -> Path:
    """The model file among them, whatever its algorithm calls it."""
    folder = model_folder(model)
    return folder / Contract.from_bytes((folder / CONTRACT_FILE).read_bytes()).model_file
