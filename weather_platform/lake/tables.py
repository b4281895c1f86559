"""Tables of the lake: partitions replaced whole, in one commit, and reads pinned to one version.

How a partition is replaced: its rows go into one new Parquet file, then one Delta commit adds that file and
removes the partition's old ones; small partitions of a range share a commit. Readers see the old partition
or the new one, never a mix; a process killed before the commit leaves only files nobody refers to.

An empty partition is a Parquet file with no rows. So the Delta log itself says which partitions were
written, with how many rows, in the same commit as everything else: no second store, and nothing to scan.

Two writers: each commit carries a Delta transaction identifier of its partition (`txn`, the n-th
replacement of it), so of two commits to the same partition that started from the same version the second is
refused, even when the partition did not exist before. It is then repeated on top of the first: the last one
wins, whole. Commits to different partitions do not disturb each other. The rows are not written again for a
repeated commit.

Old versions stay readable for good (nothing is vacuumed, the log is kept): a model can be trained again
from exactly the rows it saw.
"""

import json
import random
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction

from weather_platform.errors import MAKE_ROOM, InvariantError, LakeError, PartitionMissingError, is_full

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TABLE_PROPERTIES: Final[Mapping[str, str | None]] = {
    # Time travel for good: delta-rs would otherwise drop log entries older than 30 days at a checkpoint.
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    # Opening a table reads the log since the last checkpoint, one request per commit on S3.
    "delta.checkpointInterval": "20",
}
_COMMIT_ATTEMPTS: Final = 50
COMMIT_ROWS: Final = 65_536
"""Rows of small partitions that may share a commit, and be in memory until then."""
COMMIT_PARTITIONS: Final = 24
"""Partitions that may share a commit: what a killed range loses at most, and has to write again."""
_ROW_GROUP_ROWS: Final = 131_072
_STREAM_ROWS: Final = 65_536
_WRITERS: Final = 2
_COMMIT_ID: Final = "weather_platform.commit"
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_REMEDY: Final = "check that the store is there and readable, then run again"


class Replaced(NamedTuple):
    """What one replacement stored: the key, the version of its commit, rows and schema."""

    key: str
    version: int
    rows: int
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class _Written:
    """A partition whose rows are in a file that no commit names yet."""

    key: str
    rows: int
    added: AddAction


