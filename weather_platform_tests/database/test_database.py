"""The application database on both dialects: what it keeps and refuses, and what several processes may do."""

import os
import signal
import time
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.exc import DBAPIError

from weather_platform.database import FORECASTS_SCHEMA, AliasChange, Database, PromotionRecord
from weather_platform.database.models import Base
from weather_platform.database.store import newest_revision
from weather_platform.domain.leaderboard import Entry
from weather_platform.domain.promotion import Verdict
from weather_platform.errors import InvariantError, SettingsError, WeatherError
from weather_platform_tests.processes import exit_code, race

NOON = datetime(2015, 6, 1, 2, 0, 0, 123456, tzinfo=UTC)


def forecast(**changes: Any) -> dict[str, Any]:
    row = {
        "target": "rain_tomorrow",
        "station": "Hobart",
        "day": date(2015, 6, 1),
        "model_version": 3,
        "kind": "live",
        "model_digest": "a" * 64,
        "feature_version": "1",
        "probability": 0.1 + 0.2,
        "threshold": 0.45,
        "label": False,
        "value": None,
        "value_low": None,
        "value_high": None,
        "issued_at": NOON,
        "dagster_run_id": "run-1",
    }
    return row | changes


def value_forecast(**changes: Any) -> dict[str, Any]:
    """A forecast of a quantity: a value with its interval in the place of the probability."""
    row = forecast(target="max_temp_tomorrow", probability=None, threshold=None, label=None)
    return row | {"value": 21.4, "value_low": 18.9, "value_high": 24.6} | changes


def forecasts(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=FORECASTS_SCHEMA)


def keep(database: Database, rows: pa.Table) -> int:
    """Write forecasts of one target and version as its asset would: all days from the first to the last of them."""
    days = rows["day"].to_pylist()
    target, version = rows["target"][0].as_py(), rows["model_version"][0].as_py()
    return database.replace_forecasts(target, version, min(days), max(days), rows)


def decision(**changes: Any) -> PromotionRecord:
    values: dict[str, Any] = {
        "target": "rain_tomorrow",
        "year": 2015,
        "decision": Verdict.DEPLOY,
        "reasons": ("floor met", "both baselines beaten"),
        "challenger_version": 3,
        "challenger_run_id": "r3",
        "challenger_digest": "c" * 64,
        "champion_version": None,
        "champion_digest": None,
        "evidence": {"f1": 0.7, "rows": 10, "weeks": [1, 2], "champion": None},
        "dagster_run_id": "run-1",
        "decided_at": NOON,
    }
    return PromotionRecord(**(values | changes))


def change(**changes: Any) -> AliasChange:
    values: dict[str, Any] = {
        "target": "rain_tomorrow",
        "alias": "Production",
        "from_version": None,
        "to_version": 3,
        "digest": "c" * 64,
        "decision_id": None,
        "reason": "DEPLOY",
        "dagster_run_id": "run-1",
        "changed_at": NOON,
    }
    return AliasChange(**(values | changes))


# ---------------------------------------------------------------- tables and migrations


