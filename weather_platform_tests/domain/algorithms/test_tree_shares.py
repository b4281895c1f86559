"""Shapley values of a tree against their definition, over all orders of the features."""

from collections.abc import Callable
from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from weather_platform.domain.algorithms.tree_shares import Tree, shapley_values

FEATURES = 4


@st.composite
def trees(draw: Callable[..., int], leaves: int = 9) -> Tree:
    """A tree grown split by split, features coming again on a path, with covers that add up."""
    random = np.random.default_rng(draw(st.integers(0, 100_000)))
    left, right, feature, cover = [-1], [-1], [0], [10_000.0]
    for _ in range(draw(st.integers(0, leaves))):
        at = int(random.choice([i for i, child in enumerate(left) if child < 0]))
        part = random.uniform(0.05, 0.95)
        left[at], right[at], feature[at] = len(left), len(left) + 1, int(random.integers(FEATURES))
        left += [-1, -1]
        right += [-1, -1]
        feature += [0, 0]
        cover += [cover[at] * part, cover[at] * (1 - part)]
    value = random.normal(size=len(left))
    return Tree(np.array(left), np.array(right), np.array(feature), np.array(cover), value)


def said(tree: Tree, goes_left: NDArray[np.bool_], known: tuple[int, ...], at: int = 0) -> float:
    """What a tree says when only some features are known."""
    if tree.left[at] < 0:
        return float(tree.value[at])
    left, right = int(tree.left[at]), int(tree.right[at])
    if tree.feature[at] in known:
        return said(tree, goes_left, known, left if goes_left[at] else right)
    share = float(tree.cover[left] / tree.cover[at])
    return share * said(tree, goes_left, known, left) + (1 - share) * said(tree, goes_left, known, right)


def by_definition(tree: Tree, goes_left: NDArray[np.bool_]) -> list[float]:
    """The mean over all orders of what knowing a feature adds."""
    worth = []
    for j in range(FEATURES):
        others = [k for k in range(FEATURES) if k != j]
        total = 0.0
        for size in range(FEATURES):
            weight = factorial(size) * factorial(FEATURES - size - 1) / factorial(FEATURES)
            for known in combinations(others, size):
                added = said(tree, goes_left, (*known, j)) - said(tree, goes_left, known)
                total += weight * added
        worth.append(total)
    return worth


@settings(max_examples=150, deadline=None)
@given(tree=trees(), seed=st.integers(0, 1000))
def test_values_are_those_of_the_definition_and_add_up_to_the_leaf(tree: Tree, seed: int) -> None:
    goes_left = np.random.default_rng(seed).random(len(tree.left)) < 0.5
    mean, worth = shapley_values(tree, goes_left, FEATURES)
    assert worth == pytest.approx(by_definition(tree, goes_left), abs=1e-12)
    assert mean == pytest.approx(said(tree, goes_left, ()), abs=1e-12)
    assert mean + worth.sum() == pytest.approx(said(tree, goes_left, tuple(range(FEATURES))), abs=1e-12)


def test_a_tree_of_one_leaf_says_it_whatever_is_known() -> None:
    nothing = np.array([-1], dtype=np.intp)
    tree = Tree(nothing, nothing, nothing, np.array([5.0]), np.array([2.5]))
    mean, worth = shapley_values(tree, np.array([True]), FEATURES)
    assert mean == 2.5
    assert not worth.any()


def test_a_feature_that_is_never_asked_is_worth_nothing() -> None:
    tree = Tree(
        np.array([1, -1, -1]), np.array([2, -1, -1]), np.array([2, 0, 0]), np.array([4.0, 1, 3]), np.array([0, 8.0, 4])
    )
    mean, worth = shapley_values(tree, np.array([True, False, False]), FEATURES)
    assert mean == 5.0
    assert worth.tolist() == [0, 0, 3, 0]
