"""Cleaning with dbt: raw rows in, clean and quarantined rows out, inside a scratch folder of one run.

What belongs here: handing rows, catalogue and contract to the dbt project, running it and its tests, and
reading the result. What does not: the rules (``dbt_project``), the contract (``domain``) and publishing
(``assets``).

Write, audit, publish: nothing is readable before every dbt test has passed, and the DuckDB database (in memory,
what does not fit in files of the scratch folder) and the folder (inputs, profile, logs, compiled SQL) are gone
afterwards, whatever happened. dbt and DuckDB are imported when first used: loading the definitions does not wait
for them.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from weather_platform.domain.observations import (
    CALM,
    COMPASS_POINTS,
    MISSING_TOKENS,
    OBSERVATION_COLUMNS,
    OBSERVATIONS_SCHEMA,
    QUARANTINE_RULES,
    QUARANTINE_SCHEMA,
    RAIN_DAY_MM,
    RAW_SCHEMA,
    raw_rows,
)
from weather_platform.domain.recognition import Recogniser
from weather_platform.domain.stations import stations_of
from weather_platform.errors import InvariantError
from weather_platform.folders import scratch_folder

BATCH_ROWS: Final = 600_000
"""Raw rows that one dbt call may clean at once: about what its memory holds. A year is never divided."""

_ROW_GROUP_ROWS: Final = 65_536
"""Rows that go to dbt at a time: a few of them are in memory at once."""

_INPUT_SCHEMA: Final = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("year", pa.string(), nullable=False),
        pa.field("fetched_day", pa.date32(), nullable=False),
        pa.field("station_id", pa.string()),
        *RAW_SCHEMA,
    ]
)
_ONE_AT_A_TIME: Final = threading.Lock()
"""dbt keeps its adapters and its connection for the whole process."""

_PARSED: Final[dict[tuple[Path, str], Any]] = {}
"""What dbt has read of a project with these variables: as good for the next call, and four fifths of its work."""


def column_contract() -> dict[str, Any]:
    """The column contract and the rules as plain values: the one source of every limit the SQL compares
    with.
    """
    return {
        "columns": [
            {"name": c.name, "kind": c.kind, "unit": c.unit, "low": c.low, "high": c.high} for c in OBSERVATION_COLUMNS
        ],
        "compass_points": list(COMPASS_POINTS),
        "missing_tokens": list(MISSING_TOKENS),
        "calm": CALM,
        "rain_day_mm": RAIN_DAY_MM,
        "rules": list(QUARANTINE_RULES),
    }


def batches_of_years(raw_rows: Mapping[str, int], batch_rows: int = BATCH_ROWS) -> Iterator[list[str]]:
    """Years in ascending order, as many to a batch as the budget of raw rows holds, at least one."""
    batch: list[str] = []
    rows = 0
    for year in sorted(raw_rows):
        if batch and rows + raw_rows[year] > batch_rows:
            yield batch
            batch, rows = [], 0
        batch.append(year)
        rows += raw_rows[year]
    if batch:
        yield batch


class CleanedYears:
    """What one dbt call made of its raw rows; readable inside the `with` block that gave it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.clean_rows: Mapping[str, int] = dict(
            self._all("select year, count(*) from observations group by year order by year")
        )
        """Rows of `observations` per year; a year without any is not in it."""
        self.quarantined_rows: Mapping[str, Mapping[str, int]] = _nested(
            self._all("select year, rule, count(*) from quarantined_observations group by all order by all")
        )
        """Rejected rows per year and rule."""
        self.cell_faults: Mapping[str, Mapping[str, Mapping[str, int]]] = {
            year: _nested(rows)
            for year, rows in _grouped(
                self._all("select year, column_name, fault, cells from cell_faults order by all")
            ).items()
        }
        """Cells of clean rows made missing, per year, column and fault."""

    def observations(self, year: str) -> pa.RecordBatchReader:
        """The clean rows of a year as OBSERVATIONS_SCHEMA, ordered by station and day."""
        return self._rows("observations", year, OBSERVATIONS_SCHEMA)

    def quarantined(self, year: str) -> pa.RecordBatchReader:
        """The rejected rows of a year as QUARANTINE_SCHEMA, ordered by file and row number."""
        if year not in self.quarantined_rows:  # as in most years: no need to look for them
            return pa.RecordBatchReader.from_batches(QUARANTINE_SCHEMA, [])
        return self._rows("quarantined_observations", year, QUARANTINE_SCHEMA)

    def _all(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return rows

    def _rows(self, table: str, year: str, schema: pa.Schema) -> pa.RecordBatchReader:
        selected = self._connection.sql(f"select * from {table} where year = ?", params=[year])  # noqa: S608
        batches = selected.to_arrow_reader(100_000)
        typed = (
            pa.RecordBatch.from_arrays([batch.column(f.name).cast(f.type) for f in schema], schema=schema)
            for batch in batches
        )
        return pa.RecordBatchReader.from_batches(schema, typed)


@dataclass(frozen=True)
class DbtCleaning:
    """Runs the dbt project on raw rows. `scratch_home` is where scratch folders are made."""

    project: Path
    first_month: str
    timezone: str
    scratch_home: Path
    threads: int = 2
    memory_limit: str = "1GB"
    contract: Mapping[str, Any] = field(default_factory=column_contract)

    @contextlib.contextmanager
    def cleaned(self, raw: pa.RecordBatchReader, stations: pa.Table) -> Iterator[CleanedYears]:
        """Clean these rows (RAW_SCHEMA, any months); InvariantError when dbt or one of its tests fails."""
        with scratch_folder(self.scratch_home) as scratch:
            self._write_inputs(scratch, raw, stations)
            with self._database(scratch) as connection:
                self._run_dbt(scratch)
                yield CleanedYears(connection)

    def _write_inputs(self, scratch: Path, raw: pa.RecordBatchReader, stations: pa.Table) -> None:
        recogniser = Recogniser(stations_of(stations))
        before = 0
        # Read once and deleted: statistics would be for nobody.
        with pq.ParquetWriter(
            scratch / "raw_observations.parquet", _INPUT_SCHEMA, compression="lz4", write_statistics=False
        ) as writer:
            for rows in _in_groups(raw):
                writer.write_table(self._input_rows(rows, before, recogniser))
                before += rows.num_rows
        pq.write_table(stations, scratch / "stations.parquet")

    def _input_rows(self, rows: pa.Table, before: int, recogniser: Recogniser) -> pa.Table:
        fetched_at = rows["fetched_at"].cast(pa.timestamp("us", tz=self.timezone))
        known = {
            "row_id": pa.array(np.arange(before, before + rows.num_rows)),
            "year": pc.utf8_slice_codeunits(rows["month"], 0, 4),
            "fetched_day": pc.local_timestamp(fetched_at).cast(pa.date32()),
            "station_id": recogniser.ids(rows).cast(pa.string()),
        }
        columns = [known[f.name] if f.name in known else rows[f.name] for f in _INPUT_SCHEMA]
        return pa.Table.from_arrays(columns, schema=_INPUT_SCHEMA)

    @contextlib.contextmanager
    def _database(self, scratch: Path) -> Iterator[Any]:
        """A connection to the database of this scratch folder, which dbt opens by the same name in this process.

        The inputs are views on their files in it: dbt reads them by the names of its sources, which hold no path.
        """
        import duckdb

        with duckdb.connect(_database_name(scratch), config=self._duckdb_config(scratch)) as connection:
            connection.execute("attach ':memory:' as scratch")
            connection.execute("use scratch")
            connection.execute("create schema input")
            for name in ("raw_observations", "stations"):
                path = str(scratch / f"{name}.parquet").replace("'", "''")
                connection.execute(f"create view input.{name} as select * from read_parquet('{path}')")  # noqa: S608
            yield connection

    def _run_dbt(self, scratch: Path) -> None:
        variables = json.dumps({"first_day": f"{self.first_month}-01", "contract": dict(self.contract)})
        (scratch / "profiles.yml").write_text(json.dumps(self._profile(scratch)), encoding="utf-8")
        options = ["--project-dir", str(self.project), "--threads", str(self.threads), "--vars", variables]
        with _ONE_AT_A_TIME:
            known = (self.project, variables)
            if known not in _PARSED:
                _PARSED[known] = _invoke(None, scratch, "parse", *options)
            _invoke(_PARSED[known], scratch, "build", *options)

    def _profile(self, scratch: Path) -> dict[str, Any]:
        output = {
            "type": "duckdb",
            "path": _database_name(scratch),
            "config_options": self._duckdb_config(scratch),
            # Of a path in memory dbt makes another database name than DuckDB: the attached one is scratch for both.
            "database": "scratch",
            "attach": [{"path": ":memory:", "alias": "scratch"}],
            "threads": self.threads,
        }
        return {"weather_platform": {"target": "scratch", "outputs": {"scratch": output}}}

    def _duckdb_config(self, scratch: Path) -> dict[str, Any]:
        return {
            "memory_limit": self.memory_limit,
            "threads": self.threads,
            "temp_directory": str(scratch / "spill"),
            "autoinstall_known_extensions": False,  # never reach for the network
        }


def _database_name(scratch: Path) -> str:
    """All connections of a process to a database in memory of the same name see the same tables."""
    return f":memory:{scratch.name}"


def _invoke(parsed: Any, scratch: Path, command: str, *options: str) -> Any:
    """Run a command of dbt, on a project that was parsed before unless that is None; gives the command's result."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    arguments = [
        "--no-send-anonymous-usage-stats", "--no-version-check", "--no-use-colors", "--no-print", "--quiet",
        "--log-level", "none", "--log-level-file", "none", "--log-path", str(scratch / "logs"),
        "--no-partial-parse", "--no-write-json", "--no-populate-cache", command,
        "--profiles-dir", str(scratch), "--target-path", str(scratch / "target"), *options,
    ]  # fmt: skip
    # dbt changes into its project folder, and keeps its DuckDB connection open for the rest of the process.
    with contextlib.chdir(scratch):
        try:
            outcome = dbtRunner(parsed).invoke(arguments)
        finally:
            if DuckDBConnectionManager._ENV is not None:
                DuckDBConnectionManager._ENV.close()
            DuckDBConnectionManager.close_all_connections()
            reset_adapters()
    if not outcome.success:
        raise InvariantError(f"cleaning failed and nothing was published: {_reasons(outcome)}")
    return outcome.result


def _in_groups(raw: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The batches, which are small months, in groups of a size that DuckDB is quick with."""
    waiting: list[pa.RecordBatch] = []
    for batch in raw:
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= _ROW_GROUP_ROWS:
            yield raw_rows(pa.Table.from_batches(waiting))
            waiting = []
    yield raw_rows(pa.Table.from_batches(waiting, raw.schema))


def _reasons(outcome: Any) -> str:
    """Names and messages of what failed, in one line."""
    results = getattr(outcome.result, "results", None) or []
    failed = [result for result in results if result.status in ("error", "fail")]
    reasons = [f"{result.node.name}: {' '.join(str(result.message).split())}" for result in failed]
    return "; ".join(reasons) or " ".join(str(outcome.exception or "dbt gave no reason").split())


def _grouped(rows: Sequence[tuple[Any, ...]]) -> dict[str, list[tuple[Any, ...]]]:
    groups: dict[str, list[tuple[Any, ...]]] = {}
    for key, *rest in rows:
        groups.setdefault(key, []).append(tuple(rest))
    return groups


def _nested(rows: Sequence[tuple[Any, ...]]) -> dict[str, dict[str, int]]:
    return {key: dict(rest) for key, rest in _grouped(rows).items()}
