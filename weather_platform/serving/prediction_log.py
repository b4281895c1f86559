"""The prediction log: every answer of the endpoint goes to the database, and no answer waits for it.

What belongs here: the bounded queue, the one thread that empties it in batches and deletes what is too old, and the
account of what did not get through. What does not: the statements (`database.predictions`), or what an answer is.

`put` counts answers in a small file that is mapped into memory, and appends them to a queue. The counts survive a
kill -9 of the process (though not of the machine), and rows are counted once more in the transaction that writes
them. So the next process that finds the file of a dead one knows exactly how many of its answers were lost: at most
those of the last interval and batch. A process holds a lock on its file as long as it lives.
"""

import fcntl
import logging
import mmap
import os
import struct
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, Self

from weather_platform.database import Database, LoggedForecast, LogWriter
from weather_platform.errors import InvariantError, WeatherError
from weather_platform.serving.server import log_folder
from weather_platform.settings import Settings

__all__ = ["LogListener", "LoggedForecast", "PredictionLog"]

_logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_FORGET_EVERY_SECONDS = 600.0
_SUFFIX = ".counts"


class LogListener(Protocol):
    """Who is told what becomes of the answers. Called from the threads that put and from the one that writes."""

    def log_depth(self, rows: int) -> None:
        """So many answers wait now."""

    def log_written(self, rows: int) -> None:
        """So many more are in the database."""

    def log_dropped(self, rows: int) -> None:
        """So many more found the queue full or closed, or were refused by the database."""

    def log_lost(self, rows: int) -> None:
        """So many of an earlier process were never written."""

    def log_write_failed(self) -> None:
        """The database could not be written; the writer tries again."""


