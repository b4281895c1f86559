"""A third target takes one declaration: the one on the how-to page, put into a copy of the package."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.settings import PROJECT_DIR
from weather_platform_tests.e2e.homes import SMALL, clean_environment

PAGE = (PROJECT_DIR / "docs" / "how-to" / "add-a-target.md").read_text(encoding="utf-8")
END_OF_TARGETS = '        )\n    }\n)\n"""All targets by name."""'
TARGET = "min_temp_tomorrow"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with the declaration of the page in its registry, and nothing else changed."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in ("weather_platform", "dbt_project"):
        shutil.copytree(PROJECT_DIR / part, folder / part)
    shutil.copy(PROJECT_DIR / "dagster.yaml", folder)
    [block] = re.findall(r"```python\n(.*?) *```", PAGE, flags=re.DOTALL)
    registry = folder / "weather_platform" / "domain" / "targets.py"
    before = registry.read_text(encoding="utf-8")
    assert before.count(END_OF_TARGETS) == 1
    declared = textwrap.indent(textwrap.dedent(block).rstrip() + ",\n", " " * 12) + END_OF_TARGETS
    registry.write_text(before.replace(END_OF_TARGETS, declared), encoding="utf-8")
    return folder


def weather(checkout: Path, *commands: list[str]) -> str:
    """What commands of the copy print, one after the other in one process."""
    program = """
import json, sys
from weather_platform.cli import main

for command in json.loads(sys.argv[1]):
    sys.argv = ["weather", *command]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)],
        cwd=checkout, capture_output=True, text=True, timeout=500, check=False,
        env=clean_environment() | dict(SMALL) | {"WEATHER_HOME": str(checkout / "home"), "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return str(done.stdout)


def test_one_declaration_makes_a_target_from_its_split_to_its_forecasts(checkout: Path) -> None:
    run = ["run", "--source", "synthetic", "--target", TARGET, "--json", "result.json"]
    said, _, listed = weather(checkout, run, ["models"]).partition("Dagster runs; ")
    result = json.loads((checkout / "result.json").read_text(encoding="utf-8"))
    [(name, learned)] = result["targets"].items()
    assert name == TARGET
    [measured] = learned["years"].values()
    assert set(measured) == {name for name, algorithm in ALGORITHMS.items() if "regression" in algorithm.tasks}
    assert all(metrics["r2"] > 0.3 for metrics in measured.values())
    assert learned["promotion"]["decision"] == "DEPLOY"
    assert "Minimum temperature tomorrow" in said
    assert TARGET in listed