def test_the_migrations_make_exactly_the_tables_of_the_models(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_table_that_differs_from_its_model_is_noticed(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX ix_forecasts_target_day"))
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) != []


def migrate(start: Barrier, url: str) -> None:
    start.wait(60)
    Database(url).migrate()


def test_four_processes_that_migrate_at_once_all_succeed(empty_url: str) -> None:
    race(*((migrate, empty_url) for _ in range(4)))
    assert Database(empty_url).decisions("rain_tomorrow") == []


def test_the_newest_migration_is_the_one_that_alembic_finds(database: Database) -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "weather_platform:database/migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == newest_revision()
    with database.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == newest_revision()


def test_migrating_tables_of_this_version_waits_for_nobody_who_writes(database: Database) -> None:
    with database.locked("rain_tomorrow"):
        Database(database.engine.url.render_as_string(hide_password=False)).migrate()


def test_migrating_twice_keeps_what_is_there(database: Database) -> None:
    keep(database, forecasts(forecast()))
    database.migrate()
    assert database.forecasts("rain_tomorrow", date(2015, 6, 1), date(2015, 6, 1)).num_rows == 1


def test_forecasts_made_before_there_were_values_are_kept_as_they_were(empty_url: str) -> None:
    from alembic import command
    from alembic.config import Config

    database = Database(empty_url)
    config = Config()
    config.set_main_option("script_location", "weather_platform:database/migrations")
    old = {name: cell for name, cell in forecast().items() if not name.startswith("value")}
    with database.engine.execution_options(weather_writing=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        names = ", ".join(old)
        connection.execute(
            sa.text(f"INSERT INTO forecasts ({names}) VALUES (:{', :'.join(old)})"),  # noqa: S608
            old | {"issued_at": "2015-06-01 02:00:00.123456"},
        )
    database.migrate()
    assert database.forecasts("rain_tomorrow", date(2015, 6, 1), date(2015, 6, 1)).num_rows == 1
    database.close()


def test_a_database_of_a_newer_version_is_left_alone(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(WeatherError, match="was migrated by another version"):
        database.migrate()


def test_a_database_without_tables_says_how_to_make_them(empty_url: str) -> None:
    with pytest.raises(WeatherError, match="migrate"):
        Database(empty_url).decisions("rain_tomorrow")


# ---------------------------------------------------------------- forecasts


def test_a_forecast_comes_back_bit_for_bit(database: Database) -> None:
    keep(database, forecasts(forecast(probability=0.1 + 0.2)))
    given = database.forecasts("rain_tomorrow", date(2015, 6, 1), date(2015, 6, 1))
    assert given.schema.equals(FORECASTS_SCHEMA)
    assert given.to_pylist() == [forecast()]
    keep(database, forecasts(value_forecast(value=0.1 + 0.2, value_low=-0.0, value_high=1 / 3)))
    (stored,) = database.forecasts("max_temp_tomorrow", date(2015, 6, 1), date(2015, 6, 1)).to_pylist()
    assert stored == value_forecast(value=0.1 + 0.2, value_low=-0.0, value_high=1 / 3)


def test_no_forecasts_are_an_empty_table_with_all_columns(database: Database) -> None:
    given = database.forecasts("rain_tomorrow", date(2015, 6, 1), date(2015, 6, 1))
    assert (given.num_rows, given.schema) == (0, FORECASTS_SCHEMA)


def test_a_second_forecast_of_the_same_key_replaces_the_first_and_another_version_stands_beside_it(
    database: Database,
) -> None:
    keep(database, forecasts(forecast(probability=0.2)))
    keep(database, forecasts(forecast(probability=0.9, label=True)))
    keep(database, forecasts(forecast(model_version=4)))
    day = date(2015, 6, 1)
    given = database.forecasts("rain_tomorrow", day, day).to_pylist()
    assert [(row["model_version"], row["probability"]) for row in given] == [(3, 0.9), (4, 0.1 + 0.2)]
    assert database.forecasts("rain_tomorrow", day, day, model_version=4).num_rows == 1


def test_forecasts_are_given_by_day_then_station_whatever_order_they_came_in(database: Database) -> None:
    second = date(2015, 6, 2)
    keep(database, forecasts(forecast(day=second, station="A"), forecast(station="B"), forecast(station="A")))
    given = database.forecasts("rain_tomorrow", date(2015, 6, 1), second).to_pylist()
    assert [(row["day"].day, row["station"]) for row in given] == [(1, "A"), (1, "B"), (2, "A")]
    assert database.forecasts("rain_tomorrow", second, second).num_rows == 1
    assert database.forecasts("rain_tomorrow", date(2015, 6, 1), second, station="B").num_rows == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"probability": 1.01}, "probability"),
        ({"probability": -0.01}, "probability"),
        ({"probability": float("nan")}, "NaN"),
        ({"threshold": 1.5}, "threshold"),
        ({"kind": "guess"}, "kind"),
    ],
)
def test_a_batch_with_one_impossible_forecast_is_refused_as_a_whole(
    database: Database, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvariantError, match=says):
        keep(database, forecasts(forecast(), forecast(station="Perth", **wrong)))
    assert database.forecasts("rain_tomorrow", date(2015, 6, 1), date(2015, 6, 1)).num_rows == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"probability": 0.5}, "some of both"),
        ({"value": None}, "neither all of"),
        ({"value_high": None}, "neither all of"),
        ({"value": None, "value_low": None, "value_high": None}, "neither all of"),
        ({"value_low": float("nan")}, "NaN as value_low"),
        ({"value_low": 21.5}, "value"),
        ({"value_high": 21.3}, "value"),
    ],
)
def test_a_value_that_is_also_a_probability_or_lacks_its_interval_is_refused(
    database: Database, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvariantError, match=says):
        keep(database, forecasts(value_forecast(), value_forecast(station="Perth", **wrong)))
    assert database.forecasts("max_temp_tomorrow", date(2015, 6, 1), date(2015, 6, 1)).num_rows == 0


