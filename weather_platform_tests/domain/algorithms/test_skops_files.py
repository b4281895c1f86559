"""Files of scikit-learn models: the same model is the same bytes, and nothing but a model is loaded."""

import io
import json
import os
import zipfile
from functools import partial
from typing import Any

import numpy as np
import pytest

from weather_platform.domain.algorithms import ALGORITHMS, skops_files
from weather_platform.domain.targets import Task
from weather_platform.errors import RegistryError
from weather_platform_tests.domain.algorithms.recipes import SKLEARN, estimator_of, fitted

every = pytest.mark.parametrize(("name", "task"), SKLEARN)
RAN: list[str] = []


class Custom:
    """A type that no algorithm knows."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        RAN.append("state")


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


@every
def test_a_file_says_nothing_of_the_process_and_the_time_that_wrote_it(name: str, task: Task) -> None:
    data = fitted(name, task).to_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entries = file.infolist()
        schema = json.loads(file.read("schema.json"))
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert [entry.filename for entry in entries] == ["schema.json", *(f"{i}.npy" for i in range(len(entries) - 1))]
    assert [node["__id__"] for node in skops_files._nodes(schema)][:3] == [0, 1, 2]
    assert len(set(members(data).values())) == len(entries)


@every
def test_skops_itself_reads_a_canonical_file(name: str, task: Task) -> None:
    assert estimator_of(fitted(name, task)).get_params()


def test_memory_between_the_fields_of_a_record_does_not_reach_the_file() -> None:
    record = np.dtype({"names": ["a", "b"], "formats": ["<f8", "u1"], "offsets": [0, 8], "itemsize": 16})

    def array(rest: int) -> np.ndarray:
        made = np.frombuffer(bytearray([rest] * 16), record)  # a copy would not have the gaps
        made["a"], made["b"] = 1.5, 2
        return made

    assert array(0).tobytes() != array(7).tobytes()
    assert skops_files.dump({"nodes": array(0)}) == skops_files.dump({"nodes": array(7)})
    assert skops_files.dump({"nodes": array(0)}) != skops_files.dump({"nodes": array(0)[:0]})


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (os.system, r"os\.system|posix\.system"),
        (partial(os.system, "true"), r"functools\.partial"),
        (Custom(), r"Custom"),
        (np.random.RandomState(1), r"RandomState"),
    ],
)
@every
def test_a_file_with_a_type_that_the_algorithm_does_not_need_is_refused_before_it_is_made(
    name: str, task: Task, extra: Any, named: str
) -> None:
    import skops.io

    algorithm = ALGORITHMS[name]
    estimator = estimator_of(fitted(name, task))
    estimator.extra = extra
    with pytest.raises(RegistryError, match=named) as refused:
        algorithm.load(skops.io.dumps(estimator), task, 1)
    assert "\n" not in str(refused.value)
    assert RAN == []


@every
def test_a_type_is_not_let_in_under_the_name_of_another_way_of_building_it(name: str, task: Task) -> None:
    files = members(fitted(name, task).to_bytes())
    schema = json.loads(files["schema.json"])
    next(node for node in skops_files._nodes(schema) if node["__loader__"] == "JsonNode")["__loader__"] = "FunctionNode"
    with pytest.raises(RegistryError, match=r"holds builtins\.str"):
        ALGORITHMS[name].load(packed(files | {"schema.json": json.dumps(schema).encode()}), task, 1)


@every
def test_a_file_without_its_arrays_or_with_pickled_ones_is_refused(name: str, task: Task) -> None:
    files = members(fitted(name, task).to_bytes())
    pickled = io.BytesIO()
    np.save(pickled, np.array([Custom()], dtype=object), allow_pickle=True)
    without = {key: value for key, value in files.items() if key != "0.npy"}
    for changed in (without, files | {"0.npy": pickled.getvalue()}, files | {"schema.json": b"[]"}):
        with pytest.raises(RegistryError, match=r"cannot be read as a skops file|names no features|holds a"):
            ALGORITHMS[name].load(packed(changed), task, 1)
    assert RAN == []


def test_a_model_of_another_algorithm_or_task_is_refused() -> None:
    tree = fitted("decision_tree", "regression").to_bytes()
    with pytest.raises(RegistryError, match="DecisionTreeRegressor where classification needs a DecisionTreeClassifi"):
        ALGORITHMS["decision_tree"].load(tree, "classification", 1)
    with pytest.raises(RegistryError, match="DecisionTreeRegressor where regression needs a RandomForestRegressor"):
        ALGORITHMS["random_forest"].load(tree, "regression", 1)
    with pytest.raises(RegistryError, match=r"Tree, which no model of its algorithm holds"):
        ALGORITHMS["linear_regression"].load(tree, "regression", 1)


def test_a_model_that_names_no_features_is_refused() -> None:
    estimator = ALGORITHMS["decision_tree"].load(fitted("decision_tree", "regression").to_bytes(), "regression", 1)
    del estimator.estimator.feature_names_in_  # type: ignore[attr-defined]
    with pytest.raises(RegistryError, match="names no features"):
        ALGORITHMS["decision_tree"].load(estimator.to_bytes(), "regression", 1)
