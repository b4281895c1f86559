"""The trees of an XGBoost model as flat arrays: what a few rows are predicted from.

What belongs here: the arrays, and walking them. What does not: the model file (`xgboost_trees`), probabilities.

A call into XGBoost costs about as much for one row as for sixteen, because it prepares every tree anew. Walking all
trees at once, one level after the other, gives the same bits for a tenth of that. XGBoost remains the definition:
arrays are only used when they say of rows at and beside the splits, bit for bit, what XGBoost says.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.algorithms.spec import FloatMatrix
from weather_platform.domain.algorithms.ubjson import read_ubjson

FEW_ROWS = 32
"""Up to so many rows the arrays are quicker than XGBoost."""

_PROBES = 32
"""Rows on which the arrays must agree with XGBoost."""

Nodes = NDArray[np.intp]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FlatTrees:
    """All nodes of all trees in one row; ``roots`` and ``left`` are places in it, a right child follows its left one.

    A node compares ``slot`` of a row with ``threshold``. The slots are the features with missing as -inf, which goes
    left, the features with missing as inf, which goes right, and a zero. A leaf sends the zero left, to itself.
    """

    features: int
    depth: int
    roots: Nodes
    left: Nodes
    slot: Nodes
    threshold: Floats
    value: Floats
    base: np.float32

    @classmethod
    def of(cls, booster: Any) -> "FlatTrees | None":
        """The arrays of a booster; None when it is of a kind, or gives a margin, that they do not reproduce."""
        learner = read_ubjson(bytes(booster.save_raw(raw_format="ubj")))["learner"]
        arrays = _arrays(learner)
        if arrays is None:
            return None
        probes = _probes(arrays)
        expected = booster.inplace_predict(probes, predict_type="margin")
        for base in _bases(learner):
            found = cls(**arrays, base=base)
            if np.array_equal(found.margins(probes).view(np.int32), expected.view(np.int32)):
                return found
        return None

    def margins(self, values: FloatMatrix) -> Floats:
        """The margin of each row: the base and one leaf of every tree, added up in the order of the trees."""
        rows, width = len(values), 2 * self.features + 1
        missing = np.isnan(values)
        slots = np.empty((rows, width), dtype=np.float32)
        slots[:, : self.features] = values
        slots[:, self.features : -1] = values
        slots[:, -1] = 0
        np.copyto(slots[:, : self.features], np.float32(-np.inf), where=missing)
        np.copyto(slots[:, self.features : -1], np.float32(np.inf), where=missing)
        flat = slots.ravel()
        at = self.roots
        if rows > 1:
            at = np.tile(at, rows)
            row = np.repeat(np.arange(rows) * width, len(self.roots))
        for _ in range(self.depth):
            slot = self.slot.take(at)
            if rows > 1:
                slot += row
            at = self.left.take(at) + (flat.take(slot) >= self.threshold.take(at))
        sums = np.empty((rows, len(self.roots) + 1), dtype=np.float32)
        sums[:, 0] = self.base
        sums[:, 1:] = self.value.take(at).reshape(rows, -1)
        return np.add.accumulate(sums, axis=1)[:, -1]


def _arrays(learner: dict[str, Any]) -> dict[str, Any] | None:
    """The arrays of a learner of plain numeric trees with one output; None for any other."""
    model, shape = learner["gradient_booster"].get("model", {}), learner["learner_model_param"]
    if learner["gradient_booster"]["name"] != "gbtree" or shape["num_class"] != "0" or shape["num_target"] != "1":
        return None
    trees = model["trees"]
    first = np.cumsum([0, *(len(tree["left_children"]) for tree in trees)])
    tree_of_node = np.repeat(first[:-1], np.diff(first))
    left, right, feature, goes_left, category, condition = (
        np.concatenate([tree[name] for tree in trees])
        for name in (
            "left_children",
            "right_children",
            "split_indices",
            "default_left",
            "split_type",
            "split_conditions",
        )
    )
    leaf = left == -1
    if category.any() or (right[~leaf] != left[~leaf] + 1).any():
        return None
    features = int(shape["num_feature"])
    left = np.where(leaf, np.arange(len(leaf)), left + tree_of_node)
    depth, level = 0, first[:-1]
    while len(level := level[~leaf[level]]):
        depth, level = depth + 1, np.concatenate((left[level], left[level] + 1))
    return {
        "features": features,
        "depth": depth,
        "roots": first[:-1].astype(np.intp),
        "left": left.astype(np.intp),
        "slot": np.where(leaf, 2 * features, feature + np.where(goes_left, 0, features)).astype(np.intp),
        "threshold": np.where(leaf, np.float32(np.inf), condition),
        "value": condition,
    }


def _bases(learner: dict[str, Any]) -> list[np.float32]:
    """Where margins start. The logarithm of another library may differ in the last digit, so its neighbours too."""
    base = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
    if learner["objective"]["name"] == "binary:logistic":
        base = np.float32(-np.log(np.float32(1) / base - np.float32(1)))
    return [base, *(np.nextafter(base, np.float32(way)) for way in (-np.inf, np.inf))]


def _probes(arrays: dict[str, Any]) -> FloatMatrix:
    """Rows at the splits of every feature, just below them, and with missing values."""
    rng = np.random.default_rng(0)
    features, slot, threshold = arrays["features"], arrays["slot"], arrays["threshold"]
    probes = rng.normal(size=(_PROBES, features)).astype(np.float32)
    split = slot < 2 * features
    for j in range(features):
        at = threshold[split & (slot % features == j)]
        if len(at):
            chosen = rng.choice(at, _PROBES)
            probes[:, j] = np.where(rng.random(_PROBES) < 0.5, chosen, np.nextafter(chosen, np.float32(-np.inf)))
    probes[rng.random(probes.shape) < 0.2] = np.nan
    return probes
