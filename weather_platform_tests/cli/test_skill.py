"""`weather skill`: months added up by version, state and season, test years, and what to do when there is neither."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from weather_platform.domain.matured import BIAS_SCHEMA
from weather_platform_tests.checks.test_matured_skill import matured, matured_row
from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import MOMENT
from weather_platform_tests.test_skill_plots import boards


@pytest.fixture
def home(tmp_path: Path) -> MadeHome:
    made = empty_home(tmp_path)
    made.database.migrate()
    return made


def store(home: MadeHome, month: str, *rows: dict[str, Any]) -> None:
    found = matured([matured_row(month=month, **row) for row in rows], {})
    home.database.replace_matured_skill(TARGET, month, found, measured_at=MOMENT, dagster_run_id="run-1")


def lines(out: str) -> dict[str, list[str]]:
    """The first line of each name, without its name."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        cells = [cell for cell in line.replace("version ", "version-").split(" ") if cell]
        if cells:
            found.setdefault(cells[0], cells[1:])
    return found


def test_months_are_added_up_by_version_state_and_season(home: MadeHome) -> None:
    store(home, "2015-01", {"squared_error": 0.1, "climatology_squared_error": 0.4})
    store(home, "2015-06", {"squared_error": 0.2, "climatology_squared_error": 0.2, "state": "WA", "model_version": 2})
    store(home, "2015-12", {"squared_error": 0.3, "climatology_squared_error": 0.4})
    done = home.call("skill")
    assert done.code == 0, done.err
    assert "Rain tomorrow: issued 2015-01 to 2015-12" in done.out
    shown = {name: [cells[0], *cells[3:5]] for name, cells in lines(done.out).items() if len(cells) > 4}
    assert shown == shown | {
        "all": ["3", "0.200", "0.400"],
        "version-1": ["2", "0.200", "0.500"],
        "version-2": ["1", "0.200", "0.000"],
        "NSW": ["2", "0.200", "0.500"],
        "WA": ["1", "0.200", "0.000"],
        "summer": ["2", "0.200", "0.500"],
        "winter": ["1", "0.200", "0.000"],
    }
    assert "spring" not in shown
    assert "hindcast" not in done.out


def test_the_live_bias_of_the_newest_month_is_shown_with_the_places_that_it_is_not_chance_at(home: MadeHome) -> None:
    def with_bias(month: str, kind: str, **places: tuple[float, float | None, float | None]) -> None:
        slice_ = {"target": TARGET, "month": month, "model_version": 1, "kind": kind, "rows": 9, "days": 30}
        rows = [
            slice_ | {"scope": "station" if name else "all", "place": name, "bias": bias, "low": low, "high": high}
            for name, (bias, low, high) in places.items()
        ]
        found = replace(matured([matured_row(month=month)], {}), bias=pa.Table.from_pylist(rows, schema=BIAS_SCHEMA))
        home.database.replace_matured_skill(TARGET, month, found, measured_at=MOMENT, dagster_run_id="run-1")

    with_bias("2015-05", "live", **{"": (0.9, 0.8, 1.0)})
    with_bias("2015-07", "hindcast", **{"": (0.7, 0.6, 0.8)})
    places = {"": (0.02, -0.01, 0.05), "Sale": (0.2, 0.1, 0.3), "Perth": (0.1, -0.1, 0.3), "Albury": (0.4, None, None)}
    with_bias("2015-06", "live", **places)
    out = home.call("skill", "--target", TARGET).out
    said = out[out.index("live bias") :].splitlines()
    assert said[1:3] == [
        "  version 1, 2015-06: +0.020 (-0.010 to +0.050) over 30 days",
        "    not 0 at Sale +0.200 (+0.100 to +0.300)",
    ]


def test_hindcasts_stand_in_a_table_of_their_own_that_says_what_they_are(home: MadeHome) -> None:
    store(home, "2015-06", {"squared_error": 0.2}, {"squared_error": 0.7, "kind": "hindcast"})
    done = home.call("skill", "--target", TARGET)
    live, hindcast = done.out.split("hindcast: days of the models' own data, which say nothing about skill")
    assert lines(live)["all"][3] == "0.200"
    assert lines(hindcast)["all"][3] == "0.700"


def with_boards(home: MadeHome) -> None:
    for year, entries in boards().items():
        home.database.replace_leaderboard(
            TARGET,
            year,
            [replace(entry, run_id="r" if entry.rank else None) for entry in entries],
            dagster_run_id="run-1",
            made_at=MOMENT,
        )


def test_where_nothing_was_learned_it_refuses(home: MadeHome) -> None:
    done = home.call("skill")
    assert (done.code, done.out) == (1, "")
    assert "nothing of rain_tomorrow, max_temp_tomorrow was learned or forecast yet; `weather run`" in done.err


def test_test_years_are_shown_although_no_forecast_has_matured(home: MadeHome) -> None:
    with_boards(home)
    done = home.call("skill")
    assert done.code == 0, done.err
    assert f"{TARGET}: no forecast was held against what happened yet; `weather watch --month" in done.out
    store(home, "2015-06", {"forecasts": 7, "matured": 0, "pending": 7})
    assert "(7 pending)" in home.call("skill").out


def test_an_unknown_target_is_a_wrong_use(home: MadeHome) -> None:
    assert home.call("skill", "--target", "snow").code == 2


def test_test_years_stand_side_by_side_with_the_challenger_marked(home: MadeHome) -> None:
    with_boards(home)
    out = home.call("skill").out
    assert lines(out)["xgboost"] == ["0.700*", "±0.020"] * 3
    assert lines(out)["decision_tree"] == ["0.600", "±0.050"] * 3
    assert lines(out)["climatology"] == ["(baseline)", "0.300", "0.300", "0.300"]
    assert "2013" in out
