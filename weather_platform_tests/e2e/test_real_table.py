"""The real table end to end, once: every row kept, and the skill that must not be lost again.

`benchmarks/` measure the exact figures over several seeds; these bars are a little lower: a guard against regressions.
"""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_platform.build import build_definitions
from weather_platform.io_managers.mlflow_models import RUN_ID_KEY
from weather_platform.resources.registry import PRODUCTION
from weather_platform.settings import PROJECT_DIR
from weather_platform_tests.e2e.homes import Done, MadeHome
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import RANGE_END, RANGE_START

DATA = PROJECT_DIR.parent / "shared" / "data" / "weatherAUS_2007_2015.csv.gz"
ROWS = 116_219

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the shared real table is not beside the checkout")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeHome, Done, dict[str, Any]]:
    """One run on the real table, with 2015 as test year; quick parameters, but for what `in_earnest` adds."""
    folder = tmp_path_factory.mktemp("real")
    home = MadeHome(folder / "home", {"WEATHER_HOME": str(folder / "home"), "WEATHER_QUICK": "true"})
    result = folder / "result.json"
    what = ("--source", "csv", "--path", str(DATA), "--year", "2015", "--target", TARGET)
    done = home.run("run", *what, "--json", str(result))
    assert done.code == 0, done.err
    return home, done, json.loads(result.read_text())


@pytest.fixture(scope="module")
def in_earnest(real: tuple[MadeHome, Done, dict[str, Any]]) -> Mapping[str, float]:
    """The metrics of XGBoost on 2015 with the parameters that are not quick, on the features of that run."""
    home, asset = real[0], dg.AssetKey([TARGET, "xgboost"])
    settings = home.settings.model_copy(update={"quick": False})
    with home.dagster() as instance:
        result = build_definitions(settings).resolve_job_def("learn").execute_in_process(
            instance=instance, asset_selection=[asset], tags={RANGE_START: "2015", RANGE_END: "2015"}
        )  # fmt: skip
        [event] = result.get_asset_materialization_events()
    run_id = str(event.materialization.metadata[RUN_ID_KEY].value)
    return home.registry.reference(run_id).metrics


def test_every_row_of_the_real_table_is_clean(real: tuple[MadeHome, Done, dict[str, Any]]) -> None:
    home, _, result = real
    assert result["source"] == "csv"
    assert result["rows"] == {"raw": ROWS, "clean": ROWS, "quarantined": 0}
    months = home.lake.row_counts("raw_observations", "month")
    assert {month for month, rows in months.items() if not rows} == {"2011-04", "2012-12", "2013-02"}
    assert sum(home.lake.row_counts("features", "year").values()) == ROWS


@pytest.mark.parametrize(
    ("metric", "at_least", "at_most"),
    [("roc_auc", 0.915, 1), ("f1", 0.685, 1), ("pr_auc", 0.77, 1), ("brier", 0, 0.090), ("ece", 0, 0.02)],
)
def test_the_skill_on_2015_is_not_lost(
    in_earnest: Mapping[str, float], metric: str, at_least: float, at_most: float
) -> None:
    assert at_least <= in_earnest[f"test_{metric}"] <= at_most, in_earnest


def test_the_model_of_2015_was_tuned_on_nothing_of_2015(real: tuple[MadeHome, Done, dict[str, Any]]) -> None:
    model = real[0].registry.production(TARGET)
    assert (model.tuned_through, model.tested_through) == (date(2014, 12, 30), date(2015, 12, 31))


def test_the_model_is_promoted_and_forecasts_the_newest_days(real: tuple[MadeHome, Done, dict[str, Any]]) -> None:
    home, done, result = real
    assert result["targets"][TARGET]["promotion"]["decision"] == "DEPLOY"
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1}
    newest = home.database.forecasts(TARGET, date(2015, 12, 31), date(2015, 12, 31))
    assert newest.num_rows > 40
    assert "synthetic" not in done.out


@pytest.mark.parametrize("noise", ["terminate called", "Traceback", "Warning", "Exception ignored"])
def test_the_run_on_the_real_table_leaves_no_noise(real: tuple[MadeHome, Done, dict[str, Any]], noise: str) -> None:
    assert noise not in real[1].err + real[1].out


def test_the_whole_run_stays_small_in_memory(real: tuple[MadeHome, Done, dict[str, Any]]) -> None:
    assert real[2]["peak_rss_mb"] < 3_000


def test_the_real_table_is_asked_for_as_people_write_a_station(real: tuple[MadeHome, Done, dict[str, Any]]) -> None:
    done = real[0].call("forecast", "--station", "sydney", "--target", TARGET)
    assert done.code == 0, done.err
    assert "Sydney " in done.out
    assert Path(real[0].folder / "weather.env").read_text().count(str(DATA)) == 1