def test_the_database_itself_refuses_half_a_forecast(database: Database) -> None:
    keep(database, forecasts(value_forecast()))
    table = Base.metadata.tables["forecasts"]
    ours = sa.update(table).where(table.c.target == "max_temp_tomorrow")
    for half in ({"value": None}, {"probability": 0.5}, {"value_low": 30.0}):
        with pytest.raises(DBAPIError, match=r"ck_forecasts_(one_kind|value)"), database.engine.begin() as connection:
            connection.execute(ours.values(half))


def test_two_forecasts_of_one_key_in_one_batch_are_refused(database: Database) -> None:
    with pytest.raises(InvariantError, match="same target, station, day and model version"):
        keep(database, forecasts(forecast(), forecast(probability=0.9)))


def test_other_columns_and_missing_values_are_refused_by_name(database: Database) -> None:
    with pytest.raises(InvariantError, match="threshold"):
        keep(database, forecasts(forecast()).drop_columns(["threshold"]))
    nullable = pa.schema([pa.field(f.name, f.type) for f in FORECASTS_SCHEMA])
    with pytest.raises(InvariantError, match="1 forecasts have no model_digest"):
        keep(database, pa.Table.from_pylist([forecast(model_digest=None)], schema=nullable))


def test_a_year_of_all_stations_is_written_whole(database: Database) -> None:
    first = date(2015, 1, 1)
    rows = forecasts(
        *(
            forecast(day=first + timedelta(days=day), station=f"station {station}")
            for day in range(365)
            for station in range(49)
        )
    )
    assert keep(database, rows) == 17_885
    assert database.forecasts("rain_tomorrow", first, date(2015, 12, 31)).num_rows == 17_885


# ---------------------------------------------------------------- decisions and alias changes


def test_decisions_come_back_as_they_were_recorded_in_the_order_they_were_made(database: Database) -> None:
    sydney = datetime(2015, 6, 1, 12, 0, tzinfo=ZoneInfo("Australia/Sydney"))
    first = database.record_decision(decision(decided_at=sydney))
    second = database.record_decision(
        decision(decision=Verdict.SKIP, year=2016, champion_version=3, champion_digest="c" * 64)
    )
    database.record_decision(decision(target="other"))
    assert database.decisions("rain_tomorrow") == [first, second]
    assert database.latest_decision("rain_tomorrow") == second
    assert database.latest_decision("rain_tomorrow", Verdict.DEPLOY) == first
    assert database.latest_decision("rain_tomorrow", Verdict.REJECT) is None


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"f1": float("nan")}, r"evidence\.f1 is nan"),
        ({"a": [1, float("inf")]}, r"evidence\.a\[1\] is inf"),
        ({"when": date(2015, 1, 1)}, r"evidence\.when is a date"),
        ({"a": {2015: 0.5}}, r"evidence\.a has the key 2015, and keys are text"),
    ],
)
def test_evidence_that_is_no_measurement_is_refused(evidence: dict[str, object], said: str) -> None:
    with pytest.raises(InvariantError, match=said):
        decision(evidence=evidence)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(InvariantError, match="time zone"):
        decision(decided_at=datetime(2015, 6, 1, 12, 0))  # noqa: DTZ001


def test_an_alias_change_names_its_decision_and_a_foreign_one_is_refused(database: Database) -> None:
    decided = database.record_decision(decision())
    with database.locked("rain_tomorrow") as ledger:
        recorded = ledger.record_alias_change(change(decision_id=decided.id))
        assert ledger.latest_alias_change("Production") == recorded
        with pytest.raises(InvariantError, match="not the locked target"):
            ledger.record_alias_change(change(target="other"))
    assert database.alias_changes("rain_tomorrow", "Production") == [recorded]
    with pytest.raises(InvariantError), database.locked("rain_tomorrow") as ledger:
        ledger.record_alias_change(change(decision_id=999))
    assert database.alias_changes("rain_tomorrow", "Production") == [recorded]


