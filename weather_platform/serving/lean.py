"""What a worker does without: pandas, and scikit-learn unless a model needs it.

What belongs here: keeping them out. What does not: models (``domain.algorithms``). XGBoost and Arrow take along what
they can exchange data with if it is installed. A worker hands them arrays alone; the rest would cost each worker 100 MB
and more than a second of its start.
"""

import sys
from collections.abc import Sequence
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
