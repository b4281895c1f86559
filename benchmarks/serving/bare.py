"""The contender to come close to: the least code that answers with an XGBoost model over FastAPI.

What belongs here: one route that takes ready features and gives the model's probability. What does not: tokens,
ranges, features, calibration, a log: everything a service for people needs and this one does without.
"""

import os
from pathlib import Path

import numpy as np
import xgboost
from fastapi import FastAPI
from pydantic import BaseModel

booster = xgboost.Booster()
booster.load_model(bytearray(Path(os.environ["BARE_MODEL_FILE"]).read_bytes()))
booster.set_param({"nthread": 1})
app = FastAPI()


class Row(BaseModel):
    """The features of one row, in the model's order; null where missing."""

    features: list[float | None]


class Answer(BaseModel):
    """The model's probability."""

    probability: float


@app.get("/ready")
async def ready() -> bool:
    """Answers once the model is loaded."""
    return True


@app.post("/predict")
async def predict(row: Row) -> Answer:
    """Predict one row."""
    values = np.array([row.features], dtype=np.float32)
    return Answer(probability=float(booster.inplace_predict(values)[0]))
