"""Every algorithm's model in a real MLflow: logged, referenced, loaded by the platform and by MLflow itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import TrainingConfig, train
from weather_platform.errors import DigestMismatchError, RegistryError
from weather_platform.io_managers.mlflow_formats import FORMATS, save_folder
from weather_platform_tests.domain.learning import small_data as small_world
from weather_platform_tests.domain.learning import small_split
from weather_platform_tests.small_models import (
    FEATURE_NAMES,
    FEW_TREES,
    Store,
    model_folder,
    small_data,
    small_model,
)

CLASSIFIERS = sorted(name for name, each in ALGORITHMS.items() if "classification" in each.tasks)
REGRESSORS = sorted(name for name, each in ALGORITHMS.items() if "regression" in each.tasks)


def _assert_signature(folder: Path, feature_names: tuple[str, ...], answer: Any) -> None:
    """The signature promises the contract's features, and the type and shape of what MLflow's own loader answers."""
    from mlflow.models import Model

    promised = Model.load(str(folder)).signature
    assert [(each.name, each.type.name, each.required) for each in promised.inputs] == [
        (name, "float", True) for name in feature_names
    ]
    [output] = promised.outputs.to_dict()
    if output["type"] == "tensor":
        assert output["tensor-spec"] == {"dtype": str(answer.dtype), "shape": (-1, *answer.shape[1:])}
    else:  # one column: MLflow's `float` is of 32 bits
        assert (output["type"], str(answer.dtype), answer.ndim) == ("float", "float32", 1)
    assert promised.params is None


@pytest.mark.parametrize("algorithm", CLASSIFIERS)
def test_every_algorithm_is_logged_referenced_loaded_and_verified(store: Store, algorithm: str) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    model, values = small_model(algorithm=algorithm), small_data().values[:500]
    reference = store.log(algorithm=algorithm)
    assert (reference.digest, reference.metrics["test_f1"]) == (model.digest, model.metrics["f1"])
    loaded = store.registry.load(reference)
    np.testing.assert_array_equal(loaded.predict(values).value, model.predictor.predict(values).value)

    folder = model_folder(reference)
    assert (folder / model.contract.model_file).read_bytes() == model.model_bytes
    assert Model.load(str(folder)).model_size_bytes >= len(model.model_bytes)
    assert "==" in (folder / "requirements.txt").read_text()
    theirs = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame(values, columns=list(FEATURE_NAMES)))
    raw = model.predictor.model.predict_raw(values)
    np.testing.assert_allclose(theirs[:, 1] if theirs.ndim == 2 else theirs, raw, rtol=1e-4)
    _assert_signature(folder, FEATURE_NAMES, theirs)

    damaged = bytearray(model.model_bytes)
    damaged[len(damaged) // 2] ^= 1
    (folder / model.contract.model_file).write_bytes(damaged)
    with pytest.raises(DigestMismatchError, match=model.contract.model_file):
        store.registry.load(reference)


@pytest.mark.parametrize("algorithm", REGRESSORS)
def test_models_of_values_are_folders_of_mlflow_too(algorithm: str, tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    target = replace(
        TARGETS["rain_tomorrow"], name="values", task="regression", unit="mm", label=lambda v: v, primary_metric="r2"
    )
    data = small_world()
    labels = np.where(np.isnan(data.labels), np.nan, 3 * np.nan_to_num(data.values[:, 1])).astype(np.float32)
    config = TrainingConfig(seed=1, threads=1, params=FEW_TREES.get(algorithm, {}), resamples=5)
    model = train(target, ALGORITHMS[algorithm], replace(data, labels=labels), small_split(), config)
    save_folder(model, Model(), tmp_path / "model")
    frame = pd.DataFrame(data.values[:200], columns=list(data.feature_names))
    theirs = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(frame)
    np.testing.assert_allclose(theirs, model.predictor.model.predict_raw(data.values[:200]), rtol=1e-4, atol=1e-5)
    _assert_signature(tmp_path / "model", data.feature_names, theirs)


@pytest.mark.parametrize("algorithm", CLASSIFIERS)
def test_a_model_names_the_versions_of_the_libraries_that_learnt_it(algorithm: str) -> None:
    assert set(small_model(algorithm=algorithm).libraries) == {"numpy", "scipy", *ALGORITHMS[algorithm].libraries}


def test_every_algorithm_has_a_format_and_a_file_without_one_is_refused(tmp_path: Path) -> None:
    from mlflow.models import Model

    assert {each.file_name for each in ALGORITHMS.values()} == set(FORMATS)
    model = small_model()
    predictor = replace(model.predictor, contract=replace(model.contract, model_file="model.txt"))
    with pytest.raises(RegistryError, match=r"MLflow has no format for model\.txt"):
        save_folder(replace(model, predictor=predictor), Model(), tmp_path / "model")
