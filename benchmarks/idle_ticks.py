"""What the automation costs while nothing happens: processor time of a round of all triggers, and memory over many.

    python benchmarks/idle_ticks.py HOME [--rounds 2000]

A round is one look of every sensor and of the conditions at a home in which nothing is behind, in one process as the
code location keeps it. HOME is not changed: a copy is looked at.
"""

import argparse
import logging
import os
import shutil
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import psutil


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--rounds", type=int, default=2000)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(asked.home, home)
        measure(home, asked.rounds)


def measure(home: Path, rounds: int) -> None:
    """Look so many times, and print medians and the memory at ten moments."""
    import dagster as dg

    from weather_platform.build import build_definitions
    from weather_platform.cli.home import open_instance
    from weather_platform.settings import load_settings

    settings = load_settings(home=home)
    definitions = build_definitions(settings)
    repository = definitions.get_repository_def()
    resources = {name: (definitions.resources or {})[name] for name in ("source", "database", "registry")}
    cursors: dict[str, str | None] = {}
    process, spent, asked_for = psutil.Process(), [], 0
    # What a folder of csv files is asked first, once it has changed, waits a second for its writers: no processor time.
    with open_instance(settings) as instance:
        for at in range(rounds):
            started = time.process_time()
            for sensor in repository.sensor_defs:
                with dg.build_sensor_context(
                    instance,
                    cursor=cursors.get(sensor.name),
                    repository_def=repository,
                    sensor_name=sensor.name,
                    resources={name: resources[name] for name in sensor.required_resource_keys if name in resources},
                ) as context:
                    ticked = sensor.evaluate_tick(context)
                cursors[sensor.name] = ticked.cursor or cursors.get(sensor.name)
                asked_for += len(ticked.run_requests or ())
            spent.append(time.process_time() - started)
            if at % max(rounds // 10, 1) == 0 or at == rounds - 1:
                print(f"round {at:5}: {process.memory_info().rss / 2**20:7.1f} MiB", flush=True)
    settled = spent[len(spent) // 10 :]
    print(f"{len(repository.sensor_defs)} sensors, {asked_for} runs asked for in all rounds, process {os.getpid()}")
    print(f"processor time of a round: median {statistics.median(settled):.3f} s, most {max(settled):.3f} s")


if __name__ == "__main__":
    main()
