"""A report is two files and the row that names them, and whatever fails, a month has a whole report or none."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import dagster as dg
import pytest
import sqlalchemy as sa

from weather_platform.database import Database, DriftRecord
from weather_platform.errors import InvariantError, PartitionMissingError, ReportError, WeatherError
from weather_platform.io_managers.reports import ReportIOManager, publish
from weather_platform.resources.reports import ReportStore
from weather_platform_tests.databases import migrated
from weather_platform_tests.drift_reports import MONTH, drift_report, measured_report
from weather_platform_tests.lake.writers import serve_s3
from weather_platform_tests.processes import FORKS

SECRET = "not-to-be-shown-5Kq"  # noqa: S105


class Server:
    """An S3 server in a process of its own, that can be stopped, and a store in a bucket of it."""

    def __init__(self) -> None:
        ports = FORKS.Queue()
        self._process = FORKS.Process(target=serve_s3, args=(ports,), daemon=True)
        self._process.start()
        address = f"http://127.0.0.1:{ports.get(timeout=240)}"
        boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="id", aws_secret_access_key=SECRET, region_name="us-east-1"
        ).create_bucket(Bucket="weather")
        options = {
            "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "max_retries": "0",
            "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": SECRET,
        }  # fmt: skip
        self.store = ReportStore("s3://weather/reports", options)

    def stop(self) -> None:
        """The store is gone; nothing on the way to it answers any more."""
        self._process.kill()
        self._process.join()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = migrated(tmp_path / "weather.db")
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> ReportStore:
    return ReportStore(str(tmp_path / "reports"))


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.stop()


def only(database: Database) -> DriftRecord:
    (record,) = database.drift().values()
    return record


def whole(record: DriftRecord, store: ReportStore) -> bool:
    """Whether both files of the record are there and say what it says."""
    values = json.loads(store.read(record.values_path))
    return bool(values["verdict"] == record.verdict.to_dict() and store.read(record.page_path))


def test_a_report_is_two_files_and_the_row_that_names_them(store: ReportStore, database: Database) -> None:
    report = drift_report("drift")
    record = publish(store, database, MONTH, report)
    assert only(database) == record
    assert record.verdict == report.verdict
    assert whole(record, store)
    assert store.names(f"drift_report/{MONTH}") == {record.page_path, record.values_path}


def test_a_report_on_s3_is_whole_and_replaces_the_former_one(server: Server, database: Database) -> None:
    report = drift_report(page=b"<html>" + b"x" * 12_000_000)  # more than one piece of an upload
    record = publish(server.store, database, MONTH, report)
    assert whole(record, server.store)
    assert server.store.read(record.page_path) == report.page
    again = publish(server.store, database, MONTH, drift_report("none"))
    assert server.store.names(f"drift_report/{MONTH}") == {again.page_path, again.values_path}


def test_what_all_pages_share_is_stored_once(store: ReportStore, database: Database) -> None:
    report, _ = measured_report()
    publish(store, database, MONTH, report)
    assert {path.rpartition(".")[2] for path in store.names("static")} == {"js", "woff2"}


def test_a_month_reported_again_has_the_new_report_alone_and_other_months_keep_theirs(
    store: ReportStore, database: Database
) -> None:
    other = publish(store, database, "2014-06", drift_report("none", "2014-06"))
    publish(store, database, MONTH, drift_report("drift"))
    record = publish(store, database, MONTH, drift_report("unknown"))
    assert database.drift([MONTH]) == {MONTH: record}
    assert store.names(f"drift_report/{MONTH}") == {record.page_path, record.values_path}
    assert database.drift(["2014-06"]) == {"2014-06": other}
    assert whole(other, store)


def test_the_same_report_of_another_run_writes_over_nothing(store: ReportStore, database: Database) -> None:
    first = publish(store, database, MONTH, drift_report("drift"))
    again = publish(store, database, MONTH, drift_report("drift", dagster_run_id="run-2"))
    assert {again.page_path, again.values_path}.isdisjoint({first.page_path, first.values_path})
    assert only(database).dagster_run_id == "run-2"
    assert whole(again, store)


def test_an_outage_of_s3_leaves_the_former_report_and_row(server: Server, database: Database) -> None:
    before = publish(server.store, database, MONTH, drift_report("none"))
    server.stop()
    with pytest.raises(ReportError, match="s3://weather/reports") as caught:
        publish(server.store, database, MONTH, drift_report("drift"))
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert only(database) == before


def test_a_folder_that_cannot_be_written_leaves_the_former_report_and_row(
    store: ReportStore, database: Database, tmp_path: Path
) -> None:
    before = publish(store, database, MONTH, drift_report("none"))
    folder = tmp_path / "reports" / "drift_report"
    aside = folder.rename(tmp_path / "aside")
    folder.write_text("in the way")
    with pytest.raises(ReportError, match="check that the store is there and writable"):
        publish(store, database, MONTH, drift_report("drift"))
    folder.unlink()
    aside.rename(folder)
    assert only(database) == before
    assert whole(before, store)
    assert store.names(f"drift_report/{MONTH}") == {before.page_path, before.values_path}


@pytest.mark.parametrize("stored", [0, 1, 2])
def test_an_outage_after_any_file_leaves_the_former_report_and_row(
    store: ReportStore, database: Database, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    before = publish(store, database, MONTH, drift_report("none"))
    left = stored
    write = ReportStore.write

    def until_it_is_down(self: ReportStore, path: str, data: bytes) -> None:
        nonlocal left
        if not left:
            raise ReportError("down")
        left -= 1
        write(self, path, data)

    monkeypatch.setattr(ReportStore, "write", until_it_is_down)
    if stored == 2:  # both files are there, and the database is not
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE drift_columns RENAME TO aside"))
    with pytest.raises(WeatherError):
        publish(store, database, MONTH, drift_report("drift"))
    if stored == 2:
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE aside RENAME TO drift_columns"))
    monkeypatch.undo()
    assert only(database) == before
    assert whole(before, store)
    after = publish(store, database, MONTH, drift_report("unknown"))
    assert store.names(f"drift_report/{MONTH}") == {after.page_path, after.values_path}, "what was left over is gone"


def test_half_a_file_is_never_there(store: ReportStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ReportError, match="no space left on device"):
        store.write("drift_report/x/a.html", b"page")
    assert [path for path in (tmp_path / "reports").rglob("*") if path.is_file()] == []


def test_a_report_of_another_month_is_refused(store: ReportStore, database: Database) -> None:
    with pytest.raises(InvariantError, match="is one of 2014-07"):
        publish(store, database, "2014-06", drift_report())
    assert database.drift() == {}


def test_a_month_without_a_report_is_named_to_who_asks_for_it(store: ReportStore, database: Database) -> None:
    def asked(first: str) -> dg.InputContext:
        return dg.build_input_context(
            asset_key=dg.AssetKey("drift_report"),
            asset_partitions_def=dg.MonthlyPartitionsDefinition("2014-01", fmt="%Y-%m"),
            asset_partition_key_range=dg.PartitionKeyRange(first, MONTH),
            resources={"database": database},
        )

    record = publish(store, database, MONTH, drift_report())
    assert ReportIOManager().load_input(asked(MONTH)) == {MONTH: record}
    with pytest.raises(PartitionMissingError, match="no drift report of 2014-05, 2014-06; materialise drift_report"):
        ReportIOManager().load_input(asked("2014-05"))


def test_a_value_that_is_no_number_is_refused_before_anything_is_stored(store: ReportStore, database: Database) -> None:
    report = drift_report()
    broken = replace(report, verdict=replace(report.verdict, share=float("nan")))
    with pytest.raises((InvariantError, ValueError)):
        publish(store, database, MONTH, broken)
    assert database.drift() == {}
    assert store.names(f"drift_report/{MONTH}") == set()
