"""Tables of the lake on real Delta tables: replacing, pinning, pruning, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.errors import InvariantError, LakeError, PartitionMissingError
from weather_platform.lake import ComputedPartitions, Lake, TablePartitions
from weather_platform.lake.tables import COMMIT_PARTITIONS, COMMIT_ROWS

SCHEMA = pa.schema([pa.field("month", pa.string(), nullable=False), pa.field("value", pa.int64())])


def month(key: str, *values: int) -> pa.Table:
    return pa.table({"month": [key] * len(values), "value": list(values)}, schema=SCHEMA)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_a_partition_is_replaced_and_the_others_stay(lake: Lake) -> None:
    versions = [
        lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1, 2)),
        lake.replace_partition("raw", "month", "2008-02", month("2008-02", 3)),
        lake.replace_partition("raw", "month", "2008-01", month("2008-01", 9)),
    ]
    assert versions == [1, 2, 3]
    assert lake.version("raw") == 3
    assert lake.read("raw").to_pylist() == [
        {"month": "2008-01", "value": 9},
        {"month": "2008-02", "value": 3},
    ]
    assert lake.snapshot("raw").schema.equals(SCHEMA)


def test_an_older_version_gives_the_rows_it_had(lake: Lake) -> None:
    first = lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1, 2))
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 9))
    assert lake.read("raw", version=first)["value"].to_pylist() == [1, 2]
    assert lake.dataset("raw", first).count_rows() == 2
    assert lake.row_counts("raw", "month", first) == {"2008-01": 2}
    with pytest.raises(LakeError, match="raw"):
        lake.read("raw", version=99)


def test_a_view_keeps_reading_its_version_while_others_write(lake: Lake) -> None:
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1))
    view = TablePartitions.of(lake, "raw", ["2008-01", "2008-02"])
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 7))
    lake.replace_partition("raw", "month", "2008-02", month("2008-02", 8))
    assert list(view) == ["2008-01"]
    assert view.version == 1
    assert view["2008-01"]["value"].to_pylist() == [1]
    assert view.table()["value"].to_pylist() == [1]


def test_a_partition_without_rows_is_present_and_one_never_written_is_not(lake: Lake) -> None:
    lake.replace_partition("raw", "month", "2011-04", month("2011-04"))
    assert lake.partitions("raw", "month") == {"2011-04"}
    assert lake.row_counts("raw", "month") == {"2011-04": 0}
    view = TablePartitions.of(lake, "raw", ["2011-04", "2011-05"])
    assert list(view) == ["2011-04"]
    assert view["2011-04"].num_rows == 0
    assert view["2011-04"].schema.equals(SCHEMA)
    with pytest.raises(KeyError):
        view["2011-05"]


def test_a_partition_can_become_empty_and_full_again(lake: Lake) -> None:
    for values in ((1, 2), (), (3,)):
        lake.replace_partition("raw", "month", "2008-01", month("2008-01", *values))
        assert lake.read("raw")["value"].to_pylist() == list(values)
        assert lake.row_counts("raw", "month") == {"2008-01": len(values)}


def test_reading_by_key_lists_no_other_file(lake: Lake) -> None:
    for key in ("2008-01", "2008-02", "2008-03"):
        lake.replace_partition("raw", "month", key, month(key, 1))
    files = lake.snapshot("raw").dataset(["2008-02"]).files
    assert len(files) == 1
    assert files[0].startswith("month=2008-02/")


def test_rows_come_in_the_order_of_partitions_whatever_the_order_of_writing(lake: Lake) -> None:
    for key in ("2008-03", "2007-12", "2008-01"):
        lake.replace_partition("raw", "month", key, month(key, 2, 1))
    expected = ["2007-12", "2007-12", "2008-01", "2008-01", "2008-03", "2008-03"]
    view = TablePartitions.of(lake, "raw", ["2008-03", "2007-12", "2008-01"])
    assert lake.read("raw")["month"].to_pylist() == expected
    assert view.table()["month"].to_pylist() == expected
    assert view.reader().read_all()["value"].to_pylist() == [2, 1, 2, 1, 2, 1]


def test_views_narrow_columns_rows_and_partitions(lake: Lake) -> None:
    for key in ("2008-01", "2008-02", "2008-03"):
        lake.replace_partition("raw", "month", key, month(key, 1, 2, 3))
    view = TablePartitions.of(lake, "raw", ["2008-01", "2008-02", "2008-03"])
    narrow = view.select(["value"]).where(pc.field("value") > 1).where(pc.field("month") != "2008-02")
    assert narrow["2008-01"].to_pydict() == {"value": [2, 3]}
    assert narrow.up_to("2008-02").table()["value"].to_pylist() == [2, 3]
    assert narrow.only(["2008-03", "1999-01"]).schema.names == ["value"]
    assert list(view.only(["2008-03", "1999-01"])) == ["2008-03"]
    assert view.only([]).table().num_rows == 0
    assert view.row_counts == {"2008-01": 3, "2008-02": 3, "2008-03": 3}
    assert lake.read("raw", columns=["value"], filter=pc.field("month") == "2008-01").num_rows == 3


def test_a_reader_is_streamed_and_checked_batch_by_batch(lake: Lake) -> None:
    def batches(second: str) -> Iterator[pa.RecordBatch]:
        yield from month("2008-01", 1, 2).to_batches()
        yield from month(second, 3).to_batches()

    reader = pa.RecordBatchReader.from_batches(SCHEMA, batches("2008-01"))
    lake.replace_partition("raw", "month", "2008-01", reader)
    with pytest.raises(InvariantError, match="also hold month 2008-02"):
        lake.replace_partition("raw", "month", "2008-01", pa.RecordBatchReader.from_batches(SCHEMA, batches("2008-02")))
    assert lake.read("raw")["value"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pa.table({"value": [1]}), "no column 'month'"),
        (pa.table({"month": ["2008-01"]}), "lack its column 'value'"),
        (pa.table({"month": ["2008-01"], "value": ["1"]}), "have 'value' as string, the table as int64"),
        (pa.table({"month": ["2008-01", None], "value": [1, 2]}), "nulls in 'month'"),
        (month("2008-02", 1), "partition '2008-01' of table 'raw' also hold month 2008-02"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_change_nothing(lake: Lake, rows: pa.Table, message: str) -> None:
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1))
    with pytest.raises(InvariantError, match=message):
        lake.replace_partition("raw", "month", "2008-01", rows)
    assert lake.version("raw") == 1


def test_a_new_column_is_added_and_is_null_in_the_other_partitions(lake: Lake) -> None:
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1))
    wider = month("2008-02", 2).append_column("gust", pa.array(["W"]))
    lake.replace_partition("raw", "month", "2008-02", wider)
    assert lake.read("raw")["gust"].to_pylist() == [None, "W"]
    assert lake.read("raw", version=1).schema.names == ["month", "value"]


def test_a_table_keeps_its_partition_column(lake: Lake) -> None:
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1))
    with pytest.raises(InvariantError, match="partitioned by"):
        lake.replace_table("raw", month("2008-01", 1))
    with pytest.raises(InvariantError, match="partitioned by 'month', not by 'year'"):
        lake.partitions("raw", "year")


def test_an_unpartitioned_table_is_replaced_with_its_schema(lake: Lake) -> None:
    assert lake.replace_table("stations", pa.table({"id": ["Albury", "Cobar"]})) == 1
    assert lake.replace_table("stations", pa.table({"name": pa.array([], pa.string())})) == 2
    assert lake.read("stations").schema.names == ["name"]
    assert lake.read("stations", version=1)["id"].to_pylist() == ["Albury", "Cobar"]
    assert lake.snapshot("stations").row_counts() == {"": 0}


def test_a_table_that_does_not_exist_is_named_with_the_remedy(lake: Lake) -> None:
    assert not lake.exists("features")
    assert lake.partitions("features", "year") == set()
    for read in (lake.read, lake.dataset, lake.version, lake.snapshot):
        with pytest.raises(PartitionMissingError, match="no table 'features' yet; materialise that asset first"):
            read("features")


def damaged(lake: Lake, damage: str) -> None:
    """A table of three months whose second lost its file, or the end of it."""
    for key in ("2008-01", "2008-02", "2008-03"):
        lake.replace_partition("raw", "month", key, month(key, *range(1000)))
    [file] = Path(lake.uri).glob("raw/month=2008-02/*.parquet")
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 12 if damage == "cut short" else 0])


@pytest.mark.parametrize("damage", ["missing", "cut short", "empty"])
def test_a_damaged_file_is_a_fault_of_the_lake_however_it_is_read(lake: Lake, damage: str) -> None:
    damaged(lake, damage)
    snapshot = lake.snapshot("raw")
    view = TablePartitions.of(lake, "raw", ["2008-01", "2008-02", "2008-03"])
    for read in (snapshot.read, lambda: list(snapshot.stream()), view.table, lambda: view.reader().read_all()):
        with pytest.raises(LakeError, match=r"table 'raw' at .*month=2008-02") as caught:
            read()
        assert str(caught.value).endswith("; check that the store is there and readable, then run again")
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert view["2008-03"].num_rows == 1000, "the other partitions are read as ever"
    assert sum(batch.num_rows for batch in view.only(["2008-01", "2008-03"]).reader()) == 2000


def test_a_stream_is_a_reader_of_small_batches(lake: Lake) -> None:
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", *range(200_000)))
    stream = lake.snapshot("raw").stream(columns=["value"], where=pc.field("value") >= 100_000)
    assert isinstance(stream, pa.RecordBatchReader)
    assert stream.schema.names == ["value"]
    batches = list(stream)
    assert len(batches) > 1
    assert pa.Table.from_batches(batches)["value"].to_pylist() == list(range(100_000, 200_000))


def test_a_column_that_a_table_does_not_have_is_no_fault_of_the_store(lake: Lake) -> None:
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1))
    for read in (lake.snapshot("raw").read, lake.snapshot("raw").stream):
        with pytest.raises(pa.ArrowInvalid, match="No match"):
            read(columns=["gust"])
        assert read(columns=["value"]).schema.names == ["value"]


def test_a_message_of_the_store_is_told_without_colours(lake: Lake) -> None:
    with pytest.raises(LakeError) as caught, lake.speaking_clearly("raw"):
        raise OSError("\x1b[1;31mno\x1b[0m\nway.")
    assert str(caught.value) == (
        f"lake table 'raw' at {lake.uri}: OSError: no way; check that the store is there and readable, then run again"
    )


def test_names_cannot_leave_the_lake(lake: Lake) -> None:
    for name in ("../raw", "", "a/b", ".hidden"):
        with pytest.raises(InvariantError, match="cannot be the name"):
            lake.version(name)
        with pytest.raises(InvariantError, match="cannot be a partition key"):
            lake.replace_partition("raw", "month", name, month(name, 1))


def test_large_partitions_of_a_range_are_committed_before_the_next_rows_are_asked_for(lake: Lake) -> None:
    asked: list[str] = []

    def compute(key: str) -> pa.Table:
        asked.append(f"{key} at {lake.version('raw') if lake.exists('raw') else 0}")
        return month(key, *range(COMMIT_ROWS))

    made = ComputedPartitions(["2008-01", "2008-02"], compute)
    assert [stored.version for stored in lake.replace_partitions("raw", "month", made.items())] == [1, 2]
    assert asked == ["2008-01 at 0", "2008-02 at 1"]


def test_small_partitions_of_a_range_share_commits_of_a_bounded_number(lake: Lake) -> None:
    keys = [f"{year}-{number:02}" for year in (2008, 2009, 2010) for number in range(1, 13)]
    stored = list(lake.replace_partitions("raw", "month", ((key, month(key, 1)) for key in keys)))
    assert [partition.key for partition in stored] == keys
    assert [partition.version for partition in stored] == [1] * COMMIT_PARTITIONS + [2] * (36 - COMMIT_PARTITIONS)
    assert set(lake.row_counts("raw", "month", version=1)) == set(keys[:COMMIT_PARTITIONS])


def test_a_partition_given_twice_in_one_range_is_refused(lake: Lake) -> None:
    with pytest.raises(InvariantError, match="given twice"):
        list(
            lake.replace_partitions(
                "raw", "month", [("2008-01", month("2008-01", 1)), ("2008-01", month("2008-01", 2))]
            )
        )
    assert lake.row_counts("raw", "month") == {}


def test_the_partitions_of_one_range_have_the_same_columns(lake: Lake) -> None:
    wider = month("2008-02", 1).append_column("gust_kmh", pa.array([40.0]))
    for range_ in ([month("2008-01", 1), wider], [wider, month("2008-01", 1)]):
        named = [(table["month"][0].as_py(), table) for table in range_]
        with pytest.raises(InvariantError, match=rf"partition '{named[1][0]}' .* has other columns than those before"):
            list(lake.replace_partitions("raw", "month", named))
    assert lake.row_counts("raw", "month") == {}


def test_a_partition_that_cannot_be_written_ends_the_range(lake: Lake) -> None:
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1))
    astray = [("2008-01", month("2008-01", 2)), ("2008-02", month("2008-03", 2)), ("2008-04", month("2008-04", 2))]
    with pytest.raises(InvariantError, match=r"rows for partition '2008-02' .* also hold month 2008-03"):
        list(lake.replace_partitions("raw", "month", astray))
    assert lake.version("raw") == 1


def test_many_commits_stay_readable_through_checkpoints(lake: Lake) -> None:
    keys = [f"{year}-{month:02}" for year in (2008, 2009, 2010, 2011) for month in range(1, 13)]
    for key in keys:
        lake.replace_partition("raw", "month", key, month(key, 1))
    assert lake.partitions("raw", "month") == set(keys)
    assert lake.read("raw", version=3).num_rows == 3
    assert any(Path(lake.uri).rglob("*.checkpoint.parquet"))


def test_printing_a_lake_shows_no_secret() -> None:
    assert "geheim" not in repr(Lake("s3://lake", {"AWS_SECRET_ACCESS_KEY": "geheim"}))
