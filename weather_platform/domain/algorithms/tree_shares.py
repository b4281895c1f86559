"""Exact Shapley values of one tree, from the paths to its leaves.

What belongs here: what each feature is worth in one tree. What does not: reading a model's trees, adding them up.

With some features known, a tree says the mean of its leaves, where a split on an unknown feature is followed to both
sides by their covers (how many rows of training went there). The Shapley value of a feature is what knowing it adds to
that, averaged over all orders in which features become known. The values of all features and the mean without any add
up to the leaf of the row.

For one leaf the average over all orders is the integral, over t from 0 to 1, of the product of o t + z (1 - t) over
the other features of its path, times o - z: o says whether the row takes the path at every split on a feature, z is
the share of the cover that does. It is a polynomial, which the quadrature of Gauss and Legendre integrates exactly.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Tree:
    """The nodes of a tree, the root first; ``left`` is -1 for a leaf, ``value`` counts for leaves alone."""

    left: Places
    right: Places
    feature: Places
    cover: Floats
    value: Floats


def shapley_values(tree: Tree, goes_left: NDArray[np.bool_], features: int) -> tuple[float, Floats]:
    """The mean without any feature, and the value of each, for a row of which every node says where it goes."""
    leaf, feature, node, to_left, value = _paths(tree)
    if len(node) == 0:
        return float(value[0]), np.zeros(features)
    child = np.where(to_left, tree.left[node], tree.right[node])
    # Splits of one path on the same feature count as one: a pair of leaf and feature.
    pair = np.flatnonzero(np.diff(leaf * features + feature, prepend=-1))
    taken = np.logical_and.reduceat(goes_left[node] == to_left, pair)
    share = np.multiply.reduceat(tree.cover[child] / tree.cover[node], pair)
    leaf, feature = leaf[pair], feature[pair]
    first = np.flatnonzero(np.diff(leaf, prepend=-1))
    at, weight = _quadrature(int(np.diff(first, append=len(leaf)).max()))
    factor = taken[:, None] * at + share[:, None] * (1 - at)
    others = np.multiply.reduceat(factor, first)[leaf] / factor
    worth = value[leaf] * (taken - share) * (others * weight).sum(axis=1)
    mean = float((value * np.multiply.reduceat(share, first)).sum())
    return mean, np.bincount(feature, worth, features).astype(np.float64)


def _paths(tree: Tree) -> tuple[Places, Places, Places, NDArray[np.bool_], Floats]:
    """Every split of every path: leaf, feature, node and side, by leaf, then feature; and the leaves' values."""
    splits: list[tuple[int, int, int, bool]] = []
    leaves: list[int] = []
    ahead: list[tuple[int, list[tuple[int, int, bool]]]] = [(0, [])]
    while ahead:
        at, path = ahead.pop()
        if tree.left[at] < 0:
            splits += [(len(leaves), *split) for split in sorted(path)]
            leaves.append(at)
        else:
            for to_left, child in ((True, tree.left[at]), (False, tree.right[at])):
                ahead.append((int(child), [*path, (int(tree.feature[at]), at, to_left)]))
    table = np.array(splits, dtype=np.intp).reshape(-1, 4)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3] == 1, tree.value[leaves]


@cache
def _quadrature(factors: int) -> tuple[Floats, Floats]:
    """Places and weights on (0, 1) that integrate products of one factor less exactly."""
    at, weight = np.polynomial.legendre.leggauss(factors // 2 + 1)
    return (at + 1) / 2, weight / 2
