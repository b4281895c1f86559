"""The forecasts asset: what is stored of a range of days, and what happens when the days are made again."""

from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.assets.forecasts import after_the_fact
from weather_platform.errors import InvariantError
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.e2e.test_outages import part
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import RANGE_END, RANGE_START, evaluations, forecast_table

NEWEST = date(2015, 6, 30)
DAYS = [NEWEST - timedelta(days=back) for back in range(3)][::-1]


def without_report(home: MadeHome, station: str, day: date) -> None:
    """Take one clean row back, and everything made of it, as a corrected file would."""
    gone = (pc.field("station") == station) & (pc.field("day") == day)
    for table in ("observations", "features"):
        rows = home.lake.snapshot(table).read(keys=["2015"])
        home.lake.replace_partition(table, "year", "2015", rows.filter(~gone))


def run_of(home: MadeHome, job: str, first: str, last: str) -> dg.ExecuteInProcessResult:
    """The forecasts of a target over a range of days, with their checks, as a single-run backfill makes them."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with home.dagster() as instance:
        return home.graph.resolve_job_def(job).execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey([TARGET, "forecasts"])], run_config=quiet,
            tags={RANGE_START: first, RANGE_END: last}, raise_on_error=False,
        )  # fmt: skip


def stored(home: MadeHome, day: date) -> pa.Table:
    return home.database.forecasts(TARGET, day, day)


def test_a_report_that_was_taken_back_takes_its_forecast_with_it_and_no_other(home: MadeHome) -> None:
    before, neighbour = stored(home, NEWEST), stored(home, DAYS[1])
    station = before["station"][0].as_py()
    without_report(home, station, NEWEST)
    assert part(home, "forecast", NEWEST.isoformat(), "forecasts") == ""
    assert set(stored(home, NEWEST)["station"].to_pylist()) == set(before["station"].to_pylist()) - {station}
    assert stored(home, DAYS[1]).equals(neighbour), "a day that was not asked for stays as it is"


def test_a_day_made_again_is_the_same_but_for_who_made_it_and_when(home: MadeHome) -> None:
    before = stored(home, NEWEST)
    assert part(home, "forecast", NEWEST.isoformat(), "forecasts") == ""
    after = stored(home, NEWEST)
    made = ["issued_at", "dagster_run_id"]
    assert after.drop_columns(made).equals(before.drop_columns(made))
    assert set(after["dagster_run_id"].to_pylist()).isdisjoint(before["dagster_run_id"].to_pylist())


def test_the_newest_day_describes_every_column(home: MadeHome) -> None:
    result = run_of(home, "forecast", DAYS[0].isoformat(), NEWEST.isoformat())
    [newest] = (made for made in result.asset_materializations_for_node(f"{TARGET}__forecasts")
                if made.partition == NEWEST.isoformat())  # fmt: skip
    schema = newest.metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    assert [column.name for column in schema.columns if not column.description] == []


def test_a_day_on_which_nobody_reported_stores_nothing_and_is_no_failure(home: MadeHome) -> None:
    for station in set(stored(home, NEWEST)["station"].to_pylist()):
        without_report(home, station, NEWEST)
    assert part(home, "forecast", NEWEST.isoformat(), "forecasts") == ""
    assert stored(home, NEWEST).num_rows == 0


@pytest.mark.parametrize(
    ("start", "end"), [("2011-12-30", "2012-01-02"), ("2007-11-01", "2007-11-02"), ("2016-01-01", "")]
)
def test_days_of_years_without_features_are_passed_over_with_a_reason(home: MadeHome, start: str, end: str) -> None:
    before = stored(home, NEWEST)
    result = run_of(home, "forecast", start, end or start)
    assert result.success
    told = {
        str(each.partition): each.metadata for each in result.asset_materializations_for_node(f"{TARGET}__forecasts")
    }
    outside = {day for day in told if not "2012" <= day < "2016"}
    assert outside
    for day in outside:
        assert str(told[day]["reason"].value) == f"{day} is passed over: features holds 2012 to 2015"
        assert "rows" not in told[day], "what is passed over must not look like an empty success"
        assert stored(home, date.fromisoformat(day)).num_rows == 0
    assert all(int(str(told[day]["rows"].value)) > 0 for day in told.keys() - outside)
    assert evaluations(result)["some_station_reported"].passed
    assert stored(home, NEWEST).equals(before)


def test_a_day_that_is_observed_and_has_no_features_fails_the_blocking_check(home: MadeHome) -> None:
    rows = home.lake.snapshot("observations").read(keys=["2015"]).slice(0, 1)
    day = pa.array([date(2016, 1, 1)])
    moved = rows.set_column(rows.schema.get_field_index("day"), rows.schema.field("day"), day)
    moved = moved.set_column(moved.schema.get_field_index("year"), moved.schema.field("year"), pa.array(["2016"]))
    home.lake.replace_partition("observations", "year", "2016", moved)
    result = run_of(home, "forecast", "2016-01-01", "2016-01-01")
    assert not evaluations(result)["a_forecast_per_report"].passed


def test_without_a_production_model_nothing_is_forecast_and_the_remedy_is_told(home: MadeHome) -> None:
    mlflow_client(mlflow_tracking_uri(home.settings)).delete_registered_model_alias(TARGET, "Production")
    before = stored(home, NEWEST)
    said = part(home, "forecast", NEWEST.isoformat(), "forecasts")
    assert "rain_tomorrow has no Production model; materialise rain_tomorrow/production first" in said
    assert stored(home, NEWEST).equals(before)


@pytest.mark.parametrize(
    "stranger", [{"target": "snow"}, {"model_version": 2}, {"day": DAYS[0] - timedelta(days=1)}, {"day": date.max}]
)
def test_forecasts_of_something_else_are_refused_whole(home: MadeHome, stranger: dict[str, object]) -> None:
    before = stored(home, NEWEST)
    mine = [{"day": day, "station": "Albury"} for day in DAYS]
    rows = forecast_table([*mine, {"day": DAYS[0], "station": "Perth"} | stranger])
    with pytest.raises(InvariantError, match="is not of rain_tomorrow version 1, 2015-06-28 to 2015-06-30"):
        home.database.replace_forecasts(TARGET, 1, DAYS[0], DAYS[-1], rows)
    assert stored(home, NEWEST).equals(before)


def issued(station: str, probability: float, *, run: str, kind: str = "live") -> dict[str, Any]:
    """One forecast of the newest day."""
    return {"day": DAYS[-1], "station": station, "probability": probability, "kind": kind, "dagster_run_id": run}


@pytest.mark.parametrize(("answered", "told"), [
    (True, {"Albury": ("live", "first"), "Sydney": ("hindcast", "second"), "Cairns": ("hindcast", "second")}),
    (False, {"Albury": ("live", "second"), "Sydney": ("live", "second"), "Cairns": ("live", "second")}),
])  # fmt: skip
def test_a_forecast_that_changes_when_its_answer_is_known_is_a_hindcast(
    answered: bool, told: dict[str, tuple[str, str]]
) -> None:
    before = forecast_table([issued("Albury", 0.2, run="first"), issued("Sydney", 0.4, run="first")])
    again = forecast_table(
        [issued("Albury", 0.2, run="second"), issued("Sydney", 0.5, run="second"), issued("Cairns", 0.9, run="second")]
    )
    after = after_the_fact(again, before, np.full(3, answered))
    assert after.schema.equals(again.schema)
    assert {row["station"]: (row["kind"], row["dagster_run_id"]) for row in after.to_pylist()} == told


def test_the_first_forecast_of_a_day_is_live_however_late_it_comes() -> None:
    first = forecast_table([issued("Albury", 0.2, run="first")])
    assert after_the_fact(first, first.slice(0, 0), np.array([True])).equals(first)
