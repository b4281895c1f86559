"""What a piece of work costs: wall seconds, CPU seconds, peak memory. Standard library only.

What belongs here: measuring. What does not: what is measured, and where the figures go (``io_managers.costs``).

The peak of a piece of work is not what the kernel keeps, which is the peak of the whole process so far. Resetting that
high-water mark would make the peaks that others read (`/usr/bin/time`, `getrusage`) too small, so resident memory is
sampled instead. When the work took the process to a new high, the kernel's own figure is used, which misses nothing.
"""

import os
import resource
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SAMPLE_SECONDS: Final = 0.02
_STATM: Final = Path("/proc/self/statm")
_MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds count every thread and every child process that has ended; memory is resident, in MiB."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_mb: float


class Meter:
    """Runs from its making to `stop`. Meters may overlap. One that is never stopped ends when nobody holds it."""

    def __init__(self) -> None:
        self._high_before = process_peak_mb()
        self._sampled = _resident_mb()
        self._stopped = threading.Event()
        # The thread knows the meter weakly, so that a step that fails leaves no thread behind.
        arguments = (weakref.ref(self), self._stopped)
        threading.Thread(target=_sample, args=arguments, name="meter", daemon=True).start()
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()

    def stop(self) -> Costs:
        """What the work since the making of this meter cost."""
        wall, cpu = time.perf_counter() - self._wall, _cpu_seconds() - self._cpu
        self._stopped.set()
        high = process_peak_mb()
        sampled = max(self._sampled, _resident_mb())
        return Costs(wall, cpu, high if high > self._high_before else min(sampled, high))


def process_peak_mb() -> float:
    """The highest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MEBIBYTE if sys.platform == "darwin" else 1024)  # bytes there, kibibytes elsewhere


def _sample(watched: "weakref.ref[Meter]", stopped: threading.Event) -> None:
    while not stopped.wait(_SAMPLE_SECONDS):
        meter = watched()
        if meter is None:
            return
        meter._sampled = max(meter._sampled, _resident_mb())
        del meter


def _resident_mb() -> float:
    """Resident memory now; without /proc nobody but the kernel's peak can tell."""
    if not _STATM.exists():
        return process_peak_mb()
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MEBIBYTE


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
