"""Which files of a folder are read: regular ones in it, each once; the others are named and passed over."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from weather_platform.errors import SourceError
from weather_platform.sources.csv_files import CsvSource
from weather_platform_tests.sources.test_csv_files import everything, opened, row, table

__all__ = ["opened"]

ROWS = table(row("2009-11-01"), row("2009-11-02"))


def test_pipes_sockets_devices_and_links_out_of_the_folder_are_named_and_passed_over(
    opened: Callable[..., CsvSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened({"a.csv": ROWS, "b/c.csv": table(row("2009-11-03"))})
    folder, outside = tmp_path / "observations", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text(table(row("2009-12-24")))
    os.mkfifo(folder / "pipe.csv")
    os.mkfifo(folder / "b" / "pipe.csv.gz")
    os.mkfifo(folder / "pipe.txt")  # would not be read anyway
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.csv")
    (folder / "device.csv").symlink_to(os.devnull)
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    (folder / "up.csv").symlink_to("../outside/secret.csv")
    (folder / "folder").symlink_to(outside)
    (folder / "gone.csv").symlink_to(folder / "nothing.csv")
    assert [each["file"] for each in everything(source)] == ["a.csv", "a.csv", "b/c.csv"]
    assert source.remarks() == tuple(
        f"{folder}: passed over {name}"
        for name in (
            "b/pipe.csv.gz (a named pipe)",
            "device.csv (a link out of the folder)",
            "folder (a link out of the folder)",
            "gone.csv (a link to nothing)",
            "link.csv (a link out of the folder)",
            "pipe.csv (a named pipe)",
            "socket.csv (a socket)",
            "up.csv (a link out of the folder)",
        )
    )


def test_links_inside_the_folder_are_followed_and_a_file_is_read_once(
    opened: Callable[..., CsvSource], tmp_path: Path
) -> None:
    source = opened({"a.csv": ROWS, "kept/b.data": table(row("2009-11-03"))})
    folder = tmp_path / "observations"
    (folder / "0.csv").symlink_to("a.csv")
    (folder / "b.csv").symlink_to("kept/b.data")
    (folder / "again").symlink_to("kept")
    (folder / "loop").symlink_to(".")
    assert [each["file"] for each in everything(source)] == ["a.csv", "a.csv", "b.csv"]
    assert source.remarks() == (f"{folder}: passed over 0.csv (a link to a.csv, which is read)",)


def test_a_folder_or_a_file_may_be_named_by_a_link(opened: Callable[..., CsvSource], tmp_path: Path) -> None:
    opened({"a.csv": ROWS}).coverage()
    (tmp_path / "folder").symlink_to("observations")
    (tmp_path / "one.csv").symlink_to("observations/a.csv")
    assert {each["file"] for each in everything(opened(tmp_path / "folder"))} == {"a.csv"}
    single = opened(tmp_path / "one.csv")
    assert {each["file"] for each in everything(single)} == {"one.csv"}
    assert single.remarks() == ()


def test_a_folder_of_pipes_alone_says_what_was_passed_over(opened: Callable[..., CsvSource], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(
        SourceError, match=r"no \*\.csv or \*\.csv\.gz file that can be read; passed over: a\.csv \(a n"
    ):
        opened(tmp_path).coverage()


def test_a_path_that_is_a_pipe_is_refused(opened: Callable[..., CsvSource], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(SourceError, match=r"a\.csv is a named pipe; point the source at a CSV file or a folder"):
        opened(tmp_path / "a.csv").coverage()


def test_a_file_that_becomes_a_pipe_after_it_was_found_does_not_stop_the_run(
    opened: Callable[..., CsvSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened({"a.csv": ROWS, "b.csv": ROWS})
    second = tmp_path / "observations" / "b.csv"
    reach = os.open

    def swap(path: os.PathLike[str], *args: int, **kwargs: int) -> int:
        handle = reach(path, *args, **kwargs)
        if Path(path).name == "a.csv":
            second.unlink()
            os.mkfifo(second)
        return handle

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(SourceError, match=r"b\.csv: it is a named pipe, not a regular file"):
        source.coverage()
