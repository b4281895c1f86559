"""Matured skill in the database: a month at a time, all of it or nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from weather_platform.database import Database
from weather_platform.domain.matured import BIAS_SCHEMA, Matured
from weather_platform.errors import InvariantError, WeatherError
from weather_platform_tests.checks.test_matured_skill import matured, matured_row
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import MOMENT


def store(database: Database, rows: Matured, month: str = "2015-06") -> None:
    database.replace_matured_skill(TARGET, month, rows, measured_at=MOMENT, dagster_run_id="run-1")


def cells(rows: Matured, **changes: Any) -> Matured:
    def changed(table: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([row | changes for row in table.to_pylist()], schema=table.schema)

    return Matured(changed(rows.skill), changed(rows.reliability), changed(rows.bias))


BIAS = [
    {"scope": "all", "place": "", "rows": 3, "days": 2, "bias": 0.1 + 0.2, "low": 0.1, "high": 0.5},
    {"scope": "station", "place": "Albury", "rows": 1, "days": 1, "bias": -0.5, "low": None, "high": None},
]
OF_JUNE = {"target": TARGET, "month": "2015-06", "model_version": 1, "kind": "live"}
JUNE = replace(
    matured([matured_row(), matured_row(state="WA"), matured_row(kind="hindcast")], {4: 1, 9: 2}),
    bias=pa.Table.from_pylist([OF_JUNE | row for row in BIAS], schema=BIAS_SCHEMA),
)
JULY = cells(JUNE, month="2015-07")


def stored(database: Database) -> dict[str, int]:
    rows = database.matured_skill(TARGET)
    assert set(rows.skill["month"].to_pylist()) == set(rows.reliability["month"].to_pylist())
    months: list[str] = rows.skill["month"].to_pylist()
    return {month: months.count(month) for month in sorted(set(months))}


def test_a_month_comes_back_bit_for_bit_in_the_order_of_its_keys(database: Database) -> None:
    store(database, JUNE)
    found = database.matured_skill(TARGET)
    assert found.skill.sort_by("kind").to_pylist() == JUNE.skill.sort_by([("kind", "ascending")]).to_pylist()
    assert found.reliability.equals(JUNE.reliability)
    assert found.bias.equals(JUNE.bias)


def test_a_month_that_is_made_again_replaces_itself_and_no_other(database: Database) -> None:
    store(database, JUNE)
    store(database, JULY, "2015-07")
    store(database, matured([matured_row(state="TAS")], {3: 1}))
    assert stored(database) == {"2015-06": 1, "2015-07": 3}
    assert set(database.matured_skill(TARGET).bias["month"].to_pylist()) == {"2015-07"}, "the bias is replaced, too"
    store(database, matured([], {}), "2015-07")
    assert stored(database) == {"2015-06": 1}


def test_months_are_read_by_their_range(database: Database) -> None:
    store(database, JUNE)
    store(database, JULY, "2015-07")
    assert set(database.matured_skill(TARGET, "2015-07", "2015-12").skill["month"].to_pylist()) == {"2015-07"}
    assert database.matured_skill("other").skill.num_rows == 0


@pytest.mark.parametrize("stranger", [{"target": "other"}, {"month": "2015-07"}])
def test_rows_of_something_else_are_refused(database: Database, stranger: Mapping[str, str]) -> None:
    store(database, JUNE)
    with pytest.raises(InvariantError, match="is not of rain_tomorrow 2015-06"):
        store(database, cells(JUNE, **stranger))
    assert stored(database) == {"2015-06": 3}


def test_counts_that_do_not_add_up_are_refused_and_what_was_there_stays(database: Database) -> None:
    store(database, JUNE)
    with pytest.raises(InvariantError, match="nothing was written"):
        store(database, cells(JUNE, forecasts=99))
    assert stored(database) == {"2015-06": 3}


def test_an_outage_between_the_two_tables_leaves_the_former_month(database: Database) -> None:
    store(database, JUNE)
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE matured_reliability RENAME TO away"))
    with pytest.raises(WeatherError, match="matured_reliability"):
        store(database, matured([matured_row(state="TAS")], {3: 1}))
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO matured_reliability"))
    assert stored(database) == {"2015-06": 3}
