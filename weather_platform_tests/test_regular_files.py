"""Only regular files are opened, and nothing else makes a process wait."""

import os
import socket
from pathlib import Path

import pytest

from weather_platform.errors import SettingsError
from weather_platform.regular_files import NotRegularFileError, open_regular, replace_file
from weather_platform.settings import load_settings


@pytest.fixture(params=["a named pipe", "a socket", "a directory", "a device"])
def special(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A path of each kind that is no regular file, and the word for it."""
    path = tmp_path / "special"
    if request.param == "a named pipe":
        os.mkfifo(path)
    elif request.param == "a socket":
        monkeypatch.chdir(tmp_path)  # the path of a socket may have no more than 108 bytes
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("special")
    elif request.param == "a directory":
        path.mkdir()
    else:
        path = Path(os.devnull)
    return path, request.param


def test_what_is_no_regular_file_is_not_opened(special: tuple[Path, str], tmp_path: Path) -> None:
    path, kind = special
    link = tmp_path / "link"
    link.symlink_to(path)
    for each in (path, link):
        with pytest.raises(NotRegularFileError, match=f"it is {kind}, not a regular file"):
            open_regular(each)
        if kind == "a device":  # it never waits, and `--json /dev/stdout` is a fair wish
            replace_file(each, b"data")
        else:
            with pytest.raises(NotRegularFileError, match=f"it is {kind}, not a regular file"):
                replace_file(each, b"data")


def test_regular_files_are_read_and_replaced_also_through_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    replace_file(file, b"something long")
    link.symlink_to(file)
    replace_file(link, b"short")
    with open_regular(link) as opened:
        assert opened.read() == b"short"
    assert link.is_symlink()
    with pytest.raises(NotRegularFileError, match="it is a link"):
        open_regular(link, follow_links=False)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")


def test_a_pipe_in_place_of_the_remembered_source_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weather.env")
    with pytest.raises(SettingsError, match="it is a named pipe, not a regular file; set WEATHER_HOME"):
        load_settings(home=tmp_path)
