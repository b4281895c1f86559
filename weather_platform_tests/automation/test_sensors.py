"""`new_observations` tick by tick on real files, a real lake and real runs: what it requests, and when it does not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.automation import updates
from weather_platform.errors import SourceError
from weather_platform.resources.source import open_source
from weather_platform_tests.sources.test_csv_files import row, table
from weather_platform_tests.stages import RANGE_END, RANGE_START, Home
from weather_platform_tests.watched import watched as files_opened_in

OWN = "id,name,state,latitude,longitude,elevation_m,timezone\nDeBilt,De Bilt,Netherlands,52.1,5.2,2,Europe/Amsterdam\n"


class Watched:
    """A home with a folder of csv files, and its sensor from tick to tick."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "observations"
        self.folder.mkdir()
        self.write("a.csv", "2015-01-30", "2015-01-31")
        self.write("b.csv", "2015-02-01")
        self.home = Home(tmp_path / "home", source="csv", csv_path=self.folder)
        self.cursor: str | None = None
        self.keys: set[str] = set()

    def write(self, name: str, *days: str, **changed: str) -> None:
        (self.folder / name).write_text(table(*(row(day, **changed) for day in days)))

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        """One tick: the requests that Dagster would start, as their keys are new, and what was said instead."""
        repository = self.home.graph.get_repository_def()
        source = (self.home.graph.resources or {})["source"]
        with dg.build_sensor_context(
            self.home.instance, cursor=self.cursor, repository_def=repository, resources={"source": source}
        ) as context:
            ticked = repository.get_sensor_def("new_observations").evaluate_tick(context)
        self.cursor = ticked.cursor or self.cursor
        requests = [request for request in ticked.run_requests or [] if request.run_key not in self.keys]
        self.keys |= {request.run_key for request in requests if request.run_key}
        return requests, ticked.skip_message or ""

    def run(self, request: dg.RunRequest) -> bool:
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        job = self.home.graph.resolve_job_def("ingest")
        return job.execute_in_process(
            instance=self.home.instance, tags=dict(request.tags), run_config=quiet, raise_on_error=False
        ).success

    def receive(self) -> list[tuple[str, str]]:
        """One tick and its runs; the ranges of months."""
        requests, _ = self.tick()
        assert all(self.run(request) for request in requests)
        return ranges(requests)


