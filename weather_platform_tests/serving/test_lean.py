"""No process of the endpoint has pandas, and scikit-learn only for models that need it; forecasts are the same."""

import gc
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from weather_platform.domain.targets import Task
from weather_platform.serving.lean import starting
from weather_platform.settings import PROJECT_DIR
from weather_platform_tests.domain.algorithms.recipes import fitted, rows
from weather_platform_tests.serving.servers import Server
from weather_platform_tests.small_models import small_data, small_model

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from weather_platform.serving.lean import be_lean

folder, lean = Path(sys.argv[1]), sys.argv[2] == "lean"
if lean:
    be_lean()
from weather_platform.domain.algorithms import ALGORITHMS

model = ALGORITHMS["xgboost"].load((folder / "model.ubj").read_bytes(), "classification", 1)
rows = np.load(folder / "rows.npy")
sys.stdout.buffer.write(model.predict_raw(rows).tobytes() + model.predict_raw(rows[:1]).tobytes())
print([name for name in ("pandas", "sklearn") if name in sys.modules], file=sys.stderr)
import pyarrow
pyarrow.chunked_array([[1.0, None]]).to_numpy()
import sklearn.linear_model
print("pandas" in sys.modules, file=sys.stderr)
"""

OF_SCIKIT_LEARN = """
import sys
from pathlib import Path
import numpy as np
from weather_platform.serving.lean import be_lean

be_lean()
from weather_platform.domain.algorithms import ALGORITHMS

folder, name, task = Path(sys.argv[1]), *sys.argv[2:]
model = ALGORITHMS[name].load((folder / "model.skops").read_bytes(), task, 1)
sys.stdout.buffer.write(model.predict_raw(np.load(folder / "rows.npy")).tobytes())
print([name for name in ("sklearn", "skops", "scipy.stats") if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    made = tmp_path_factory.mktemp("model")
    (made / "model.ubj").write_bytes(small_model().model_bytes)
    np.save(made / "rows.npy", small_data().values[:500])
    return made


def run(folder: Path, how: str) -> tuple[bytes, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), how], cwd=PROJECT_DIR, capture_output=True, check=True
    )
    return done.stdout, done.stderr.decode().strip()


def test_xgboost_alone_forecasts_the_same_bits_and_brings_nobody_along(folder: Path) -> None:
    (lean, brought), (usual, brought_usually) = run(folder, "lean"), run(folder, "usual")
    assert lean == usual
    assert len(lean) == 8 * 501
    assert brought == "[]\nFalse"
    assert brought_usually == "['pandas', 'sklearn']\nTrue", "otherwise there is nothing to be saved any more"


@pytest.mark.parametrize(
    ("name", "task", "brings"),
    [
        ("logistic_regression", "classification", "[]"),
        ("linear_regression", "regression", "[]"),
        ("decision_tree", "regression", "['sklearn', 'skops', 'scipy.stats']"),
    ],
)
def test_a_linear_model_forecasts_without_scikit_learn_and_a_tree_does_not(
    tmp_path: Path, name: str, task: Task, brings: str
) -> None:
    import numpy as np

    model, values = fitted(name, task), rows(task).values[:500]
    (tmp_path / "model.skops").write_bytes(model.to_bytes())
    np.save(tmp_path / "rows.npy", values)
    done = subprocess.run(
        [sys.executable, "-c", OF_SCIKIT_LEARN, str(tmp_path), name, task],
        cwd=PROJECT_DIR, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == model.predict_raw(values).tobytes()
    assert np.isnan(values).any()
    assert done.stderr.decode().strip() == brings


def test_the_processes_of_the_service_hold_what_they_need_and_no_more(server: Server) -> None:
    [worker] = server.workers()
    assert _mapped(worker) & LARGE == {"scipy", "xgboost"}
    assert _mapped(server.follower()) & LARGE == {"scipy", "xgboost"}
    assert _mapped(server.processes()[0]) & LARGE == set(), "the workers start after what it imports"


def test_it_listens_on_loopback_alone_and_without_dagster_mlflow_or_access_log(server: Server) -> None:
    asked = {"target": "rain_tomorrow", "station": "Canberra", "day": "2015-06-30"}
    with server.client() as client:
        assert client.post("/v1/predict", json=asked).status_code == 200
    listening = {
        connection.laddr.ip
        for process in server.processes()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == server.port
    }
    assert listening == {"127.0.0.1"}
    [worker] = server.workers()
    mapped = {Path(each.path).name for each in worker.memory_maps()}
    assert not [name for name in mapped if "duckdb" in name or "_grpc" in name]
    assert "POST /v1/predict" not in server.text


LARGE = {"pandas", "scipy", "xgboost"}


def _mapped(process: psutil.Process) -> set[str]:
    """Folders of the libraries that a process has loaded."""
    return {part for found in process.memory_maps() for part in Path(found.path).parts}


def test_the_collector_rests_while_a_process_starts_and_then_leaves_alone_what_is_there() -> None:
    frozen = gc.get_freeze_count()
    try:
        with starting():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
