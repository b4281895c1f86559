"""What the serving benchmarks share: a home with a Production model, its user, requests from stored days, one load.

What belongs here: preparing what is measured. What does not: servers (`servers`), the generator itself (`load`).
"""

import json
import math
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from common import CHECKOUT, REAL_TABLE
from numpy.typing import NDArray

from serving.load import Plan, Result
from serving.servers import BIN
from weather_platform.client import ARROW, WeatherClient
from weather_platform.database import Database, User
from weather_platform.domain.feature_table import OBSERVED, training_columns, training_data
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.domain.training import Predictor
from weather_platform.lake import Lake
from weather_platform.resources.registry import ModelRegistry, RegisteredModel
from weather_platform.serving.users import Passwords
from weather_platform.settings import Settings, load_settings
from weather_platform.stores import application_database, open_lake

USER = "benchmark"
JSON_TYPE = {"Content-Type": "application/json"}
PARQUET = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Bench:
    """A trained home, and what is asked of its Production model."""

    home: Path
    target: ForecastTarget
    password: str

    @cached_property
    def settings(self) -> Settings:
        return load_settings(home=self.home)

    @cached_property
    def registry(self) -> ModelRegistry:
        return ModelRegistry.from_settings(self.settings)

    @cached_property
    def lake(self) -> Lake:
        return open_lake(self.settings)

    @cached_property
    def model(self) -> RegisteredModel:
        return self.registry.production(self.target.name)

    @cached_property
    def predictor(self) -> Predictor:
        return self.registry.ready(self.model)

    @cached_property
    def database(self) -> Database:
        return application_database(self.settings)

    @property
    def model_folder(self) -> Path:
        """The folder of the Production model, as MLflow keeps it beside an SQLite store."""
        return Path(self.model.model_uri.removeprefix("file://"))

    @property
    def service_env(self) -> dict[str, str]:
        """What the service is started with: a secret, and no limit of requests."""
        return {"WEATHER_JWT_SECRET": secrets.token_hex(32), "WEATHER_RATE_LIMIT_PER_SECOND": "1000000"}

    def client(self, port: int) -> WeatherClient:
        """A client of a service that runs on this home."""
        return WeatherClient(f"http://127.0.0.1:{port}", USER, self.password, timeout_seconds=300)

    def observations(self, rows: int) -> pa.Table:
        """The newest observed station-days, the columns that a batch takes, in order of days."""
        years = sorted(self.lake.row_counts("observations", "year"))[-2:]
        stored = self.lake.snapshot("observations").read(keys=years, columns=[*OBSERVED])
        table = stored.sort_by([("day", "ascending"), ("station", "ascending")])
        return table.slice(max(0, table.num_rows - rows))

    def features(self, observations: pa.Table) -> NDArray[np.float32]:
        """The stored features of the same station-days, in the same order."""
        days = observations["day"]
        first, last = pc.min(days).as_py(), pc.max(days).as_py()
        years = [str(year) for year in range(first.year, last.year + 1)]
        asked = (pc.field("day") >= first) & (pc.field("day") <= last)
        stored = self.lake.snapshot("features").read(keys=years, columns=[*training_columns(self.target)], where=asked)
        stored = stored.sort_by([("day", "ascending"), ("station", "ascending")])
        wanted = set(zip(observations["day"].to_pylist(), observations["station"].to_pylist(), strict=True))
        pairs = zip(stored["day"].to_pylist(), stored["station"].to_pylist(), strict=True)
        kept = stored.filter(pa.array([pair in wanted for pair in pairs]))
        assert kept["station"].to_pylist() == observations["station"].to_pylist()
        return training_data(kept.to_batches(), kept.num_rows, self.target).values


