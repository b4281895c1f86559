"""How often Python looks for garbage in a process that holds the graph. Standard library only."""

import gc
from typing import Final

_ALLOCATIONS: Final = 100_000


def look_for_garbage_seldom() -> None:
    """Look after so many new objects, not 700: a tenth of a run went there, and most objects are imports and stay."""
    gc.set_threshold(_ALLOCATIONS)
