"""One idle tick of the sensor `new_observations` over a folder of many files that have not changed.

    python benchmarks/sensor_idle.py [--files 10000] [--times 5] [--json FILE]

The folder, the settings and the sensor are the product's own; the cursor says that this stamp was acted on.
"""

import statistics
import tempfile
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import dagster as dg
from common import Report, parser

from weather_platform.automation.sensors import Seen, observation_sensors
from weather_platform.code_version import DISTRIBUTION
from weather_platform.resources.source import open_source
from weather_platform.settings import load_settings

SECONDS_BAR = 1.0


def main() -> None:
    """Time the ticks."""
    options = parser(__doc__)
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--times", type=int, default=5)
    chosen = options.parse_args()
    report = Report(f"an idle tick over {chosen.files:,} files", chosen.json)
    with tempfile.TemporaryDirectory(prefix="weather-idle-") as scratch, dg.DagsterInstance.ephemeral() as instance:
        folder = Path(scratch, "observations")
        folder.mkdir()
        for number in range(chosen.files):
            Path(folder, f"{number:06}.csv").write_text("Date,Location\n", encoding="utf-8")
        settings = load_settings(home=Path(scratch, "home"), source="csv", csv_path=folder)
        with closing(open_source(settings, settings.now())) as source:
            seen = Seen(stamp=source.stamp(), code=version(DISTRIBUTION))
        [sensor] = observation_sensors(settings, dg.DefaultSensorStatus.RUNNING)
        seconds = []
        for _ in range(chosen.times):
            started = time.perf_counter()
            sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=seen.model_dump_json()))
            seconds.append(time.perf_counter() - started)
        report.figure("idle tick", statistics.median(seconds), "s", at_most=SECONDS_BAR, note=f"of {len(seconds)}")
    report.close()


if __name__ == "__main__":
    main()
