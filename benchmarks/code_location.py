"""Seconds to load the code location in a fresh process, what it must not import, and which imports cost most.

    python benchmarks/code_location.py [--times 5] [--json FILE]

Loading is `import weather_platform.definitions`, as the code server does it. The first load of a fresh environment also
compiles the packages; the figure is the median of the loads after it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import CHECKOUT, Report, parser

SECONDS_BAR = 5
FORBIDDEN = ("mlflow", "xgboost", "sklearn", "evidently", "bentoml")
LOAD = "import weather_platform.definitions"
SHOWN = 15


def python(code: str, *options: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, with a home of its own."""
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=CHECKOUT,
        env=os.environ | {"WEATHER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )


def load_seconds(home: Path) -> float:
    """Wall seconds of a fresh process that loads the definitions, the interpreter's own start included."""
    start = time.perf_counter()
    python(LOAD, home=home)
    return time.perf_counter() - start


def costly_imports(home: Path) -> list[tuple[float, str]]:
    """Packages by the seconds inside their own modules, dearest first."""
    seconds: dict[str, float] = {}
    for line in python(LOAD, "-X", "importtime", home=home).stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) != 3 or not parts[0].strip().isdigit():
            continue
        package = parts[2].strip().split(".")[0]
        seconds[package] = seconds.get(package, 0.0) + int(parts[0]) / 1e6
    return sorted(((spent, package) for package, spent in seconds.items()), reverse=True)


def main() -> None:
    """Parse, load several times, list."""
    options = parser(__doc__)
    options.add_argument("--times", type=int, default=5)
    chosen = options.parse_args()
    report = Report("loading the code location", chosen.json)
    with tempfile.TemporaryDirectory(prefix="weather-load-") as folder:
        home = Path(folder)
        report.figure("first load", load_seconds(home), "s")
        loads = [load_seconds(home) for _ in range(chosen.times)]
        report.figure("load", statistics.median(loads), "s", at_most=SECONDS_BAR, note=f"fastest {min(loads):.2f} s")
        loaded = python(f"{LOAD}; import sys; print(*sorted(sys.modules))", home=home).stdout.split()
        found = [name for name in FORBIDDEN if name in loaded]
        report.figure("forbidden packages imported", len(found), "", at_most=0, note=" ".join(found))
        report.figure("modules imported", len(loaded), "")
        report.say("\nseconds by package, with the cost of being timed")
        for spent, package in costly_imports(home)[:SHOWN]:
            report.figure(f"import {package}", spent, "s")
    report.close()


if __name__ == "__main__":
    main()
