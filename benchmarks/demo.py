"""Seconds of `make demo` from a fresh clone: setup and run apart.

    python benchmarks/demo.py [--source REPOSITORY] [--python PYTHON] [--json FILE]

Clones the committed state to a temporary folder, runs `make setup` and then `make demo`, and deletes the folder. The
package cache is as warm as it is: the bars are for a warm one, so run it twice on a new machine.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import CHECKOUT, Report, parser

SETUP_BAR_S, RUN_BAR_S, TOTAL_BAR_S = 90, 60, 180


def seconds_of(*command: str, folder: Path) -> float:
    """Wall seconds of a command that must succeed; its output goes to the terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WEATHER_", "DAGSTER_"))}
    environment.pop("VIRTUAL_ENV", None)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)
    return time.perf_counter() - start


def main() -> None:
    """Parse, clone, set up, run."""
    options = parser(__doc__)
    options.add_argument("--source", default=str(CHECKOUT), help="repository to clone; default: this checkout")
    options.add_argument("--python", default="python3", help="interpreter that makes the environment")
    chosen = options.parse_args()
    report = Report("make demo from a fresh clone", chosen.json)
    folder = Path(tempfile.mkdtemp(prefix="weather-demo-"))
    try:
        clone = folder / "clone"
        cloning = seconds_of("git", "clone", "--quiet", "--no-hardlinks", chosen.source, str(clone), folder=folder)
        setup = seconds_of("make", "setup", f"PYTHON={chosen.python}", folder=clone)
        run = seconds_of("make", "demo", f"PYTHON={chosen.python}", folder=clone)
        report.figure("git clone", cloning, "s")
        report.figure("make setup", setup, "s", at_most=SETUP_BAR_S)
        report.figure("make demo, set up before", run, "s", at_most=RUN_BAR_S)
        report.figure("all together", cloning + setup + run, "s", at_most=TOTAL_BAR_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.close()


if __name__ == "__main__":
    main()
