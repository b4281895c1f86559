"""What the processes of the endpoint do without, so that they are small and start soon.

What belongs here: keeping out pandas, and scikit-learn unless a model needs it; no collecting of garbage while
starting. What does not: models (``domain.algorithms``). XGBoost and Arrow take along what they can exchange data with
if it is installed. Workers and follower hand them arrays alone; the rest would cost each of them 100 MB and more than
a second of its start.
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Without(MetaPathFinder):
    """Finds nothing of these packages, as if they were not installed."""

    def __init__(self, *packages: str) -> None:
        self._packages = packages

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}: this process does without", name=name)
        return None


def be_lean() -> None:
    """From now on this process has no pandas, and its XGBoost no scikit-learn. What is there already stays."""
    sys.meta_path.insert(0, _Without("pandas"))
    for_now = _Without("sklearn")
    sys.meta_path.insert(0, for_now)
    try:
        import xgboost  # noqa: F401
    finally:
        sys.meta_path.remove(for_now)


@contextmanager
def starting() -> Iterator[None]:
    """Imports and what is made at the start stay for good. Looking through all that for garbage, again and again while
    it grows, is a fifth of the start; what is there at the end is never looked through.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
