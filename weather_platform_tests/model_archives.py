"""A small real model of the features of today as an archive, and ways to spoil one."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from typing import Any

import numpy as np

from weather_platform.domain.algorithms import ALGORITHMS, BASELINES, BaselineRows
from weather_platform.domain.canary import GOLDEN_FILE, golden_bytes
from weather_platform.domain.features import FEATURE_VERSION, feature_names
from weather_platform.domain.matured import REFERENCES, References
from weather_platform.domain.model_archive import MANIFEST_FILE, REFERENCES_FILE, packed
from weather_platform.domain.splits import day_number, plan_split
from weather_platform.domain.stations import STATIONS
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import CONTRACT_FILE, TrainedModel, TrainingConfig, TrainingData, sha256, train

TARGET = "rain_tomorrow"
Entries = dict[str, bytes]


@cache
def trained() -> TrainedModel:
    """Six stations, two years and a half; rain follows the first feature."""
    random = np.random.default_rng(1)
    days = np.arange(day_number(date(2013, 1, 1)), day_number(date(2015, 6, 30)) + 1, dtype=np.int32)
    names, stations = tuple(feature_names()), 6
    values = random.normal(size=(len(days) * stations, len(names))).astype(np.float32)
    labels = (values[:, 0] + random.normal(scale=0.7, size=len(values)) > 0.8).astype(np.float32)
    data = TrainingData(
        station_ids=tuple(station.id for station in STATIONS[:stations]),
        station_index=np.tile(np.arange(stations, dtype=np.int32), len(days)),
        day=np.repeat(days, stations),
        values=values,
        labels=labels,
        feature_names=names,
        feature_version=FEATURE_VERSION,
    )
    split = plan_split(2015, date(2013, 1, 1), date(2015, 6, 30))
    config = TrainingConfig(threads=1, params={"n_estimators": 4}, resamples=20)
    return train(TARGETS[TARGET], ALGORITHMS["xgboost"], data, split, config)


def references() -> References:
    """Those of a few rows."""
    rows = BaselineRows.of(np.array([0, 1, 0], np.int32), np.array([1, 40, 80], np.int32), np.ones(3, np.float32))
    labels = np.array([0, 1, 1], np.float32)
    fitted = {name: BASELINES[name].fit(rows, labels, "classification") for name in REFERENCES}
    return References(("Albury", "Perth"), fitted)


def manifest() -> dict[str, Any]:
    """What an export says of that model."""
    model = trained()
    metrics = {f"test_{name}": value for name, value in model.metrics.items()}
    return {
        "target": TARGET,
        "year": 2015,
        "digest": model.digest,
        "source": "csv",
        "origin": {
            "version": 3, "mlflow_run_id": "abc", "registered_at": "2026-01-01T00:00:00+00:00", "package": "0.1",
            "lake_versions": {"features": 7},
        },
        "tags": {"code.package": "0.1", "library.numpy": np.__version__},
        "params": {**{name: str(value) for name, value in model.params.items()}, "seed": "1", "threads": "1"},
        "metrics": metrics,
        "decision": {"decision": "DEPLOY", "reasons": ["there is no champion"]},
        "stations": [
            {
                "id": station.id, "state": station.state, "latitude_deg": station.latitude_deg,
                "longitude_deg": station.longitude_deg, "elevation_m": station.elevation_m,
                "timezone": station.timezone,
            }
            for station in STATIONS
        ],
    }  # fmt: skip


def files() -> Entries:
    """Its files."""
    model = trained()
    return {
        CONTRACT_FILE: model.contract_bytes,
        model.contract.model_file: model.model_bytes,
        GOLDEN_FILE: golden_bytes(model.golden, model.contract.feature_names),
        REFERENCES_FILE: references().to_bytes(),
    }


@cache
def archive() -> bytes:
    """The model as an export writes it."""
    return packed(manifest(), files())


def entries(data: bytes) -> Entries:
    """What is in an archive, by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(content: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """These entries as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, data in content.items():
            opened.writestr(name, data)
    return buffer.getvalue()


def forged(spoil: Callable[[Entries], None]) -> bytes:
    """The archive after `spoil` changed its files, with every digest in the manifest made to fit again."""
    content = entries(archive())
    spoil(content)
    told = json.loads(content[MANIFEST_FILE])
    told["sha256"] = {name: sha256(data) for name, data in content.items() if name != MANIFEST_FILE}
    content[MANIFEST_FILE] = json.dumps(told).encode()
    return zipped(content)


def contract_with(**values: Any) -> Callable[[Entries], None]:
    """Other values in the contract, and its digest in the manifest."""

    def spoil(content: Entries) -> None:
        contract = json.loads(content[CONTRACT_FILE]) | values
        content[CONTRACT_FILE] = json.dumps(contract).encode()
        manifest_with(digest=sha256(content[CONTRACT_FILE]))(content)

    return spoil


def manifest_with(**values: Any) -> Callable[[Entries], None]:
    """Other values in the manifest."""

    def spoil(content: Entries) -> None:
        content[MANIFEST_FILE] = json.dumps(json.loads(content[MANIFEST_FILE]) | values).encode()

    return spoil