def prepared(home: Path | None, target: str, scratch: Path) -> Bench:
    """The given home, or one made by `weather run` on the real table; with a user of its own for this benchmark."""
    if home is None:
        if not REAL_TABLE.exists():
            raise SystemExit(f"{REAL_TABLE} is not there; give a trained home with --home")
        home = scratch / "home"
        env = os.environ | {"WEATHER_HOME": str(home)}
        what = ["--source", "csv", "--path", str(REAL_TABLE), "--target", target]
        subprocess.run([str(BIN / "weather"), "run", *what], cwd=CHECKOUT, env=env, check=True)
    bench = Bench(home.absolute(), TARGETS[target], secrets.token_urlsafe(24))
    _make_user(bench)
    return bench


def _make_user(bench: Bench) -> None:
    bench.database.migrate()
    user = User(
        name=USER,
        password_hash=Passwords().hash(bench.password),
        scopes=("predict", "admin"),
        created_at=datetime.now(UTC),
    )
    if not bench.database.add_user(user):
        bench.database.set_user_password(USER, user.password_hash)


def one_by_one(bench: Bench, rows: pa.Table, token: str) -> list[dict[str, Any]]:
    """A request to /v1/predict for each row: what its station reported, and nothing else."""
    headers = JSON_TYPE | {"Authorization": f"Bearer {token}"}
    requests = []
    for row in _days_as_text(rows).to_pylist():
        body = {"target": bench.target.name, "station": row.pop("station"), "day": row.pop("day"), "observation": row}
        requests.append({"path": "/v1/predict", "headers": headers, "body": json.dumps(body)})
    return requests


def ready_features(values: NDArray[np.float32]) -> list[dict[str, Any]]:
    """The requests to the bare route."""
    return [{"path": "/predict", "headers": JSON_TYPE, "body": json.dumps({"features": row})} for row in _rows(values)]


def invocations(bench: Bench, values: NDArray[np.float32]) -> list[dict[str, Any]]:
    """The requests to `mlflow models serve`."""
    columns = list(bench.predictor.contract.feature_names)
    bodies = [{"dataframe_split": {"columns": columns, "data": [row]}} for row in _rows(values)]
    return [{"path": "/invocations", "headers": JSON_TYPE, "body": json.dumps(body)} for body in bodies]


def batch_body(kind: str, target: str, rows: pa.Table) -> tuple[bytes, dict[str, str]]:
    """The body of one batch as `JSON`, `Arrow` or `Parquet`, and its headers; the answer has the same kind."""
    import pyarrow.ipc
    import pyarrow.parquet

    if kind == "JSON":
        body = {"target": target, "observations": _days_as_text(rows).to_pylist()}
        return json.dumps(body).encode(), JSON_TYPE
    sink = pa.BufferOutputStream()
    if kind == "Arrow":
        with pyarrow.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
    else:
        pyarrow.parquet.write_table(rows, sink)
    media = ARROW if kind == "Arrow" else PARQUET
    return sink.getvalue().to_pybytes(), {"Content-Type": media, "Accept": media}


def load(plan: Plan) -> Result:
    """Run the generator in a process of its own."""
    with start_load(plan) as process:
        out, _ = process.communicate()
    if process.returncode:
        raise SystemExit("the load generator failed; its last lines above say why")
    return Result(**json.loads(out))


def start_load(plan: Plan) -> subprocess.Popen[bytes]:
    """Start the generator and leave it running; its result comes on its standard output."""
    generator = Path(__file__).with_name("load.py")
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(asdict(plan), file)
    return subprocess.Popen([sys.executable, str(generator), file.name], stdout=subprocess.PIPE)


def verified(bench: Bench, client: WeatherClient, rows: pa.Table, expected: Mapping[int, float]) -> int:
    """How many of these station-days the service answers otherwise than `expected`, in any bit."""
    unlike = 0
    for at, row in enumerate(rows.to_pylist()):
        station, day = row.pop("station"), row.pop("day")
        answer = client.predict(bench.target.name, station, day, row)
        said = answer.probability if answer.probability is not None else answer.value
        unlike += int(said != expected[at])
    return unlike


def _rows(values: NDArray[np.float32]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in values.tolist()]


def _days_as_text(rows: pa.Table) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("day"), "day", rows["day"].cast(pa.string()))