@pytest.mark.parametrize("table", ["promotion_decisions", "alias_changes"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET target = 'x'", "DELETE FROM {}"])
def test_the_database_refuses_to_change_the_audit(database: Database, table: str, statement: str) -> None:
    database.record_decision(decision())
    with database.locked("rain_tomorrow") as ledger:
        ledger.record_alias_change(change())
    with pytest.raises(DBAPIError, match="append-only"), database.engine.begin() as connection:
        connection.execute(sa.text(statement.format(table)))


def test_the_audit_cannot_be_replaced_or_truncated_either(database: Database) -> None:
    database.record_decision(decision())
    sqlite = database.engine.dialect.name == "sqlite"
    statement = (
        "INSERT OR REPLACE INTO promotion_decisions SELECT * FROM promotion_decisions"
        if sqlite
        else "TRUNCATE promotion_decisions CASCADE"
    )
    with pytest.raises(DBAPIError, match="append-only"), database.engine.begin() as connection:
        connection.execute(sa.text(statement))


# ---------------------------------------------------------------- the lock


def hold_the_lock(start: Barrier, url: str) -> tuple[float, float]:
    """When the process came in and went out."""
    start.wait(60)
    with Database(url).locked("rain_tomorrow"):
        entered = time.time()
        time.sleep(0.3)
        return entered, time.time()


def test_the_lock_of_a_target_keeps_every_other_process_out_until_it_ends(database: Database, url: str) -> None:
    spans = sorted(race(*((hold_the_lock, url) for _ in range(3))))
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


def change_an_alias_and_die(url: str) -> None:
    with Database(url).locked("rain_tomorrow") as ledger:
        ledger.record_alias_change(change(to_version=1))
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_killed_inside_the_lock_frees_it_and_leaves_nothing(database: Database, url: str) -> None:
    assert exit_code(change_an_alias_and_die, url) == -signal.SIGKILL
    with database.locked("rain_tomorrow") as ledger:
        assert ledger.latest_alias_change("Production") is None


def test_what_fails_inside_the_lock_is_rolled_back(database: Database) -> None:
    with pytest.raises(KeyError), database.locked("rain_tomorrow") as ledger:  # noqa: PT012
        ledger.record_alias_change(change())
        raise KeyError("interrupted")
    assert database.alias_changes("rain_tomorrow", "Production") == []


# ---------------------------------------------------------------- addresses and outages


def test_an_unreachable_server_is_one_line_with_the_host_and_without_the_password() -> None:
    database = Database("postgresql://weather:s3cret@127.0.0.1:1/weather")
    started = time.perf_counter()
    with pytest.raises(WeatherError) as raised:
        database.migrate()
    assert time.perf_counter() - started < 10
    message = str(raised.value)
    assert "127.0.0.1:1" in message
    assert "WEATHER_DATABASE_URL" in message
    assert "\n" not in message
    assert "s3cret" not in message + repr(database) + repr(raised.value.__cause__)


@pytest.mark.parametrize("bare", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg2://u@h/d"])
def test_a_bare_postgresql_url_is_taken_for_psycopg2(bare: str) -> None:
    assert Database(bare).engine.dialect.driver == "psycopg2"


@pytest.mark.parametrize(
    "wrong",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://u:s3cret@h/d",
        "postgresql+psycopg://u:s3cret@h/d",
        "s3cret",
        "postgresql://u@h/d?password=s3cret",
        "postgresql://u:s3cret@h/d?sslmode=require&Password=s3cret",
        "sqlite:////srv/a?b/weather.db",
    ],
)
def test_a_database_of_another_kind_is_refused_without_showing_the_password(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"postgresql\+psycopg2://") as raised:
        Database(wrong)
    assert "s3cret" not in str(raised.value)


def test_a_database_is_printed_without_password_and_query() -> None:
    database = Database("postgresql://u:s3cret@h/d?sslmode=require&sslpassword=s3cret")
    assert repr(database) == "Database('postgresql+psycopg2://u:***@h/d')"
    assert database.engine.url.query["sslmode"] == "require"


@pytest.mark.skipif(os.name == "nt", reason="file modes")
def test_a_file_that_is_no_database_is_named(tmp_path: Any) -> None:
    path = tmp_path / "weather.db"
    path.write_bytes(b"this is not a database, only text" * 100)
    with pytest.raises(WeatherError, match=r"weather\.db.*not a database"):
        Database(f"sqlite:///{path}").migrate()


# ---------------------------------------------------------------- the leaderboard


def entry(name: str, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "name": name, "rank": 1, "metric": "f1", "validation": 0.7, "test": 0.1 + 0.2, "test_low": 0.2,
        "test_high": 0.4, "test_rows": 100, "train_seconds": 1.5, "predict_rows_per_second": 1e5,
        "peak_memory_mb": 300.0, "run_id": "r", "digest": "d" * 64,
    }  # fmt: skip
    return Entry(**(values | changes))


BASELINE = entry(
    "climatology", rank=None, validation=None, train_seconds=None, predict_rows_per_second=None, peak_memory_mb=None,
    run_id=None, digest=None,
)  # fmt: skip


def test_a_board_comes_back_by_rank_with_the_baselines_last(database: Database) -> None:
    board = [BASELINE, entry("b", rank=2), entry("a")]
    database.replace_leaderboard("rain_tomorrow", 2015, board, dagster_run_id="run-1", made_at=NOON)
    assert database.leaderboard("rain_tomorrow", 2015) == [board[2], board[1], BASELINE]
    assert database.leaderboard("rain_tomorrow", 2014) == []


def test_a_board_replaces_that_of_its_target_and_year_and_no_other(database: Database) -> None:
    for target, year in (("rain_tomorrow", 2014), ("rain_tomorrow", 2015), ("other", 2015)):
        database.replace_leaderboard(target, year, [entry("a"), BASELINE], dagster_run_id="run-1", made_at=NOON)
    database.replace_leaderboard("rain_tomorrow", 2015, [entry("b")], dagster_run_id="run-2", made_at=NOON)
    assert database.leaderboard("rain_tomorrow", 2015) == [entry("b")]
    assert len(database.leaderboard("rain_tomorrow", 2014)) == len(database.leaderboard("other", 2015)) == 2


def test_a_board_that_is_refused_leaves_the_one_that_was_there(database: Database) -> None:
    database.replace_leaderboard("rain_tomorrow", 2015, [entry("a")], dagster_run_id="run-1", made_at=NOON)
    twice_first = [entry("b"), entry("c")]
    with pytest.raises(InvariantError, match="nothing was written"):
        database.replace_leaderboard("rain_tomorrow", 2015, twice_first, dagster_run_id="run-2", made_at=NOON)
    assert database.leaderboard("rain_tomorrow", 2015) == [entry("a")]


# ---------------------------------------------------------------- aliases that were taken away


def test_an_alias_that_was_taken_away_has_neither_version_nor_digest(database: Database) -> None:
    with database.locked("rain_tomorrow") as ledger:
        ledger.record_alias_change(change())
        ledger.record_alias_change(change(from_version=3, to_version=None, digest=None))
    moves = database.alias_changes("rain_tomorrow", "Production")
    assert [(move.from_version, move.to_version, move.digest) for move in moves] == [
        (None, 3, "c" * 64), (3, None, None),
    ]  # fmt: skip


@pytest.mark.parametrize("half", [{"to_version": None}, {"digest": None}])
def test_half_a_removal_is_refused(half: dict[str, Any]) -> None:
    with pytest.raises(InvariantError, match="a version or a digest, not both"):
        change(**half)


def test_moves_that_were_recorded_before_aliases_could_be_taken_away_stay_and_stay_closed(empty_url: str) -> None:
    old = Database(empty_url)
    config = Config()
    config.set_main_option("script_location", "weather_platform:database/migrations")
    with old.engine.execution_options(weather_writing=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        values = {field.name: getattr(change(), field.name) for field in fields(AliasChange) if field.name != "id"}
        connection.execute(sa.insert(Base.metadata.tables["alias_changes"]).values(values))
    old.migrate()
    [kept] = old.alias_changes("rain_tomorrow", "Production")
    assert kept == change(id=1)
    for statement in ("DELETE FROM alias_changes", "UPDATE alias_changes SET reason = 'another'"):
        with pytest.raises(DBAPIError, match="append-only"), old.engine.begin() as connection:
            connection.execute(sa.text(statement))
    with old.locked("rain_tomorrow") as ledger:
        assert ledger.record_alias_change(change()).id == 2
    old.close()
