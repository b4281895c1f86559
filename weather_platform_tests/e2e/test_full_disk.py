"""A disk that is full, at several moments of a first run: one line, nothing half there, and the next command goes on.

The disk is a file system in memory of a few megabytes, which only root may mount.
"""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from weather_platform_tests.e2e.homes import MadeHome, empty_home


def _mount(folder: Path, size: str) -> bool:
    options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(options, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(params=["100k", "1m", "3m"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MadeHome]:
    """A home on a disk that has no room for Dagster's stores, for its events, or for the rows."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _mount(disk, request.param):
        pytest.skip("mounting a file system needs root")
    try:
        yield empty_home(disk / "home")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_with_room_the_home_is_used_again(small: MadeHome) -> None:
    done = small.run("run", "--source", "synthetic")
    assert (done.code, done.out) == (1, "")
    assert "Traceback" not in done.err
    assert done.lines[-1].startswith("weather: ")
    assert "room" in done.lines[-1]
    assert "server" not in done.err
    assert "WEATHER_DATABASE_URL" not in done.err
    reading = small.call("status")
    assert "Traceback" not in reading.err
    assert all(line.startswith("weather: ") for line in reading.lines)
    subprocess.run(["mount", "-o", "remount,size=100m", str(small.folder.parent)], check=True)
    done = small.call("env")
    assert done.code == 0, done.err
    runs = small.folder / "dagster" / "history" / "runs.db"
    with closing(sqlite3.connect(runs)) as connection:
        assert [status for (status,) in connection.execute("SELECT DISTINCT status FROM runs")] in ([], ["FAILURE"])
    assert list((small.folder / "scratch").glob("cleaning-*")) == []
    assert list((small.folder / "dagster").glob("in_progress/*")) == []
