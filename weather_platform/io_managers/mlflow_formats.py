"""How the file of a model becomes a model folder of MLflow: one format per kind of file.

What belongs here: the calls of MLflow's flavours, and what they are told about inputs and libraries. What does not:
runs, tags and the contract (`mlflow_models`).

Whatever a flavour writes as the model file, the platform replaces it by the very bytes that were measured. MLflow's own
loaders read those.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from weather_platform.domain.training import TrainedModel
from weather_platform.errors import RegistryError


def save_folder(model: TrainedModel, described: Any, folder: Path) -> None:
    """Write the folder of a model; `described` is MLflow's `Model` that becomes its MLmodel file."""
    file = model.contract.model_file
    if file not in FORMATS:
        raise RegistryError(f"{model.algorithm}: MLflow has no format for {file}; add it to {__name__}")
    FORMATS[file](model, described, folder)
    # The very bytes that were measured and digested, not what this library version would write.
    (folder / file).write_bytes(model.model_bytes)


def _requirements(model: TrainedModel) -> list[str]:
    """Given in full, or MLflow would start a process to find out."""
    import mlflow

    return [
        f"mlflow=={mlflow.__version__}",
        *(f"{name}=={version}" for name, version in sorted(model.libraries.items())),
    ]


def _inputs(model: TrainedModel) -> Any:
    from mlflow.types import ColSpec, Schema

    return Schema([ColSpec("float", name) for name in model.contract.feature_names])


def _xgboost(model: TrainedModel, described: Any, folder: Path) -> None:
    import mlflow.xgboost
    import xgboost
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    booster = xgboost.Booster()
    booster.load_model(bytearray(model.model_bytes))
    mlflow.xgboost.save_model(
        booster,
        str(folder),
        mlflow_model=described,
        model_format="ubj",
        signature=ModelSignature(_inputs(model), Schema([ColSpec("float")])),
        pip_requirements=_requirements(model),
    )


def _scikit_learn(model: TrainedModel, described: Any, folder: Path) -> None:
    """MLflow is given an estimator that has learnt nothing in place of the model: all it would do with the model is to
    write it out, in other bytes than those that are kept, and to read that again.
    """
    import mlflow.sklearn
    import numpy as np
    import skops.io
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from sklearn.dummy import DummyClassifier, DummyRegressor

    classifies = model.contract.task == "classification"
    output = TensorSpec(np.dtype(np.float64), (-1, 2) if classifies else (-1,))
    mlflow.sklearn.save_model(
        DummyClassifier() if classifies else DummyRegressor(),
        str(folder),
        mlflow_model=described,
        serialization_format="skops",
        # Told to MLflow's loader, of bytes that were made in this process; the platform's own loader has a fixed list.
        skops_trusted_types=skops.io.get_untrusted_types(data=model.model_bytes),
        pyfunc_predict_fn="predict_proba" if classifies else "predict",
        signature=ModelSignature(_inputs(model), Schema([output])),
        pip_requirements=_requirements(model),
    )
    described.model_size_bytes = len(model.model_bytes)  # of the model and not of what stands in for it
    described.save(str(folder / "MLmodel"))


FORMATS: Mapping[str, Callable[[TrainedModel, Any, Path], None]] = MappingProxyType(
    {"model.ubj": _xgboost, "model.skops": _scikit_learn}
)
"""Model file -> what writes its folder: the model, MLflow's description of it, the folder."""
