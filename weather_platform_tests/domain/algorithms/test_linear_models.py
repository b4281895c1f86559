"""Linear models are read from their file alone: what they say is scikit-learn's, and what cannot be said is refused."""

import io
import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from weather_platform.domain.algorithms import ALGORITHMS, FitRows, FittedModel, skops_files
from weather_platform.domain.targets import Task
from weather_platform.errors import RegistryError
from weather_platform_tests.domain.algorithms.recipes import estimator_of, fitted, rows
from weather_platform_tests.domain.algorithms.test_skops_files import members, packed
from weather_platform_tests.domain.learning import NAMES

LINEAR: list[tuple[str, Task]] = [("logistic_regression", "classification"), ("linear_regression", "regression")]
both = pytest.mark.parametrize(("name", "task"), LINEAR)
ROWS = np.array([[1, np.nan, 3, -4, 0], [np.nan] * 5, [0] * 5], dtype=np.float32)

Edit = Callable[[Any], Any]


def load(case: tuple[str, Task], data: bytes) -> FittedModel:
    return ALGORITHMS[case[0]].load(data, case[1], 1)


def dumped(case: tuple[str, Task], edit: Edit) -> bytes:
    """The file of a fitted pipeline after a change; the change may give another object to write."""
    pipeline = estimator_of(fitted(*case))
    other = edit(pipeline)
    return skops_files.dump(pipeline if other is None else other)


def refused(case: tuple[str, Task], data: bytes, sentence: str) -> None:
    with pytest.raises(RegistryError, match=sentence) as error:
        load(case, data)
    assert "\n" not in str(error.value)


@both
def test_forecasts_of_rows_with_gaps_are_those_of_scikit_learn_to_rounding(name: str, task: Task) -> None:
    model, pipeline = fitted(name, task), estimator_of(fitted(name, task))
    values = np.vstack([rows(task).values[:5000], ROWS])
    assert np.isnan(values).any()
    frame = pd.DataFrame(values.astype(np.float64), columns=list(NAMES))
    theirs = pipeline.predict_proba(frame)[:, 1] if task == "classification" else pipeline.predict(frame)
    np.testing.assert_allclose(model.predict_raw(values), theirs, rtol=1e-12)


@both
def test_a_model_is_measured_as_the_file_that_is_stored(name: str, task: Task) -> None:
    model = fitted(name, task)
    assert model.to_bytes() == skops_files.dump(estimator_of(model))
    assert load((name, task), model.to_bytes()).to_bytes() is model.to_bytes()