def ranges(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    return [(request.tags[RANGE_START], request.tags[RANGE_END]) for request in requests]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


@pytest.fixture
def filled(watched: Watched) -> Watched:
    """After its first tick and run."""
    assert watched.receive() == [("2015-01", "2015-02")]
    return watched


def test_an_empty_home_receives_everything_in_one_run_and_then_nothing(watched: Watched) -> None:
    assert watched.receive() == [("2015-01", "2015-02")]
    assert watched.home.lake.row_counts("raw_observations", "month") == {"2015-01": 2, "2015-02": 1}
    assert watched.tick() == ([], "the source has not changed")


def test_an_idle_tick_opens_no_file_and_the_next_with_a_change_does(filled: Watched) -> None:
    with files_opened_in(filled.folder) as opened:
        assert filled.tick() == ([], "the source has not changed")
    assert {name for name in opened if name.endswith(".csv")} == set()
    filled.write("c.csv", "2015-02-02")
    with files_opened_in(filled.folder) as opened:
        filled.tick()
    assert {"a.csv", "b.csv", "c.csv"} <= set(opened)


def test_a_new_and_a_changed_file_request_their_months_alone(filled: Watched) -> None:
    filled.write("c.csv", "2015-04-01")
    filled.write("a.csv", "2015-01-30", "2015-01-31", Rainfall="7.7")
    requests, _ = filled.tick()
    # March has no row; it is inside of the coverage from now on, and new.
    assert ranges(requests) == [("2015-01", "2015-01"), ("2015-03", "2015-04")]
    assert all(filled.run(request) for request in requests)
    assert filled.tick()[0] == []


def test_a_file_that_is_touched_or_renamed_requests_nothing(filled: Watched) -> None:
    (filled.folder / "b.csv").rename(filled.folder / "z.csv")
    assert filled.tick() == ([], "all that the source has is stored")


def test_content_that_was_taken_back_comes_again(filled: Watched) -> None:
    for rain in ("7.7", "0.6", "7.7", "0.6"):
        filled.write("b.csv", "2015-02-01", Rainfall=rain)
        assert filled.receive() == [("2015-02", "2015-02")]


def test_content_comes_again_when_something_else_was_stored_meanwhile(filled: Watched) -> None:
    """An update that did not get as far as its record brought in the rain of 7.7; then the first file came back."""
    lake, stored = filled.home.lake, filled.home.lake.snapshot("raw_observations").read(keys=["2015-02"])
    at = stored.schema.get_field_index("rainfall_mm")
    other = stored.set_column(at, stored.schema.field(at), [["7.7"]])
    lake.replace_partition("raw_observations", "month", "2015-02", other)
    (filled.folder / "b.csv").touch()
    assert filled.receive() == [("2015-02", "2015-02")]


def test_what_is_in_flight_or_failed_is_not_requested_again(filled: Watched) -> None:
    filled.write("b.csv", "2015-02-01", Rainfall="7.7")
    assert ranges(filled.tick()[0]) == [("2015-02", "2015-02")]  # and its run stores nothing
    assert filled.tick()[0] == []
    filled.write("c.csv", "2015-03-01")
    assert ranges(filled.tick()[0]) == [("2015-03", "2015-03")]
    filled.write("b.csv", "2015-02-01", Rainfall="8.8")
    assert ("2015-02", "2015-02") in ranges(filled.tick()[0])


def test_a_lost_cursor_requests_nothing_twice(filled: Watched) -> None:
    filled.write("b.csv", "2015-02-01", Rainfall="7.7")
    assert len(filled.tick()[0]) == 1
    filled.cursor = None
    assert filled.tick()[0] == []  # the key is the same
    filled.cursor = '{"version": 0}'
    assert filled.tick()[0] == []


def test_station_days_that_vanish_request_nothing_and_are_named_until_they_are_back(filled: Watched) -> None:
    filled.write("a.csv", "2015-01-31")
    for _ in range(2):
        requests, said = filled.tick()
        assert requests == []
        assert "2015-01: the lake holds 1 station-day that the source no longer has (first: Albury 2015-01-30)" in said
        assert "--let-go" in said
    filled.write("a.csv", "2015-01-30", "2015-01-31")
    assert filled.tick() == ([], "all that the source has is stored")


def test_a_month_that_vanishes_at_the_end_is_named_and_stays_stored(filled: Watched) -> None:
    (filled.folder / "b.csv").unlink()
    requests, said = filled.tick()
    assert (requests, said) == ([], "2015-02 vanished from the source; what is stored stays")
    assert filled.home.lake.row_counts("raw_observations", "month")["2015-02"] == 1


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Somebody who writes into a file without a pause."""
    end = threading.Event()

    def write() -> None:
        with path.open("a") as file:
            while not end.wait(0.02):
                file.write("\n")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        end.set()
        writer.join()


def test_a_file_that_grows_waits_for_the_next_tick(filled: Watched) -> None:
    filled.write("c.csv", "2015-03-01")
    with growing(filled.folder / "c.csv"):
        requests, said = filled.tick()
        assert (requests, "still being written" in said) == ([], True)
    assert filled.receive() == [("2015-03", "2015-03")]


def test_a_source_that_cannot_be_read_fails_the_tick_and_is_looked_at_again(filled: Watched) -> None:
    kept = filled.cursor
    filled.folder.rename(filled.folder.with_name("away"))
    with pytest.raises(SourceError):
        filled.tick()
    assert filled.cursor == kept
    filled.folder.with_name("away").rename(filled.folder)
    assert filled.tick()[0] == []


def test_another_catalogue_requests_every_month_and_stores_it(filled: Watched) -> None:
    (filled.folder / "stations.csv").write_text(OWN)
    assert filled.receive() == [("2015-01", "2015-02")]
    assert "DeBilt" in filled.home.lake.read("stations")["id"].to_pylist()
    assert filled.tick()[0] == []


def test_what_an_update_brought_in_is_not_requested(filled: Watched) -> None:
    filled.write("c.csv", "2015-03-01")
    with open_source(filled.home.settings, filled.home.settings.now()) as source:  # type: ignore[attr-defined]
        filled.home.lake.replace_partition("raw_observations", "month", "2015-03", source.rows("2015-03"))
        updates.settle(filled.home.instance, filled.home.lake, source.stamp())
    assert filled.tick() == ([], "all that the source has is stored")
    assert filled.tick() == ([], "the source has not changed")