class Snapshot:
    """One version of one table. Every read of it gives the same rows, whatever is written meanwhile."""

    def __init__(self, lake: "Lake", table: str, delta: DeltaTable) -> None:
        self._lake = lake
        self._delta = delta
        self.table = table
        self.version: int = delta.version()
        self.table_id: str = str(delta.metadata().id)
        self.schema: pa.Schema = pa.schema(delta.schema().to_arrow())

    @property
    def partition_column(self) -> str | None:
        """The column that the table is partitioned by; None for an unpartitioned table."""
        columns = self._delta.metadata().partition_columns
        return columns[0] if columns else None

    @cached_property
    def _row_counts(self) -> dict[str, int]:
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        rows = actions.column("num_records").to_pylist()
        column = self.partition_column
        keys = actions.column(f"partition.{column}").to_pylist() if column else [""] * len(rows)
        counts = dict.fromkeys(sorted(keys), 0)
        for key, count in zip(keys, rows, strict=True):
            counts[key] += count
        return counts

    def row_counts(self) -> dict[str, int]:
        """Rows of every partition that was ever written, in ascending order of key, from the log alone.

        A partition written with no rows is there with 0. An unpartitioned table has the one key "".
        """
        return dict(self._row_counts)

    def missing_files(self, keys: Iterable[str]) -> list[str]:
        """Files of these partitions that the store no longer has: an older version whose files were vacuumed."""
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        wanted, column = set(keys), f"partition.{self.partition_column}"
        paths = [
            path
            for path, key in zip(actions["path"].to_pylist(), actions[column].to_pylist(), strict=True)
            if key in wanted
        ]
        with self._lake.speaking_clearly(self.table):
            found = self._lake.filesystem(self.table).get_file_info(paths)
        return sorted(info.path for info in found if info.type == pafs.FileType.NotFound)

    def dataset(self, keys: Iterable[str] | None = None) -> pds.Dataset:
        """The rows as a dataset: filters and columns are pushed down into the Parquet files.

        `keys` limits it to these partitions; files of other partitions are not even listed. Rows come in
        the order of partitions and, inside one, as they were written.
        """
        pruning = None
        if keys is not None:
            if (column := self.partition_column) is None:
                raise InvariantError(f"table '{self.table}' has no partitions; read it whole")
            pruning = [(column, "in", sorted(keys))]
        with self._lake.speaking_clearly(self.table):
            # Paths start with the partition (month=2008-01/...): their order is the order of partitions.
            whole = self._delta.to_pyarrow_dataset(
                filesystem=self._lake.filesystem(self.table), file_pruning_predicate=pruning
            )
            fragments = sorted(whole.get_fragments(), key=lambda fragment: fragment.path)
            return pds.FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)

    def read(
        self,
        *,
        keys: Iterable[str] | None = None,
        columns: Iterable[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """The rows of some or all partitions as one Arrow table."""
        with self._lake.speaking_clearly(self.table):
            # Columns and filter are looked at here, so that a wrong one is not told as a fault of the store.
            scanner = self.dataset(keys).scanner(columns=list(columns) if columns is not None else None, filter=where)
        with self._lake.speaking_clearly(self.table, pa.ArrowInvalid):
            return scanner.to_table()

    def stream(
        self,
        *,
        keys: Iterable[str] | None = None,
        columns: Iterable[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.RecordBatchReader:
        """The same rows, batch by batch, with a few batches in memory."""
        with self._lake.speaking_clearly(self.table):
            scanner = self.dataset(keys).scanner(
                columns=list(columns) if columns is not None else None,
                filter=where,
                batch_size=_STREAM_ROWS,
                batch_readahead=2,
                fragment_readahead=2,
            )
        with self._lake.speaking_clearly(self.table, pa.ArrowInvalid):
            scanned = scanner.to_reader()
        return pa.RecordBatchReader.from_batches(scanned.schema, self._batches(scanned))

    def _batches(self, scanned: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """The batches as they are read: files are opened, and fail, while others consume them."""
        with self._lake.speaking_clearly(self.table, pa.ArrowInvalid):
            yield from scanned


class Lake:
    """Delta tables below one folder or one `s3://bucket/prefix`.

    `storage_options` are those of delta-rs (for S3: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP,
    ...); their values never appear in a message.
    """

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self._storage_options = dict(storage_options or {})

    def __repr__(self) -> str:
        return f"Lake({self.uri!r})"

    # ---------------------------------------------------------------------------------------------- reading

    def snapshot(self, table: str, version: int | None = None) -> Snapshot:
        """The newest version of a table, or an older one; PartitionMissingError when there is none."""
        return Snapshot(self, table, self._open(table, version))

    def exists(self, table: str) -> bool:
        """Whether anything was ever written to this table."""
        try:
            self._open(table)
        except PartitionMissingError:
            return False
        return True

    def version(self, table: str) -> int:
        """The newest version of a table."""
        return self._open(table).version()

    def partitions(self, table: str, column: str) -> set[str]:
        """Keys of every partition written so far, also of empty ones; none when there is no table."""
        return set(self.row_counts(table, column))

    def row_counts(self, table: str, column: str, version: int | None = None) -> dict[str, int]:
        """Rows per partition from the log alone, ascending by key; empty when there is no table."""
        try:
            snapshot = self.snapshot(table, version)
        except PartitionMissingError:
            return {}
        if snapshot.partition_column != column:
            raise InvariantError(f"table '{table}' is partitioned by '{snapshot.partition_column}', not by '{column}'")
        return snapshot.row_counts()

    def dataset(self, table: str, version: int | None = None) -> pds.Dataset:
        """The whole table as a lazy dataset, pinned to one version."""
        return self.snapshot(table, version).dataset()

    def read(
        self,
        table: str,
        *,
        columns: Iterable[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 - the word of pyarrow.dataset
        version: int | None = None,
    ) -> pa.Table:
        """Rows and columns of a table; the filter is a pyarrow expression and is pushed down."""
        return self.snapshot(table, version).read(columns=columns, where=filter)

    # ---------------------------------------------------------------------------------------------- writing

    def replace_partition(self, table: str, column: str, key: str, data: pa.Table | pa.RecordBatchReader) -> int:
        """Replace one partition in one commit and return the version of that commit; the table is made if
        need be.

        `data` has `column` holding `key` in every row and may have no rows at all; a reader is streamed.
        Columns the table does not have yet are added to it (null in the other partitions); a column missing
        or of another type is an InvariantError, as are rows of another key and a null where the schema
        allows none.
        """
        [replaced] = self.replace_partitions(table, column, [(key, data)])
        return replaced.version

    def replace_partitions(
        self, table: str, column: str, partitions: Iterable[tuple[str, pa.Table | pa.RecordBatchReader]]
    ) -> Iterator["Replaced"]:
        """Replace one partition after the other and tell of each after its commit.

        All have the same columns. Small partitions that follow each other share a commit (up to COMMIT_ROWS rows
        and COMMIT_PARTITIONS of them) and are written while the next are made; a larger one, or a reader, is
        written before the next is asked for, so no two of those are in memory. A range that dies halfway leaves
        every partition old or new.
        """
        delta: DeltaTable | None = None
        given, schema = pa.schema([]), pa.schema([])
        files: dict[str, Future[_Written]] = {}
        rows = 0
        with ThreadPoolExecutor(_WRITERS, "lake-writer") as writers:
            for key, data in partitions:
                if not _NAME.fullmatch(key):
                    raise InvariantError(f"'{key}' cannot be a partition key of table '{table}'")
                if key in files:
                    raise InvariantError(f"partition '{key}' of table '{table}' is given twice in one range")
                if delta is None:
                    given = data.schema
                    delta, schema = self._opened_for(table, given, column)
                elif not given.equals(data.schema):
                    raise InvariantError(f"partition '{key}' of table '{table}' has other columns than those before it")
                files[key] = writers.submit(self._write, table, schema, data, column, key)
                rows += data.num_rows if isinstance(data, pa.Table) else files[key].result().rows
                del data
                if len(files) >= COMMIT_PARTITIONS or rows >= COMMIT_ROWS:
                    delta, replaced = self._commit(
                        table, delta, given, column, [file.result() for file in files.values()]
                    )
                    yield from replaced
                    files, rows = {}, 0
            if delta is not None and files:
                yield from self._commit(table, delta, given, column, [file.result() for file in files.values()])[1]

    def replace_table(self, table: str, data: pa.Table | pa.RecordBatchReader) -> int:
        """Replace an unpartitioned table, schema and all, in one commit; returns its version."""
        delta, schema = self._opened_for(table, data.schema, None)
        written = self._write(table, schema, data, None, "")
        [replaced] = self._commit(table, delta, data.schema, None, [written])[1]
        return replaced.version

    def _opened_for(self, table: str, given: pa.Schema, column: str | None) -> tuple[DeltaTable, pa.Schema]:
        """The table, made if need be, and its schema with the columns that the given rows add to it."""
        if column is not None and column not in given.names:
            raise InvariantError(f"rows for table '{table}' have no column '{column}' to partition by")
        with self.speaking_clearly(table):
            delta = self._open_or_create(table, given, column)
            return delta, _agreed_schema(table, delta, given, column)

    def _write(
        self, table: str, schema: pa.Schema, data: pa.Table | pa.RecordBatchReader, column: str | None, key: str
    ) -> _Written:
        reader = data if isinstance(data, pa.RecordBatchReader) else data.to_reader()
        in_file = pa.schema([field for field in schema if field.name != column])
        path = f"{f'{column}={key}/' if column else ''}part-{uuid.uuid4()}.parquet"
        rows = 0
        with self.speaking_clearly(table):
            filesystem = pafs.PyFileSystem(DeltaStorageHandler(self._table_uri(table), self._storage_options))
            with filesystem.open_output_stream(path) as stream:
                with pq.ParquetWriter(
                    stream,
                    in_file,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=_repeating(in_file),
                    write_statistics=_filtered(in_file),
                ) as writer:
                    for batch in reader:
                        _check_batch(table, schema, batch, column, key)
                        columns = [_column_of(batch, field) for field in in_file]
                        part = pa.Table.from_arrays(columns, schema=in_file)
                        writer.write_table(part, row_group_size=_ROW_GROUP_ROWS)
                        rows += batch.num_rows
                size = stream.tell()
        partition = {column: key} if column else {}
        now_ms = int(time.time() * 1000)
        return _Written(key, rows, AddAction(path, size, partition, now_ms, True, json.dumps({"numRecords": rows})))

    def _commit(
        self, table: str, delta: DeltaTable, given: pa.Schema, column: str | None, written: list[_Written]
    ) -> tuple[DeltaTable, list[Replaced]]:
        commit_id = uuid.uuid4().hex
        tokens = {new.key: f"{column}={new.key}" if column else table for new in written}
        with self.speaking_clearly(table):
            for attempt in range(1, _COMMIT_ATTEMPTS + 1):
                before = delta.version()
                schema = _agreed_schema(table, delta, given, column)
                # Looking for the transaction of a partition takes a millisecond, and a new partition has none.
                stored = {part[column] for part in delta.partitions()} if column else {""}
                former = {key: delta.transaction_version(token) for key, token in tokens.items() if key in stored}
                try:
                    delta.create_write_transaction(
                        [new.added for new in written],
                        mode="overwrite",
                        schema=schema,
                        partition_by=[column] if column else [],
                        partition_filters=[(column, "in", [new.key for new in written])] if column else None,
                        commit_properties=CommitProperties(
                            custom_metadata={_COMMIT_ID: commit_id},
                            app_transactions=[
                                Transaction(token, (former.get(key) or 0) + 1) for key, token in tokens.items()
                            ],
                        ),
                    )
                    break
                except CommitFailedError:
                    if attempt == _COMMIT_ATTEMPTS:
                        raise
                time.sleep(random.uniform(0, 0.01 * min(attempt, 20)))  # noqa: S311 - only spreads the writers
                delta = self._open(table)
            # Others may have committed just before or after: the log says which version this commit became.
            delta.update_incremental()
            for commit in delta.history(delta.version() - before):
                if commit.get(_COMMIT_ID) == commit_id:
                    version = int(commit["version"])
                    return delta, [Replaced(new.key, version, new.rows, schema) for new in written]
        raise LakeError(f"table '{table}': the log does not show a commit just made; is the store consistent?")

    # ---------------------------------------------------------------------------------------------- opening

    def filesystem(self, table: str) -> pafs.FileSystem:
        """The files below one table, for reading.

        Arrow's own for a folder: it reads in threads, and a thread that lets go of a file of delta-rs' Python file
        system after the interpreter has ended takes the whole process down with it.
        """
        uri = self._table_uri(table)
        if "://" not in uri:
            return pafs.SubTreeFileSystem(str(Path(uri).absolute()), pafs.LocalFileSystem())
        return pafs.PyFileSystem(DeltaStorageHandler(uri, self._storage_options))

    def _table_uri(self, table: str) -> str:
        if not _NAME.fullmatch(table):
            raise InvariantError(f"'{table}' cannot be the name of a lake table")
        return f"{self.uri}/{table}"

    def _open(self, table: str, version: int | None = None) -> DeltaTable:
        with self.speaking_clearly(table):
            try:
                return DeltaTable(self._table_uri(table), version=version, storage_options=self._storage_options)
            except TableNotFoundError:
                pass
        raise PartitionMissingError(f"the lake has no table '{table}' yet; materialise that asset first")

    def _open_or_create(self, table: str, schema: pa.Schema, column: str | None) -> DeltaTable:
        try:
            return self._open(table)
        except PartitionMissingError:
            pass
        if "://" not in self.uri:
            Path(self._table_uri(table)).mkdir(parents=True, exist_ok=True)
        try:
            DeltaTable.create(
                self._table_uri(table),
                schema,
                partition_by=[column] if column else None,
                configuration=_TABLE_PROPERTIES,
                storage_options=self._storage_options,
            )
        except DeltaError:
            # Another process made it at the same moment: then it is there now, and that is as good.
            if not self.exists(table):
                raise
        return self._open(table)

    @contextmanager
    def speaking_clearly(self, table: str, *damages: type[Exception]) -> Iterator[None]:
        """Turn a failure of the store, and what tells of a damaged file, into a LakeError of one line without secrets.

        Damage is named by the caller: Arrow raises the same for a broken Parquet file and for a wrong call of its own.
        """
        faults: tuple[type[Exception], ...] = (DeltaError, OSError, *damages)
        try:
            yield
        except faults as error:
            text = " ".join(_COLOURS.sub("", str(error)).split()).rstrip(".")
            remedy = MAKE_ROOM if is_full(text) else _REMEDY
            message = f"lake table '{table}' at {self.uri}: {type(error).__name__}: {text}; {remedy}"
            # From None: the text of the original is not cleaned, so it must not be printed along.
            raise LakeError(self._without_secrets(message)) from None

    def _without_secrets(self, message: str) -> str:
        for name, value in self._storage_options.items():
            if value and re.search("key|secret|token|password|credential", name, re.IGNORECASE):
                message = message.replace(value, "***")
        return message


def _agreed_schema(table: str, delta: DeltaTable, data: pa.Schema, column: str | None) -> pa.Schema:
    """The table's schema with new columns of the data at its end."""
    partitioned_by = delta.metadata().partition_columns
    if partitioned_by != ([column] if column else []):
        raise InvariantError(
            f"table '{table}' is partitioned by {partitioned_by or 'nothing'}, not by {column or 'nothing'}"
        )
    if column is None:
        return data
    known = pa.schema(delta.schema().to_arrow())
    for field in known:
        if field.name not in data.names:
            raise InvariantError(f"rows for table '{table}' lack its column '{field.name}'")
        if not _same_type(data.field(field.name).type, field.type):
            given = data.field(field.name).type
            raise InvariantError(f"rows for table '{table}' have '{field.name}' as {given}, the table as {field.type}")
    added = [field.with_nullable(True) for field in data if field.name not in known.names]
    return pa.schema([*known, *added])


def _repeating(schema: pa.Schema) -> list[str]:
    """Columns worth a dictionary: all but float32, whose computed values hardly repeat (half the time to write)."""
    return [field.name for field in schema if not pa.types.is_float32(field.type)]


def _filtered(schema: pa.Schema) -> list[str]:
    """Columns whose smallest and largest value a file tells: days, numbers of rows; nobody looks for a temperature."""
    return [f.name for f in schema if pa.types.is_temporal(f.type) or pa.types.is_integer(f.type)]


def _same_type(given: pa.DataType, known: pa.DataType) -> bool:
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return given.equals(known) or (pa.types.is_string(known) and any(is_text(given) for is_text in text))


def _column_of(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    array = batch.column(field.name)
    return array if array.type.equals(field.type) else array.cast(field.type)


def _check_batch(table: str, schema: pa.Schema, batch: pa.RecordBatch, column: str | None, key: str) -> None:
    for field in schema:
        if not field.nullable and batch.column(field.name).null_count:
            raise InvariantError(f"rows for table '{table}' have nulls in '{field.name}', which must not be null")
    if column is not None and batch.num_rows:
        foreign = pc.unique(batch.column(column)).cast(pa.string()).to_pylist()
        if foreign != [key]:
            others = sorted({str(value) for value in foreign if value != key})
            raise InvariantError(
                f"rows for partition '{key}' of table '{table}' also hold {column} {', '.join(others)}"
            )
