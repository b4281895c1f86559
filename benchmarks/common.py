"""What every benchmark shares: where the real table lies, and how a figure is printed beside its bar.

A figure is only worth something together with what else the machine was doing, so each one is printed with the load
average of that moment. Peak memory is that of a process, so cases that are compared run in processes of their own.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

CHECKOUT = Path(__file__).resolve().parents[1]
REAL_TABLE = CHECKOUT.parent / "shared" / "data" / "weatherAUS_2007_2015.csv.gz"
"""The real table, when its folder lies beside the checkout."""

Result = TypeVar("Result")

# As build_definitions does it, so that both sides of a comparison train alike; read when OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class Report:
    """Prints figures one below the other, and writes them to a file as one JSON object when asked to."""

    def __init__(self, title: str, json_file: Path | None) -> None:
        self._json_file = json_file
        self._figures: dict[str, dict[str, Any]] = {}
        print(f"{title}  [{machine()}]", flush=True)

    def figure(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        note: str = "",
    ) -> None:
        """One line: the figure, its bar if it has one, and the load average."""
        met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        bars = [f"{sign} {bar:g}" for sign, bar in (("<=", at_most), (">=", at_least)) if bar is not None]
        verdict = f"{' and '.join(bars)} {'met' if met else 'MISSED'}" if bars else ""
        load = os.getloadavg()[0]
        line = f"{name:<46} {shown(value):>12} {unit:<7} {verdict:<16} load {load:4.2f}  {note}"
        print(line.rstrip(), flush=True)
        self._figures[name] = {"value": value, "unit": unit, "bar": verdict or None, "load": load}

    def say(self, text: str = "") -> None:
        """A line that is no figure."""
        print(text, flush=True)

    def close(self) -> None:
        """Write the JSON file."""
        if self._json_file is not None:
            self._json_file.write_text(json.dumps(self._figures, indent=2) + "\n", encoding="utf-8")


def shown(value: float) -> str:
    """Thousands without decimals, small numbers with four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def parser(text: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all programs have."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there as one JSON object")
    return made


def machine() -> str:
    """The machine in general words."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}"


def peak_mb() -> float:
    """Peak resident memory of this process and of the largest of its finished children, together."""
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit


class Timed:
    """A method that counts its calls and adds up the seconds inside it, calls within calls counted once.

    `label` names, from the arguments, what the seconds of a call were spent for.
    """

    def __init__(self, owner: Any, name: str, label: Callable[..., str] = lambda *_, **__: "") -> None:
        self._method = getattr(owner, name)
        self._depth = 0
        self.seconds, self.calls = 0.0, 0
        self.by_label: dict[str, float] = {}

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            self.calls += 1
            self._depth += 1
            try:
                return self._method(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    spent = time.perf_counter() - start
                    self.seconds += spent
                    kind = label(*arguments, **named)
                    self.by_label[kind] = self.by_label.get(kind, 0.0) + spent

        setattr(owner, name, timed)


def alone(measure: Callable[..., Result], *arguments: object) -> Result:
    """The result of a call made in a fresh process, so that its imports and its peak memory are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()
