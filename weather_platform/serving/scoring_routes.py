"""The routes of MLflow's scoring protocol, for every alias that is served: a new alias needs no restart.

What belongs here: the routes and MLflow's way to refuse. What does not: reading tables (`scoring`).

They stand in for `mlflow models serve`: rows of features in, the forecast's value out. The values are those of
`/v1/predict`: calibrated probabilities, or values in the target's unit.
"""

import asyncio
import time
from importlib.metadata import version as installed_version

import numpy as np
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from weather_platform.serving.answers import JsonAnswer
from weather_platform.serving.contract import JSON, PARQUET, MlflowError, MlflowPredictions, MlflowTable
from weather_platform.serving.http import PATH_OF_MODEL, documented, reference, router
from weather_platform.serving.model_store import ServedModel
from weather_platform.serving.routes import note
from weather_platform.serving.scoring import CSV, ScoringError, read_rows
from weather_platform.serving.services import services_of

SCORING = router()
MLFLOW_VERSION = installed_version("mlflow")

_MODEL = "/models/{target}@{alias}"
INVOCATIONS = "/invocations"
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_REFUSED = {
    status: {"description": text, "content": {JSON: {"schema": reference(MlflowError)}}}
    for status, text in ((400, "The table cannot be scored."), (404, "No such model."), (415, "Another media type."))
}


@SCORING.post(
    f"{_MODEL}{INVOCATIONS}",
    summary="Score rows of features",
    tags=["mlflow"],
    **documented(
        MlflowPredictions, 408, 413, 503,
        body={
            JSON: {"schema": reference(MlflowTable)},
            CSV: {"schema": {"type": "string"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        },
        parameters=PATH_OF_MODEL,
        responses=_REFUSED,
    ),
)  # fmt: skip
async def invocations(request: Request) -> Response:
    """One value per row. Columns are the `feature_names` of the model's contract (see `contract`)."""
    began = time.perf_counter()
    services = services_of(request)
    body = await request.body()
    model = _model(request)
    if model is None:
        return _unknown(request)
    names = model.predictor.contract.feature_names
    try:
        rows = await asyncio.to_thread(read_rows, body, request.headers.get("content-type", JSON), names)
    except ScoringError as error:
        return JsonAnswer({"error_code": error.error_code, "message": str(error)}, error.status)
    forecasts = await services.forecaster.many(model, rows)
    note(services, request, model, rows, float(np.mean(forecasts.value)), time.perf_counter() - began)
    services.metrics.forecasts(model.target.name, model.target.task, forecasts.value)
    return JsonAnswer({"predictions": forecasts.value.tolist()}, headers=_lineage(model))


async def ping(request: Request) -> Response:
    """Whether the model is loaded."""
    model = _model(request)
    return _unknown(request) if model is None else PlainTextResponse("\n", headers=_lineage(model))


for _path in ("ping", "health"):
    SCORING.add_api_route(
        f"{_MODEL}/{_path}",
        ping,
        methods=["GET"],
        name=_path,
        summary="Whether the model is loaded",
        tags=["mlflow"],
        **documented(None, 503, parameters=PATH_OF_MODEL, responses={404: _REFUSED[404]}, also=_TEXT),
    )


@SCORING.get(
    f"{_MODEL}/version",
    summary="The version of MLflow",
    tags=["mlflow"],
    **documented(None, 503, parameters=PATH_OF_MODEL, responses={404: _REFUSED[404]}, also=_TEXT),
)
async def version(request: Request) -> Response:
    """Whose scoring protocol this is."""
    return _unknown(request) if _model(request) is None else PlainTextResponse(MLFLOW_VERSION)


@SCORING.get(
    f"{_MODEL}/contract",
    summary="The contract of the model",
    tags=["mlflow"],
    **documented(
        None, 503, parameters=PATH_OF_MODEL, responses={404: _REFUSED[404]}, also={JSON: {"schema": {"type": "object"}}}
    ),
)
async def contract(request: Request) -> Response:
    """`contract.json`, byte for byte: its SHA-256 is the digest of the model, its `feature_names` are the columns."""
    model = _model(request)
    if model is None:
        return _unknown(request)
    return Response(model.contract_bytes, media_type=JSON, headers=_lineage(model))


def _model(request: Request) -> ServedModel | None:
    """The model of the path."""
    target, alias = request.path_params["target"], request.path_params["alias"]
    return services_of(request).served().models.get(target, {}).get(alias)


def _unknown(request: Request) -> Response:
    name = f"{request.path_params['target']}@{request.path_params['alias']}"[:200]
    message = f"No model {name} is served; GET /v1/models lists targets and aliases"
    return JsonAnswer({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message}, 404)


def _lineage(model: ServedModel) -> dict[str, str]:
    """Which model answered: the body has no room for it in this protocol."""
    return {"X-Model-Version": str(model.version), "X-Model-Digest": model.digest}
