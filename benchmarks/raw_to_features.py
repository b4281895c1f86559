"""Work inside the assets from raw rows to features on the real table, run after run.

    python benchmarks/raw_to_features.py [--runs 5] [--path FILE] [--json FILE]

Without --path it looks for the real table beside the checkout and else uses synthetic weather. Each run is the
product's own `ingest` and `process` on a fresh temporary home, in a process of its own. Work inside an asset is its
step without what Dagster records of it. Counted apart, before the clock starts: importing dbt and a first cleaning of
no rows; a later call of dbt begins with what it parsed then, and the seconds that a second cleaning of no rows still
takes are taken off.

A machine that others use is not as fast in one minute as in the next, so each run says how long a loop of plain Python
took just before it.
"""

import shutil
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from common import REAL_TABLE, Report, Timed, alone, parser
from graph_overhead import dbt_start_up, recorded_in, settings_of

STEPS = ("stations", "raw_observations", "clean_observations", "features")
BAR_S = 4.0


def measure(path: Path | None) -> dict[str, float]:
    """Seconds inside each asset, of dbt's start, and of a loop of plain Python."""
    from dagster import DagsterInstance
    from rich.console import Console

    from weather_platform.automation.plan import plan_runs
    from weather_platform.build import build_definitions
    from weather_platform.cli.home import open_instance
    from weather_platform.cli.runs import execute
    from weather_platform.resources.source import open_source

    home = Path(tempfile.mkdtemp(prefix="weather-raw-to-features-"))
    try:
        settings = settings_of(home, path)
        with closing(open_source(settings, settings.now())) as source:
            runs = [run for run in plan_runs(source.coverage(), [], 1) if run.job in ("ingest", "process")]
        definitions = build_definitions(settings)
        recording = Timed(DagsterInstance, "handle_new_event", recorded_in)
        found = {"dbt": dbt_start_up(settings)["dbt_again"], "loop": _loop()}
        with open_instance(settings) as instance:
            for run in runs:
                result = execute(definitions, instance, run, Console(quiet=True), targets=())
                found |= {step: seconds for step, seconds in result.step_seconds.items() if step in STEPS}
        return found | {step: found[step] - recording.by_label[step] for step in STEPS}
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _loop() -> float:
    start = time.perf_counter()
    total = 0
    for number in range(10_000_000):
        total += number
    return time.perf_counter() - start


def main() -> None:
    """Parse, measure run after run, print."""
    options = parser(__doc__)
    options.add_argument("--path", type=Path, help="table of the csv source; default: the real one beside the checkout")
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    path = chosen.path or (REAL_TABLE if REAL_TABLE.exists() else None)
    report = Report(f"raw to features inside the assets, {path.name if path else 'synthetic weather'}", chosen.json)
    totals = []
    for number in range(1, chosen.runs + 1):
        found = alone(measure, path)
        totals.append(sum(found[step] for step in STEPS) - found["dbt"])
        steps = ", ".join(f"{step} {found[step]:.2f}" for step in STEPS[1:])
        note = f"loop {found['loop']:.2f} s; {steps}, dbt's start {found['dbt']:.2f} taken off"
        report.figure(f"run {number}", totals[-1], "s", note=note)
    report.figure("median", statistics.median(totals), "s", at_most=BAR_S)
    report.figure("quickest", min(totals), "s")
    report.figure("slowest", max(totals), "s")
    report.close()


if __name__ == "__main__":
    main()