class PredictionLog:
    """One queue and one thread per process; its counts lie in `folder`. Any thread may put."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        listener: LogListener,
        *,
        capacity: int,
        batch: int,
        interval_seconds: float,
        keep: timedelta,
    ) -> None:
        self._database = database
        self._folder = folder
        self._listener = listener
        self._capacity = capacity
        self._batch = batch
        self._interval_seconds = interval_seconds
        self._keep = keep
        self._forget_at = 0.0  # by the monotonic clock
        self._waiting: deque[LoggedForecast] = deque()
        self._at_hand: list[LoggedForecast] = []  # taken from the queue by the writer, and not yet in the database
        self._account: _Account
        self._identity: LogWriter
        self._counting = threading.Lock()  # of the counts below; never held while the database works
        self._open = False
        self._accepted = 0
        self._refused = 0
        self._dropped = 0
        self._overflowing = False
        self._done = 0  # accepted answers that need no more work: written or refused; the writer's own count
        self._written = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    @classmethod
    def from_settings(cls, settings: Settings, database: Database, listener: LogListener) -> Self:
        """As the service has it: the counts lie in the home."""
        return cls(
            database,
            log_folder(settings),
            listener,
            capacity=settings.prediction_log_capacity,
            batch=settings.prediction_log_batch,
            interval_seconds=settings.prediction_log_interval_seconds,
            keep=timedelta(days=settings.prediction_log_days),
        )

    @property
    def depth(self) -> int:
        """How many answers wait to be written."""
        return self._accepted - self._done

    @property
    def written(self) -> int:
        """How many answers of this process are in the database."""
        return self._written

    @property
    def dropped(self) -> int:
        """How many answers of this process will not be logged: no room in the queue, or refused by the database."""
        return self._dropped

    def start(self) -> None:
        """Begin to write. The database need not be there yet; WeatherError if the folder cannot be used."""
        self._account = _Account.create(self._folder)
        self._identity = self._account.writer
        self._open = True
        self._thread.start()

    def put(self, forecasts: Sequence[LoggedForecast]) -> None:
        """Queue the answers of one request; those for which there is no room are dropped and counted."""
        with self._counting:
            room = max(self._capacity - self.depth, 0) if self._open else 0
            taken = forecasts if len(forecasts) <= room else forecasts[:room]
            if taken:
                self._accepted += len(taken)
                self._write_account()
                self._waiting.extend(taken)
        if len(taken) < len(forecasts):
            self._drop(len(forecasts) - len(taken))
        if self.depth >= self._batch and not self._wake.is_set():
            self._wake.set()

    def close(self, timeout_seconds: float) -> int:
        """Write what waits, for at most this long; gives how many answers are not written, and says so."""
        self._deadline = time.monotonic() + timeout_seconds
        with self._counting:
            self._open = False
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_seconds)
        if lost := self.depth:
            _logger.error(
                "%d answers are not in the prediction log: the database did not take them within %g s; "
                "the next start counts them as lost",
                lost,
                timeout_seconds,
            )
        return lost

    def _run(self) -> None:
        pause, failing, dead_are_settled = _FIRST_PAUSE_SECONDS, False, False
        while True:
            if not failing:
                self._wake.wait(self._interval_seconds)
                self._wake.clear()
            last = self._closing.is_set()
            try:
                if not dead_are_settled:
                    self._settle_the_dead()
                    dead_are_settled = True
                self._flush()
                if last:
                    self._settle()
                    return
                self._forget()
            except (WeatherError, OSError) as error:
                # An OSError is of the file of counts; nothing may end this thread.
                self._listener.log_write_failed()
                self._listener.log_depth(self.depth)
                if not failing:
                    failing = True
                    _logger.warning("the prediction log waits: %s", error)
                if last and time.monotonic() + pause >= self._deadline:
                    return
                # Closing ends a pause at once; those after it are slept.
                (time.sleep if last else self._closing.wait)(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                if failing:
                    pause, failing = _FIRST_PAUSE_SECONDS, False
                    _logger.warning("the prediction log is written again")

    def _flush(self) -> None:
        """Write until nothing waits. Rows that the database refuses are found by ever smaller steps, and dropped."""
        step = self._batch
        while self._at_hand or self._waiting:
            while self._waiting and len(self._at_hand) < step:
                self._at_hand.append(self._waiting.popleft())
            rows = self._at_hand[:step]
            try:
                self._database.append_predictions(self._writer(), rows)
            except (InvariantError, TypeError, ValueError, OverflowError) as error:
                # The others are what a driver says of values that it cannot pass on.
                if len(rows) > 1:
                    step = len(rows) // 2
                    continue
                self._refuse(error)
            else:
                self._written += len(rows)
                self._listener.log_written(len(rows))
                step = min(2 * step, self._batch)
            del self._at_hand[: len(rows)]
            self._done += len(rows)
            self._listener.log_depth(self.depth)
        if self._overflowing:
            self._overflowing = False
            _logger.warning("the queue of the prediction log has room again; dropped since the start: %d", self.dropped)

    def _forget(self) -> None:
        """Now and then delete what is too old: one batch at a time, as answers that wait come first."""
        if time.monotonic() < self._forget_at:
            return
        if self._database.forget_predictions(datetime.now(UTC) - self._keep, self._batch) < self._batch:
            self._forget_at = time.monotonic() + _FORGET_EVERY_SECONDS

    def _refuse(self, error: Exception) -> None:
        """Count an accepted answer as dropped."""
        with self._counting:
            self._refused += 1
            self._dropped += 1
            self._write_account()
        self._listener.log_dropped(1)
        _logger.error("an answer is not in the prediction log: %s", error)

    def _drop(self, rows: int) -> None:
        with self._counting:
            self._dropped += rows
            self._write_account()
            told, self._overflowing = self._overflowing, True
        self._listener.log_dropped(rows)
        if not told:
            why = f"its queue of {self._capacity} is full" if self._open else "it is closed"
            _logger.error("answers will be missing in the prediction log: %s", why)

    def _writer(self) -> LogWriter:
        return replace(self._identity, written=self._written, dropped=self._dropped)

    def _write_account(self) -> None:
        self._account.write(self._accepted - self._refused, self._dropped)

    def _settle(self) -> None:
        """Close the account of this process: everything it accepted was written or refused."""
        self._database.settle_predictions(self._writer(), self._accepted - self._refused, datetime.now(UTC))
        self._account.remove()

    def _settle_the_dead(self) -> None:
        """Say what processes that are no more left unwritten, and close their accounts."""
        try:
            for account in _Account.of_the_dead(self._folder):
                self._settle_dead(account)
        except OSError as error:
            # Answers do not wait for what others left; the next start looks again.
            _logger.warning("what ended processes left in %s cannot be settled: %s", self._folder, error.strerror)

    def _settle_dead(self, account: "_Account") -> None:
        with closing(account):
            writer, accepted = account.writer, account.accepted
            lost = self._database.settle_predictions(writer, accepted, datetime.now(UTC))
            account.remove()
        if lost:
            self._listener.log_lost(lost)
            _logger.warning(
                "process %d, which served from %s on, was ended before it could write its prediction log: "
                "of %d answers %d are lost",
                writer.process_id,
                writer.started_at.isoformat(timespec="seconds"),
                accepted,
                lost,
            )


class _Account:
    """The counts of one process in a file, and the lock that tells whether the process lives."""

    _COUNTS = struct.Struct("<qq")  # accepted, dropped
    _LAYOUT = struct.Struct("<qqqd")  # and the process, and its start in seconds since 1970

    def __init__(self, path: Path, handle: int) -> None:
        """Of a whole file whose lock this process holds."""
        self._path = path
        self._handle = handle
        self._bytes = mmap.mmap(handle, self._LAYOUT.size)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new account of this process."""
        path = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
        scratch = path.with_suffix(".new")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Whole and locked before it has its name: nobody takes it for the file of a dead process.
            handle = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(handle, cls._LAYOUT.pack(0, 0, os.getpid(), time.time()))
            scratch.rename(path)
        except OSError as error:
            raise WeatherError(
                f"the prediction log cannot keep its counts in {folder}: {error.strerror}; "
                "make it a folder in which the service may write"
            ) from None
        return cls(path, handle)

    @classmethod
    def of_the_dead(cls, folder: Path) -> Iterator[Self]:
        """The accounts whose process is no more, locked; of several processes that ask, one gets each."""
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            try:
                handle = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue  # another process has settled it
            except OSError as error:
                _logger.warning("%s cannot be opened, so what its process lost is unknown: %s", path, error.strerror)
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)  # its process lives
                continue
            if not path.exists():
                os.close(handle)
            elif os.fstat(handle).st_size < cls._LAYOUT.size:
                os.close(handle)
                path.unlink()
                _logger.warning("%s was cut short, so how many answers its process lost is unknown", path)
            else:
                yield cls(path, handle)

    @property
    def writer(self) -> LogWriter:
        """The process of the account."""
        _, dropped, process_id, started = self._LAYOUT.unpack(self._bytes[:])
        return LogWriter(self._path.stem, process_id, datetime.fromtimestamp(started, UTC), dropped=dropped)

    @property
    def accepted(self) -> int:
        """How many answers the process took, without those that were refused later."""
        return int(self._COUNTS.unpack(self._bytes[: self._COUNTS.size])[0])

    def write(self, accepted: int, dropped: int) -> None:
        """Keep these counts; after the end of the account there is nothing to keep them in."""
        if not self._bytes.closed:
            self._bytes[: self._COUNTS.size] = self._COUNTS.pack(accepted, dropped)

    def remove(self) -> None:
        """End the account: its file goes."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give the file and its lock back."""
        if not self._bytes.closed:
            self._bytes.close()
            os.close(self._handle)
