"""Dagster's event log in SQLite, with each of its files opened once for the runs of one command.

Dagster's own class makes an engine and opens the file anew for every event, which costs more than writing the event.
The files are the same, so the UI reads them as ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.pool import StaticPool

_BUSY_SECONDS = 60


class OpenEventLogStorage(SqliteEventLogStorage):
    """One connection per file, used under Dagster's lock by one thread at a time."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, sa.Engine] = {}
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "OpenEventLogStorage":
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            engine = self._engines.get(shard)
            if engine is None:
                engine = sa.create_engine(
                    self.conn_string_for_shard(shard),
                    poolclass=StaticPool,
                    connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
                )
                sa.event.listen(engine, "connect", _relax)
                if shard not in self._initialized_dbs:
                    self._initdb(engine)
                    self._initialized_dbs.add(shard)
                self._engines[shard] = engine
            with engine.begin() as connection:
                yield connection

    def dispose(self) -> None:
        """Close the files."""
        super().dispose()
        while self._engines:
            self._engines.popitem()[1].dispose()


def _relax(connection: Any, _: object) -> None:
    # A commit need not reach the disk at once: the file stays whole whatever happens, and only a power cut could lose
    # the last events of a run that it ended anyway.
    connection.execute("PRAGMA synchronous = NORMAL")