@both
def test_what_a_model_has_read_cannot_be_changed(name: str, task: Task) -> None:
    model: Any = load((name, task), fitted(name, task).to_bytes())
    with pytest.raises(FrozenInstanceError):
        model.numbers = None
    with pytest.raises(FrozenInstanceError):
        model.numbers.intercept = 0.0
    for array in (value for value in vars(model.numbers).values() if isinstance(value, np.ndarray)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def scikit_learns(name: str, task: Task, given: FitRows) -> bytes:
    """The file of the pipeline that scikit-learn fits on the whole table."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    params = ALGORITHMS[name].defaults()
    model = (
        LogisticRegression(
            C=params["c"], tol=params["tolerance"], max_iter=int(params["max_iterations"]), random_state=1
        )
        if task == "classification"
        else Ridge(alpha=params["alpha"], random_state=1)
    )
    impute = SimpleImputer(add_indicator=True, keep_empty_features=True)
    with threadpool_limits(1):
        pipeline = Pipeline([("impute", impute), ("scale", StandardScaler()), ("model", model)])
        pipeline.fit(given.values[given.train].astype(np.float64), given.labels[given.train].astype(np.float64))
    impute.feature_names_in_ = np.array(given.feature_names, dtype=object)
    return skops_files.dump(pipeline)


@both
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize(("count", "width"), [(40_000, 1), (300, 2), (40_000, 9), (500, 16), (500, 17), (20, 33)])
def test_a_model_is_to_the_byte_what_scikit_learn_fits_on_the_whole_table(
    name: str, task: Task, count: int, width: int, missing: float
) -> None:
    rng = np.random.default_rng(width)
    values = rng.normal(1015, 7, size=(count, width)).astype(np.float32)
    values[:, : width // 2][rng.random((count, width // 2)) < missing] = np.nan
    values[:, : width // 8] = np.nan
    values[:, width // 8 : width // 4] = 3.7
    labels = rng.integers(0, 2, count).astype(np.float32) + (task == "regression") * rng.normal(size=count)
    train = np.arange(count) % 5 > 0
    names = tuple(f"feature_{number}" for number in range(width))
    given = FitRows(values, labels.astype(np.float32), names, train, ~train)
    model = ALGORITHMS[name].fit(given, task, ALGORITHMS[name].defaults(), 1, 1)
    assert model.to_bytes() == scikit_learns(name, task, given)


def put(step: str, attribute: str, change: Callable[[Any], Any]) -> Edit:
    """The same pipeline with another value in an attribute of a step."""

    def edit(pipeline: Any) -> None:
        setattr(pipeline[step], attribute, change(getattr(pipeline[step], attribute)))

    return edit


def indicated(change: Callable[[Any], Any]) -> Edit:
    def edit(pipeline: Any) -> None:
        pipeline["impute"].indicator_.features_ = change(pipeline["impute"].indicator_.features_)

    return edit


def with_steps(change: Callable[[list[Any]], list[Any]]) -> Edit:
    return lambda pipeline: type(pipeline)(change(pipeline.steps))


def another_estimator(_: Any) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier()


def without_names(pipeline: Any) -> None:
    del pipeline["impute"].feature_names_in_


@both
@pytest.mark.parametrize(
    "edit",
    [
        lambda _: None,
        put("model", "coef_", np.ravel),
        put("model", "coef_", np.atleast_2d),
        put("model", "intercept_", np.atleast_1d),
        put("model", "n_iter_", lambda _: None),
        put("scale", "var_", lambda _: None),
        lambda pipeline: setattr(pipeline, "memory", ["anything", 1, None, (True, {"else": 2.5})]),
    ],
)
def test_a_file_that_says_enough_is_read(name: str, task: Task, edit: Edit) -> None:
    model = load((name, task), dumped((name, task), edit))
    np.testing.assert_array_equal(model.predict_raw(ROWS), fitted(name, task).predict_raw(ROWS))


@both
@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (put("impute", "statistics_", lambda x: x[1:]), r"statistics_ has the shape \(4,\) where \(5,\) fits"),
        (put("impute", "statistics_", lambda x: x[None]), r"statistics_ has the shape \(1, 5\)"),
        (put("impute", "statistics_", lambda x: x.astype(np.float32)), "statistics_ is no array of float64"),
        (put("impute", "statistics_", lambda x: x.astype(str)), "statistics_ is no array of float64"),
        (put("impute", "statistics_", lambda x: x.astype(object)), "statistics_ is no array of float64"),
        (put("impute", "statistics_", lambda x: np.full_like(x, np.nan)), "statistics_ is not finite"),
        (put("scale", "mean_", lambda x: np.append(x, 0.0)), r"mean_ has the shape \(11,\) where \(10,\) fits"),
        (put("scale", "mean_", lambda _: None), "mean_ is no array"),
        (put("scale", "scale_", lambda x: x[:5]), r"scale_ has the shape \(5,\)"),
        (put("scale", "scale_", lambda x: x * 0), "a scale of zero"),
        (put("model", "coef_", lambda x: np.ravel(x)[:9]), r"coef_ has the shape \(9,\)"),
        (put("model", "coef_", lambda x: np.ravel(x).reshape(2, 5)), r"coef_ has the shape \(2, 5\)"),
        (put("model", "coef_", lambda x: np.vstack([x, x])), r"coef_ has the shape \(2, 10\)"),
        (put("model", "coef_", lambda x: x * np.inf), "coef_ is not finite"),
        (put("model", "intercept_", lambda x: np.repeat(x, 2)), r"intercept_ has the shape \(2,\)"),
        (put("model", "intercept_", lambda _: 0.5), "intercept_ is no array"),
        (put("model", "n_iter_", lambda _: np.array([1.5])), "n_iter_ is no array of int32 or int64"),
        (put("impute", "indicator_", lambda _: None), "indicator_ is no MissingIndicator"),
        (indicated(lambda x: x + 1), "indicators of other columns"),
        (indicated(lambda x: x - 1), "indicators of other columns"),
        (indicated(lambda x: x[::-1].copy()), "indicators of other columns"),
        (indicated(lambda x: np.repeat(x[:1], 5)), "indicators of other columns"),
        (indicated(lambda x: x[None]), "indicators of other columns"),
        (indicated(lambda x: x > 0), "features_ is no array of int64"),
        (indicated(lambda x: x[1:]), r"scale_ has the shape \(10,\) where \(9,\) fits"),
        (without_names, "names no features"),
        (put("impute", "feature_names_in_", lambda x: x[:0]), "names no features"),
        (put("impute", "feature_names_in_", lambda _: np.arange(5)), "names no features"),
        (put("impute", "feature_names_in_", lambda x: x[1:]), "indicators of other columns"),
        (put("impute", "feature_names_in_", lambda x: np.append(x, "sixth")), r"scale_ has .* where \(11,\) fits"),
        (with_steps(lambda steps: steps[:2]), "a Pipeline of other steps"),
        (with_steps(lambda steps: [*steps, steps[2]]), "a Pipeline of other steps"),
        (with_steps(lambda steps: [steps[1], steps[0], steps[2]]), "a Pipeline of other steps"),
        (with_steps(lambda steps: [("impute", "passthrough"), *steps[1:]]), "a Pipeline of other steps"),
        (
            with_steps(lambda steps: [steps[0], ("scale", steps[0][1]), steps[2]]),
            "a SimpleImputer where .* needs",
        ),
        (lambda pipeline: pipeline["scale"], "holds a StandardScaler where .* needs a Pipeline"),
        (lambda _: [1, 2], "cannot be read as a skops file"),
        (another_estimator, r"holds sklearn\.dummy\.DummyClassifier, which no model"),
    ],
)
def test_a_file_whose_parts_do_not_fit_together_is_refused(name: str, task: Task, edit: Edit, sentence: str) -> None:
    refused((name, task), dumped((name, task), edit), sentence)


def test_a_model_of_the_other_task_is_refused() -> None:
    (logistic, classification), (linear, regression) = LINEAR
    value, rain = fitted(linear, regression).to_bytes(), fitted(logistic, classification).to_bytes()
    refused((logistic, classification), value, "holds a Ridge where classification needs a LogisticRegression")
    refused((linear, regression), rain, "holds a LogisticRegression where regression needs a Ridge")


def nodes(schema: Any, loader: str) -> list[dict[str, Any]]:
    return [node for node in skops_files._nodes(schema) if node["__loader__"] == loader]


def again(schema: Any) -> None:
    """The second object under the number of the first: skops would make one of the two."""
    first, second = nodes(schema, "NdArrayNode")[2:4]
    second["__id__"] = first["__id__"]


def unchecked(schema: Any) -> None:
    del nodes(schema, "JsonNode")[-1]["__class__"]
    for number, node in enumerate(skops_files._nodes(schema)):
        node["__id__"] = number


def update(loader: str, **changed: Any) -> Edit:
    return lambda schema: nodes(schema, loader)[-1].update(changed)


UNREADABLE = "cannot be read as a skops file"


@both
@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (again, UNREADABLE),
        (unchecked, UNREADABLE),
        (lambda schema: schema.update(__id__=1), UNREADABLE),
        (lambda schema: schema.update(protocol=3), UNREADABLE),
        (lambda schema: schema.update(protocol=True), UNREADABLE),
        (lambda schema: schema.pop("protocol"), UNREADABLE),
        (lambda schema: schema["content"]["key_types"]["content"].pop(), UNREADABLE),
        (update("DictNode", key_types=None), UNREADABLE),
        (update("DictNode", content=[]), UNREADABLE),
        (update("ListNode", content={}), UNREADABLE),
        (update("TupleNode", content="text"), UNREADABLE),
        (update("JsonNode", content="[1, 2]"), UNREADABLE),
        (update("JsonNode", content="{"), UNREADABLE),
        (update("JsonNode", content=None), UNREADABLE),
        (update("NdArrayNode", file="missing.npy"), UNREADABLE),
        (update("NdArrayNode", file="schema.json"), UNREADABLE),
        (update("NdArrayNode", type="pickle"), UNREADABLE),
        (update("NdArrayNode", __class__="int64"), UNREADABLE),
        (update("NdArrayNode", __class__="dtype"), r"holds numpy\.dtype"),
        (update("ListNode", __class__="Pipeline", __module__="sklearn.pipeline"), r"holds sklearn\.pipeline\.Pipeline"),
        (update("ObjectNode", __class__="list", __module__="builtins"), r"holds builtins\.list"),
        (update("ObjectNode", __loader__="TreeNode"), r"holds sklearn\."),
        (update("ObjectNode", __loader__="ReduceNode"), r"holds sklearn\."),
        (update("ObjectNode", __loader__=["ObjectNode"]), r"holds sklearn\."),
        (update("ObjectNode", __class__="Popen", __module__="subprocess"), r"holds subprocess\.Popen"),
        (update("TypeNode", __class__="eval"), r"holds builtins\.eval"),
    ],
)
def test_a_schema_that_says_anything_else_is_refused(name: str, task: Task, edit: Edit, sentence: str) -> None:
    files = members(fitted(name, task).to_bytes())
    schema = json.loads(files["schema.json"])
    unchanged = packed(files | {"schema.json": json.dumps(schema).encode()})
    assert load((name, task), unchanged).to_bytes() == unchanged
    edit(schema)
    refused((name, task), packed(files | {"schema.json": json.dumps(schema).encode()}), sentence)


def saved(write: Callable[..., None], *arguments: Any, **keywords: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *arguments, **keywords)
    return buffer.getvalue()


@both
def test_an_array_that_is_no_plain_array_is_refused(name: str, task: Task) -> None:
    files = members(fitted(name, task).to_bytes())
    plain = np.load(io.BytesIO(files["0.npy"]))
    assert load((name, task), packed(files | {"0.npy": saved(np.save, plain)}))
    for damaged in (
        saved(np.savez, plain),
        saved(np.save, plain.astype(object), allow_pickle=True),
        saved(np.save, plain)[:-1],
        saved(np.save, plain) + b"\0",
        saved(np.save, plain).replace(b"(0,)", b"(9,)"),
        b"",
    ):
        refused((name, task), packed(files | {"0.npy": damaged}), UNREADABLE)


def says_something(case: tuple[str, Task], data: bytes) -> None:
    """Whatever is not refused as it should be can be asked."""
    try:
        model = load(case, data)
    except RegistryError:
        return
    with np.errstate(all="ignore"):
        assert model.predict_raw(np.zeros((2, len(model.feature_names)), np.float32)).shape == (2,)
        assert len(model.importance()) == len(model.feature_names)
    assert all(isinstance(value, int) for value in model.notes.values())


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 60), st.text(max_size=3), st.just([]), st.just({}), st.just("1.npy")
)
quietly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quietly
@given(st.data(), st.sampled_from(LINEAR))
def test_no_change_of_a_schema_gets_as_far_as_a_forecast_that_fails(
    data: st.DataObject, case: tuple[str, Task]
) -> None:
    files = members(fitted(*case).to_bytes())
    schema = json.loads(files["schema.json"])
    places = [(node, key) for node in skops_files._nodes(schema) for key in node]
    node, key = places[data.draw(st.integers(0, len(places) - 1))]
    node[key] = data.draw(JUNK)
    says_something(case, packed(files | {"schema.json": json.dumps(schema).encode()}))


ANY_ARRAY = st.sampled_from(["f8", "f4", "i8", "i4", "?", "U2"]).flatmap(
    lambda of: arrays(of, st.one_of(st.sampled_from([(), (1,), (5,), (10,), (1, 10)]), array_shapes(max_dims=2)))
)


@quietly
@given(st.data(), st.sampled_from(LINEAR), ANY_ARRAY)
def test_no_other_array_gets_as_far_as_a_forecast_that_fails(
    data: st.DataObject, case: tuple[str, Task], array: np.ndarray
) -> None:
    files = members(fitted(*case).to_bytes())
    name = data.draw(st.sampled_from(sorted(set(files) - {"schema.json"})))
    says_something(case, packed(files | {name: saved(np.save, array)}))


@both
def test_what_is_read_is_what_skops_makes_of_the_file(name: str, task: Task) -> None:
    model: Any = fitted(name, task)
    pipeline, numbers = estimator_of(model), model.numbers
    assert numbers.feature_names == tuple(pipeline.feature_names_in_) == NAMES
    for found, theirs in (
        (numbers.fill, pipeline["impute"].statistics_),
        (numbers.indicated, pipeline["impute"].indicator_.features_),
        (numbers.mean, pipeline["scale"].mean_),
        (numbers.scale, pipeline["scale"].scale_),
        (numbers.weight, np.ravel(pipeline["model"].coef_)),
        (numbers.intercept, np.ravel(pipeline["model"].intercept_)[0]),
    ):
        assert np.asarray(found).tobytes() == np.asarray(theirs).tobytes()
    iterations = pipeline["model"].n_iter_
    assert numbers.iterations == (None if iterations is None else iterations.max())
