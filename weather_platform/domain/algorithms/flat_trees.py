"""The trees of a boosting as flat arrays: what a few rows are predicted from.

What belongs here: the arrays, walking them, and whether they may be used. What does not: reading a model
(`xgboost_trees`, `histogram_boosting`), probabilities.

A library prepares every tree anew at every call, or is called once for every tree: one row costs about as much as
sixteen. Walking all trees at once, one level after the other, gives the same bits for a tenth of that. The library
remains the definition: arrays are only used when they say of rows at and beside the splits, bit for bit, what it says.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.algorithms.spec import FloatMatrix

FEW_ROWS = 32
"""Up to so many rows the arrays are quicker than the libraries."""

_PROBES = 32
"""Rows on which the arrays must agree with the library."""

Places = NDArray[np.intp]
Values = NDArray[Any]
"""float32 or float64: what the library compares and adds up."""


@dataclass(frozen=True, eq=False)
class Nodes:
    """The nodes of all trees, tree after tree; ``left`` and ``right`` count from the first node of all.

    A value below the threshold goes left, any other right. ``value`` is that of leaves.
    """

    roots: Places
    left: Places
    right: Places
    leaf: NDArray[np.bool_]
    feature: Places
    threshold: Values
    missing_left: NDArray[np.bool_]
    value: Values


@dataclass(frozen=True, eq=False)
class FlatTrees:
    """All nodes of all trees, level after level; ``left`` are places, and a right child follows its left one.

    A node compares ``slot`` of a row with ``threshold``. The slots are the features with missing as -inf, which goes
    left, the features with missing as inf, which goes right, and a zero. A leaf sends the zero left, to itself.
    """

    features: int
    trees: int
    depth: int
    left: Places
    slot: Places
    threshold: Values
    value: Values
    base: np.floating

    @classmethod
    def of(cls, nodes: Nodes, features: int, base: np.floating) -> "FlatTrees":
        """The arrays of nodes; margins start at ``base``."""
        level, order, left, depth = nodes.roots, [nodes.roots], [], -1
        end = len(level)
        while len(level):
            depth += 1
            at = np.arange(end - len(level), end)
            inner = ~nodes.leaf[level]
            parents = level[inner]
            at[inner] = end + 2 * np.arange(len(parents))
            left.append(at)
            level = np.column_stack((nodes.left[parents], nodes.right[parents])).ravel()
            order.append(level)
            end += len(level)
        place = np.concatenate(order)
        leaf, feature = nodes.leaf[place], nodes.feature[place]
        slot = np.where(nodes.missing_left[place], feature, feature + features)
        return cls(
            features=features,
            trees=len(nodes.roots),
            depth=depth,
            left=np.concatenate(left),
            slot=np.where(leaf, 2 * features, slot),
            threshold=np.where(leaf, nodes.threshold.dtype.type(np.inf), nodes.threshold[place]),
            value=nodes.value[place],
            base=base,
        )

    def margins(self, values: FloatMatrix) -> Values:
        """The margin of each row: the base and one leaf of every tree, added up in the order of the trees."""
        rows, width, kind = len(values), 2 * self.features + 1, self.threshold.dtype
        missing = np.isnan(values)
        slots = np.empty((rows, width), dtype=kind)
        slots[:, : self.features] = values
        slots[:, self.features : -1] = values
        slots[:, -1] = 0
        np.copyto(slots[:, : self.features], kind.type(-np.inf), where=missing)
        np.copyto(slots[:, self.features : -1], kind.type(np.inf), where=missing)
        flat = slots.ravel()
        at = np.arange(self.trees)
        if rows > 1:
            at = np.tile(at, rows)
            row = np.repeat(np.arange(rows) * width, self.trees)
        for _ in range(self.depth):
            slot = self.slot.take(at)
            if rows > 1:
                slot += row
            at = self.left.take(at) + (flat.take(slot) >= self.threshold.take(at))
        sums = np.empty((rows, self.trees + 1), dtype=kind)
        sums[:, 0] = self.base
        sums[:, 1:] = self.value.take(at).reshape(rows, -1)
        return np.asarray(np.add.accumulate(sums, axis=1)[:, -1])

    def probes(self) -> FloatMatrix:
        """Rows at the splits of every feature, just below and just above them, and with missing values."""
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(_PROBES, self.features)).astype(np.float32)
        feature = np.where(self.slot < 2 * self.features, self.slot % self.features, -1)
        for j in range(self.features):
            at = self.threshold[(feature == j) & np.isfinite(self.threshold)].astype(np.float32)
            if len(at):
                chosen = rng.choice(at, _PROBES)
                towards = rng.choice(np.array([-np.inf, np.inf, 0], dtype=np.float32), _PROBES)
                rows[:, j] = np.where(towards == 0, chosen, np.nextafter(chosen, towards))
        rows[rng.random(rows.shape) < 0.2] = np.nan
        return rows


def trusted(candidates: Iterable[FlatTrees], said: Callable[[FloatMatrix], Values]) -> FlatTrees | None:
    """The first that says of its probes, bit for bit, what the library says; None without one."""
    for flat in candidates:
        probes = flat.probes()
        if flat.margins(probes).tobytes() == said(probes).tobytes():
            return flat
    return None
