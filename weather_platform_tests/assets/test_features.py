"""The features of a year as an asset: what they know of the year before."""

from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa

from weather_platform.domain.observations import OBSERVATIONS_SCHEMA
from weather_platform_tests.stages import Home, observation


def test_a_new_year_remembers_the_rain_of_the_old_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.know_stations()
    for year, days in (
        ("2015", [(date(2015, 12, 20), 5.0), (date(2015, 12, 31), 0.0)]),
        ("2016", [(date(2016, 1, 2), 0.0)]),
    ):
        rows = [observation(year, day, "Albury") | {"rainfall_mm": rain} for day, rain in days]
        table = pa.Table.from_pylist(rows, schema=OBSERVATIONS_SCHEMA)
        home.lake.replace_partition("observations", "year", year, table)
    home.run(dg.AssetSelection.assets("features"), "2016", raise_on_error=True)
    assert home.lake.read("features", columns=["days_since_rain"]).to_pylist() == [{"days_since_rain": 13.0}]
