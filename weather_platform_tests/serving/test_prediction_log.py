"""The prediction log on both dialects: what reaches the database, what waits, what is lost, and that it is all said."""

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import sqlalchemy as sa

from weather_platform.database import Database, LoggedForecast, LogWriter
from weather_platform.errors import InvariantError, WeatherError
from weather_platform.serving.prediction_log import PredictionLog
from weather_platform.settings import load_settings
from weather_platform_tests.database.conftest import database, dialect, empty_url, postgresql_uri, url
from weather_platform_tests.databases import migrated
from weather_platform_tests.processes import Beside, beside
from weather_platform_tests.serving.answers import NOON, Told, answer, answers

__all__ = ["database", "dialect", "empty_url", "postgresql_uri", "url"]

NEVER_SECONDS = 3600.0
"""An interval that does not pass: only a full batch or the end makes the writer write."""


FOR_EVER = timedelta(days=36_500)


def opened(database: Database, folder: Path, told: Told, **changes: Any) -> PredictionLog:
    """A log that has begun."""
    options: dict[str, Any] = {"capacity": 10_000, "batch": 100, "interval_seconds": 0.02, "keep": FOR_EVER}
    log = PredictionLog(database, folder, told, **(options | changes))
    log.start()
    return log


def eventually(reached: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


@contextmanager
def outage(url: str) -> Iterator[None]:
    """The database answers nobody: PostgreSQL refuses connections, the file of SQLite has lost its tables."""
    if url.startswith("sqlite"):
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE prediction_log RENAME TO elsewhere"))
        yield
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO prediction_log"))
        engine.dispose()
        return
    name = sa.make_url(url).database
    admin = sa.create_engine(
        url.replace("postgresql://", "postgresql+psycopg2://").replace(f"/{name}?", "/postgres?"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))  # noqa: S608
        yield
        connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    admin.dispose()


@contextmanager
def write_lock(url: str) -> Iterator[None]:
    """Another process is writing, and takes its time."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        if url.startswith("sqlite"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("LOCK TABLE prediction_log_writers IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()
    engine.dispose()


# ---------------------------------------------------------------- what reaches the database


def test_every_answer_is_in_the_database_after_the_end_in_its_order_and_bit_for_bit(
    database: Database, tmp_path: Path
) -> None:
    told = Told()
    log = opened(database, tmp_path / "counts", told, interval_seconds=NEVER_SECONDS)
    sent = [*answers(250), answer(250, station=None, day=None, value=1 / 3, seconds=1e-9, rows=10_000)]
    log.put(sent[:1])
    log.put(sent[1:])
    assert log.close(30) == 0
    assert database.predictions() == sent
    assert (log.depth, log.written, log.dropped) == (0, 251, 0)
    assert (told.written, told.dropped, told.lost, told.failures, told.depths[-1]) == (251, 0, 0, 0, 0)


def test_an_answer_is_written_while_the_service_runs_without_waiting_for_a_full_batch(
    database: Database, tmp_path: Path
) -> None:
    log = opened(database, tmp_path, Told())
    log.put([answer()])
    eventually(lambda: len(database.predictions()) == 1)
    log.close(30)


def test_a_full_batch_does_not_wait_for_the_interval(database: Database, tmp_path: Path) -> None:
    log = opened(database, tmp_path, Told(), interval_seconds=NEVER_SECONDS)
    log.put(answers(99))
    time.sleep(0.1)
    assert log.written == 0
    log.put(answers(1, first=99))
    eventually(lambda: log.written == 100)
    log.close(30)


def test_answers_are_found_by_request_and_by_target_and_the_newest_come_last(
    database: Database, tmp_path: Path
) -> None:
    log = opened(database, tmp_path, Told())
    log.put([answer(1), answer(1, station="Perth"), answer(2, target="max_temp_tomorrow", value=21.4)])
    log.close(30)
    assert [row.station for row in database.predictions(request_id="request-1")] == ["Hobart", "Perth"]
    assert database.predictions(request_id="request-3") == []
    assert [row.value for row in database.predictions(target="max_temp_tomorrow")] == [21.4]
    assert [row.request_id for row in database.predictions(newest=2)] == ["request-1", "request-2"]


def test_the_settings_make_the_log_of_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_PREDICTION_LOG_CAPACITY", "3")
    monkeypatch.setenv("WEATHER_PREDICTION_LOG_DAYS", "2")
    database = migrated(tmp_path / "weather.db")
    log = PredictionLog.from_settings(load_settings(home=tmp_path), database, Told())
    log.start()
    assert len(list((tmp_path / "serving" / "prediction_log").iterdir())) == 1
    log.put([aged(0, 0), aged(1.9, 1), aged(2.1, 2), aged(0, 3)])
    assert (log.close(30), log.written, log.dropped) == (0, 3, 1)
    log = PredictionLog.from_settings(load_settings(home=tmp_path), database, Told())
    log.start()
    eventually(lambda: [row.request_id for row in database.predictions()] == ["request-0", "request-1"])
    log.close(30)


# ---------------------------------------------------------------- what does not fit, and what is refused


def test_what_finds_the_queue_full_is_dropped_counted_and_told_once(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    log = opened(database, tmp_path, told, capacity=50, interval_seconds=NEVER_SECONDS)
    log.put(answers(40))
    log.put(answers(30, first=40))
    log.put(answers(5, first=70))
    assert (log.depth, log.dropped, told.dropped) == (50, 25, 25)
    assert caplog.text.count("its queue of 50 is full") == 1
    log.close(30)
    assert database.predictions() == answers(50)
    assert "has room again; dropped since the start: 25" in caplog.text
    (account,) = database.prediction_log_writers()
    assert (account.written, account.dropped, account.lost) == (50, 25, 0)


def test_what_fits_is_neither_dropped_nor_told(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    log = opened(database, tmp_path, told, capacity=50, interval_seconds=NEVER_SECONDS)
    log.put(answers(50))
    log.close(30)
    assert (log.dropped, told.dropped, caplog.text) == (0, 0, "")


def test_an_answer_that_the_database_refuses_is_dropped_alone(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    log = opened(database, tmp_path, told, interval_seconds=NEVER_SECONDS)
    sent = answers(60)
    sent[17] = answer(17, model_digest=None)
    sent[59] = answer(59, value=None)
    log.put(sent)
    assert log.close(30) == 0
    assert database.predictions() == [row for at, row in enumerate(sent) if at not in (17, 59)]
    assert (log.written, log.dropped, told.written, told.dropped) == (58, 2, 58, 2)
    assert caplog.text.count("refused the rows") == 1
    assert caplog.text.count("an answer is not in the prediction log") == 2
    (account,) = database.prediction_log_writers()
    assert (account.written, account.dropped, account.lost) == (58, 2, 0)


def test_text_that_no_database_can_hold_is_written_with_marks_in_its_place(database: Database, tmp_path: Path) -> None:
    log = opened(database, tmp_path, Told())
    log.put([answer(station="Ho\0bart"), answer(station="Ho\ud800bart"), answer(station="Höbart", subject="a\0")])
    assert log.close(30) == 0
    stored = [(row.station, row.subject) for row in database.predictions()]
    assert stored == [("Ho\ufffdbart", "ada"), ("Ho?bart", "ada"), ("Höbart", "a\ufffd")]


def test_numbers_of_numpy_are_written_as_numbers(database: Database, tmp_path: Path) -> None:
    log = opened(database, tmp_path, Told())
    log.put([answer(value=np.float32(0.5), model_version=np.int64(3), seconds=np.float64(0.25), rows=np.int32(2))])
    assert log.close(30) == 0
    assert database.predictions() == [answer(value=0.5, model_version=3, seconds=0.25, rows=2)]


def test_an_answer_of_another_time_zone_is_the_same_moment_and_one_without_is_refused(
    database: Database, tmp_path: Path
) -> None:
    log = opened(database, tmp_path, Told())
    log.put([answer(at=NOON.astimezone(ZoneInfo("Australia/Sydney"))), answer(at=NOON.replace(microsecond=0))])
    assert log.close(30) == 0
    assert [row.at for row in database.predictions()] == [NOON, NOON.replace(microsecond=0)]
    with pytest.raises(InvariantError, match="at"):
        answer(at=NOON.replace(tzinfo=None))


def test_an_answer_after_the_end_is_counted_as_dropped(database: Database, tmp_path: Path) -> None:
    told = Told()
    log = opened(database, tmp_path, told)
    log.close(30)
    log.put(answers(2))
    assert (log.depth, log.dropped, told.dropped) == (0, 2, 2)
    assert database.predictions() == []


def test_a_commit_whose_answer_got_lost_is_not_repeated(database: Database) -> None:
    writer = LogWriter("w", 1, NOON)
    database.append_predictions(writer, answers(3))
    database.append_predictions(writer, answers(3))
    assert len(database.predictions()) == 3
    with pytest.raises(InvariantError, match="has 3 answers, not 1"):
        database.append_predictions(LogWriter("w", 1, NOON, written=1), answers(1))


# ---------------------------------------------------------------- outages


def test_nobody_who_puts_waits_for_a_database_that_is_busy(database: Database, url: str, tmp_path: Path) -> None:
    log = opened(database, tmp_path, Told(), batch=10)
    with write_lock(url):
        for number in range(1_000):
            log.put([answer(number)])
        time.sleep(0.3)
        assert (log.depth, log.written) == (1_000, 0)
    eventually(lambda: log.depth == 0)
    log.close(30)
    assert database.predictions() == answers(1_000)


def test_an_outage_fills_the_queue_and_afterwards_everything_is_written_once(
    database: Database, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told = Told()
    log = opened(database, tmp_path, told, capacity=300)
    log.put(answers(50))
    eventually(lambda: log.written == 50)
    assert (told.failures, caplog.text) == (0, "")
    with outage(url):
        log.put(answers(260, first=50))
        eventually(lambda: told.failures >= 3)
        assert log.depth == 260
        log.put(answers(60, first=310))
        assert (log.depth, log.dropped) == (300, 20)
        assert caplog.text.count("the prediction log waits:") == 1
        assert "is written again" not in caplog.text
    eventually(lambda: log.depth == 0)
    log.put(answers(1, first=1_000))
    assert log.close(30) == 0
    assert database.predictions() == [*answers(350), answer(1_000)]
    assert caplog.text.count("the prediction log is written again") == 1


def test_a_database_that_is_not_there_yet_is_waited_for(empty_url: str, tmp_path: Path) -> None:
    database = Database(empty_url)
    told = Told()
    log = opened(database, tmp_path, told)
    log.put(answers(3))
    eventually(lambda: told.failures > 0)
    database.migrate()
    eventually(lambda: log.written == 3)
    assert log.close(30) == 0
    database.close()


def test_the_end_during_an_outage_comes_in_time_says_what_is_lost_and_the_next_start_counts_it(
    database: Database, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(database, tmp_path, told := Told(), interval_seconds=NEVER_SECONDS)
    log.put(answers(100))
    eventually(lambda: log.written == 100)
    with outage(url):
        log.put(answers(7, first=100))
        started = time.monotonic()
        assert log.close(1.0) == 7
        assert time.monotonic() - started < 5
        assert "7 answers are not in the prediction log" in caplog.text
    assert told.lost == 0
    ended_without_a_word(log)
    opened(database, tmp_path, later := Told()).close(30)
    assert later.lost == 7
    assert "of 107 answers 7 are lost" in caplog.text
    assert [account.lost for account in database.prediction_log_writers()] == [7, 0]


def ended_without_a_word(log: PredictionLog) -> None:
    """Let go of the lock on the counts, as the end of the process would."""
    log._account.close()


def test_a_folder_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = PredictionLog(
        Database(f"sqlite:///{tmp_path}/w.db"),
        tmp_path / "file",
        Told(),
        capacity=1,
        batch=1,
        interval_seconds=1,
        keep=FOR_EVER,
    )
    with pytest.raises(WeatherError, match=r"cannot keep its counts in .*; make it a folder"):
        log.start()


# ---------------------------------------------------------------- what is too old


def aged(days: float, number: int = 0) -> LoggedForecast:
    """An answer of so many days ago."""
    return answer(number, at=datetime.now(UTC) - timedelta(days=days))


def test_answers_older_than_the_kept_days_are_deleted_batch_by_batch_and_no_others(
    database: Database, tmp_path: Path
) -> None:
    kept = [aged(29.9, 1), aged(0, 2)]
    log = opened(database, tmp_path, told := Told(), keep=FOR_EVER)
    log.put([*(aged(30.1 + number) for number in range(25)), *kept])
    log.close(30)
    assert len(database.predictions()) == 27, "nothing is too old yet"
    log = opened(database, tmp_path, told, keep=timedelta(days=30), batch=10)
    eventually(lambda: len(database.predictions()) == 2)
    assert database.predictions() == kept
    log.put([aged(31, 3)])
    log.close(30)
    assert told.written == 28
    assert len(database.prediction_log_writers()) == 2, "what was counted stays counted"


def test_one_step_of_deleting_is_no_larger_than_asked_and_begins_with_the_oldest(database: Database) -> None:
    database.append_predictions(LogWriter("w", 1, NOON), answers(10))
    assert database.forget_predictions(NOON, 4) == 0
    assert database.forget_predictions(NOON + timedelta(seconds=1), 4) == 4
    assert database.predictions() == answers(6, first=4)


def test_an_outage_while_old_answers_are_deleted_is_told_and_they_go_later(
    database: Database, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database.append_predictions(LogWriter("w", 1, NOON), [aged(2)])
    with outage(url):
        log = opened(database, tmp_path, told := Told(), keep=timedelta(days=1))
        eventually(lambda: told.failures >= 1)
        assert "the prediction log waits:" in caplog.text
    eventually(lambda: database.predictions() == [])
    log.close(30)


# ---------------------------------------------------------------- processes


def begun(url: str, folder: Path, interval: float) -> PredictionLog:
    """The log of a process of its own."""
    log = PredictionLog(
        Database(url), folder, Told(), capacity=100_000, batch=500, interval_seconds=interval, keep=FOR_EVER
    )
    log.start()
    return log


def killed(process: Beside) -> int:
    """Wait until it is ready, then end it as the kernel would; gives its number."""
    assert process.hear() == "ready"
    process.kill()
    assert process.process.pid is not None
    return process.process.pid


def writes_500_and_keeps_123(pipe: Connection, url: str, folder: Path) -> None:
    log = begun(url, folder, NEVER_SECONDS)
    log.put(answers(500))
    while log.depth > 0:
        time.sleep(0.001)
    time.sleep(0.2)  # until the writer waits for the next batch
    log.put(answers(123, first=500))
    pipe.send("ready")
    time.sleep(60)


def test_a_kill_loses_only_what_was_not_written_and_the_next_start_says_how_many(
    database: Database, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with beside(writes_500_and_keeps_123, url, tmp_path) as process:
        process_id = killed(process)
    assert database.predictions() == answers(500)
    log = opened(database, tmp_path, told := Told())
    assert log.close(30) == 0
    assert told.lost == 123
    assert f"process {process_id}, which served from" in caplog.text
    assert "of 623 answers 123 are lost" in caplog.text
    dead, own = database.prediction_log_writers()
    assert (dead.process_id, dead.written, dead.lost, own.lost) == (process_id, 500, 123, 0)
    caplog.clear()
    opened(database, tmp_path, again := Told()).close(30)
    assert (again.lost, caplog.text) == (0, "")
    assert list(tmp_path.glob("*.counts")) == []


def writes_on_and_on(pipe: Connection, url: str, folder: Path) -> None:
    log = begun(url, folder, 0.01)
    for number in range(1_000_000):
        log.put(answers(5, first=5 * number))
        if number == 2_000:
            pipe.send("ready")
        time.sleep(0.0001)


def test_a_kill_in_the_middle_of_writing_leaves_counts_that_add_up(
    database: Database, url: str, tmp_path: Path
) -> None:
    with beside(writes_on_and_on, url, tmp_path) as process:
        process_id = killed(process)
    stored = database.predictions()
    (account,) = database.prediction_log_writers()
    assert 0 < account.written == len(stored)
    assert stored == answers(len(stored)), "the first ones, each once"
    opened(database, tmp_path, told := Told()).close(30)
    (account,) = [account for account in database.prediction_log_writers() if account.process_id == process_id]
    assert account.lost == told.lost
    assert account.written == len(stored)
    assert account.written + account.lost >= 10_005
    assert (account.written + account.lost) % 5 == 0


def keeps_40(pipe: Connection, url: str, folder: Path) -> None:
    begun(url, folder, NEVER_SECONDS).put(answers(40))
    pipe.send("ready")
    time.sleep(60)


def test_an_outage_at_the_next_start_delays_the_count_of_the_lost_and_does_not_change_it(
    database: Database, url: str, tmp_path: Path
) -> None:
    with beside(keeps_40, url, tmp_path) as process:
        killed(process)
    other = Database(url)
    with write_lock(url):
        log = opened(other, tmp_path, told := Told())
        log.put(answers(2))
        time.sleep(0.2)
        assert told.lost == 0
    eventually(lambda: log.written == 2)
    log.close(30)
    assert told.lost == 40
    other.close()


def writes_10_000(pipe: Connection, url: str, folder: Path, first: int) -> None:
    log = begun(url, folder, 0.005)
    for number in range(1_000):
        log.put(answers(10, first=first + 10 * number))
        time.sleep(0.0005)
    pipe.send((log.close(60), log.dropped))


def test_two_processes_write_to_one_database_at_once_and_neither_takes_the_other_for_dead(
    database: Database, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with beside(writes_10_000, url, tmp_path, 0) as one, beside(writes_10_000, url, tmp_path, 10_000) as other:
        log = opened(database, tmp_path, told := Told())
        log.put(answers(100, first=20_000))
        assert [one.hear(), other.hear()] == [(0, 0), (0, 0)]
    log.close(30)
    stored = database.predictions()
    assert sorted(stored, key=lambda row: row.at) == answers(20_100)
    assert [(account.written, account.lost) for account in database.prediction_log_writers()].count((10_000, 0)) == 2
    assert (told.lost, caplog.text) == (0, "")


def test_a_file_of_counts_that_was_cut_short_is_said_and_put_away(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gone.counts").write_bytes(b"1234")
    opened(database, tmp_path, told := Told()).close(30)
    assert "gone.counts was cut short" in caplog.text
    assert (told.lost, list(tmp_path.glob("*.counts"))) == (0, [])


def test_counts_that_cannot_be_opened_are_told_and_answers_and_other_counts_do_not_wait_for_them(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "another.counts").mkdir()
    (tmp_path / "gone.counts").write_bytes(b"1234")
    log = opened(database, tmp_path, Told())
    log.put(answers(3))
    eventually(lambda: log.written == 3)
    assert log.close(30) == 0
    assert "another.counts cannot be opened" in caplog.text
    assert "gone.counts was cut short" in caplog.text


def test_a_folder_that_cannot_be_looked_through_does_not_end_the_writing(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone.counts").write_bytes(b"1234")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        log = opened(database, tmp_path, Told())
        log.put(answers(3))
        eventually(lambda: log.written == 3)
    assert log.close(30) == 0
    assert "cannot be settled: Permission denied" in caplog.text


def test_a_fault_of_the_system_while_writing_is_told_and_everything_is_written_later(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, faults = database.append_predictions, [OSError(errno.ENOSPC, "No space left on device")]

    def fail_once(*arguments: Any) -> None:
        if faults:
            raise faults.pop()
        append(*arguments)

    monkeypatch.setattr(database, "append_predictions", fail_once)
    log = opened(database, tmp_path, told := Told())
    log.put(answers(3))
    eventually(lambda: log.written == 3)
    assert log.close(30) == 0
    assert told.failures == 1
    assert "No space left on device" in caplog.text
