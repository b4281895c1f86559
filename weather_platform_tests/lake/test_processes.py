"""Several processes on one lake: nothing is lost, nothing is doubled, a killed range leaves old or new."""

import time
from pathlib import Path

import pyarrow as pa

from weather_platform.lake import Lake
from weather_platform_tests.lake.writers import month, replace_months, replace_slowly
from weather_platform_tests.processes import FORKS


def contents(lake: Lake) -> dict[str, list[int]]:
    """The values of every month, once each, and that all its rows are there is for the caller to count."""
    rows = lake.read("raw")
    found: dict[str, list[int]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["month"], []).append(row["value"])
    return found


def _together(lake: Lake, *works: tuple[list[str], int, int]) -> None:
    start = FORKS.Barrier(len(works))
    writers = [
        FORKS.Process(target=replace_months, args=(lake.uri, {}, keys, value, rows, start))
        for keys, value, rows in works
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0


def test_two_processes_create_a_table_and_replace_different_months_without_loss(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    even, odd = ([f"2008-{number:02}" for number in range(first, 13, 2)] for first in (2, 1))
    _together(lake, (even, 2, 5), (odd, 1, 7))
    assert contents(lake) == {key: [2] * 5 for key in even} | {key: [1] * 7 for key in odd}


def test_two_processes_replacing_the_same_months_leave_one_of_them_whole(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    keys = [f"2008-{number:02}" for number in range(1, 7)]
    _together(lake, (keys, 1, 3), (keys, 2, 4))
    found = contents(lake)
    assert set(found) == set(keys)
    assert all(values in ([1] * 3, [2] * 4) for values in found.values())


def test_two_writers_that_started_from_one_version_do_not_double_a_new_partition(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.replace_partition("raw", "month", "2008-01", month("2008-01", 1, 1))

    def interrupted() -> object:
        # While this writer streams its rows, another one makes the same partition.
        yield from month("2008-02", 1, 2).to_batches()
        Lake(lake.uri).replace_partition("raw", "month", "2008-02", month("2008-02", 2, 3))
        yield from month("2008-02", 1, 2).to_batches()

    reader = pa.RecordBatchReader.from_batches(month("2008-02", 1, 0).schema, interrupted())
    assert lake.replace_partition("raw", "month", "2008-02", reader) == 3
    assert contents(lake) == {"2008-01": [1], "2008-02": [1] * 4}
    assert lake.read("raw", version=2).num_rows == 4


def test_a_range_killed_halfway_leaves_every_partition_old_or_new_and_can_be_run_again(
    tmp_path: Path,
) -> None:
    lake = Lake(str(tmp_path))
    keys = [f"{year}-{number:02}" for year in (2008, 2009, 2010) for number in range(1, 13)]
    replace_months(lake.uri, {}, keys, 1, 50)
    before = lake.version("raw")
    writer = FORKS.Process(target=replace_slowly, args=(lake.uri, keys, 2, 60))
    writer.start()
    deadline = time.monotonic() + 60
    while lake.version("raw") == before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    writer.kill()
    writer.join()
    halfway = contents(lake)
    assert set(halfway) == set(keys)
    assert all(values in ([1] * 50, [2] * 60) for values in halfway.values())
    assert [1] * 50 in halfway.values()
    assert [2] * 60 in halfway.values()
    replace_months(lake.uri, {}, keys, 2, 60)
    assert contents(lake) == {key: [2] * 60 for key in keys}
