"""The files of a folder that hold observations: found by name, regular, and in the folder itself.

What belongs here: which files are read, under which name, and which are passed over and why. What does not: what is
in them (``csv_files``).

Pipes, devices, sockets and links out of the folder are passed over: a pipe would stop the run, and a link may lead to
anything that the user of the platform can read.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from weather_platform.errors import SourceError
from weather_platform.regular_files import NotRegularFileError, kind_of, open_regular
from weather_platform.sources.own_stations import FILE_NAME as OWN_STATIONS

SUFFIXES = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file: `shown` is stored with its rows, `path` stands in messages, `real` is opened (no link in it)."""

    shown: str
    path: Path
    real: Path

    def open(self) -> BinaryIO:
        """Open it for reading; SourceError when it has become a pipe or a link since it was found, else OSError."""
        try:
            return open_regular(self.real, follow_links=False)
        except NotRegularFileError as error:
            raise SourceError(f"{self.path}: {error.strerror}; remove it or put the file in its place") from None


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The files to read, in the order of `shown`, and what was passed over: names below the folder, with the reason."""

    files: tuple[InputFile, ...]
    passed_over: tuple[str, ...]


def find_files(path: Path) -> InputFiles:
    """The file at `path`, or every `*.csv` and `*.csv.gz` below it. SourceError when there is none."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{str(path)!r}: a name in this path is not UTF-8 text; rename it") from error
    try:
        kind = kind_of(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path} does not exist; point the source at a CSV file or a folder of them") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); make the file or folder readable") from None
    root = Path(os.path.realpath(path))
    if kind is None:
        _refuse_unreadable_name(path.parent, path.name)
        return InputFiles((InputFile(path.name, path, root),), ())
    if kind != "a directory":
        raise SourceError(f"{path} is {kind}; point the source at a CSV file or a folder of them")
    return _below(path, root)


def _below(path: Path, root: Path) -> InputFiles:
    found: list[InputFile] = []
    passed_over: list[str] = []

    def refuse(error: OSError) -> NoReturn:
        raise SourceError(f"{error.filename}: cannot be listed ({error.strerror}); make the folder readable") from error

    visited: set[str] = set()
    for folder, folders, names in os.walk(path, onerror=refuse, followlinks=True):
        here = Path(folder)
        shown_here = here.relative_to(path)
        real = os.path.realpath(folder)
        if real in visited:  # a link back to a folder that was read already
            folders.clear()
            continue
        visited.add(real)
        outside = {name for name in folders if not _is_inside(here / name, root)}
        passed_over += [f"{(shown_here / name).as_posix()} (a link out of the folder)" for name in outside]
        # A folder before the links to it: its files keep their own names.
        folders[:] = sorted(set(folders) - outside, key=lambda name: ((here / name).is_symlink(), name))
        for name in names:
            shown = (shown_here / name).as_posix()
            if name.lower().endswith(SUFFIXES) and shown != OWN_STATIONS:
                _refuse_unreadable_name(path, shown)
                if reason := _why_not(here / name, root):
                    passed_over.append(f"{shown} ({reason})")
                else:
                    found.append(InputFile(shown, here / name, Path(os.path.realpath(here / name))))
    files, twice = _each_once(found)
    passed_over += twice
    if not files:
        left = f" that can be read; passed over: {', '.join(sorted(passed_over))}" if passed_over else ""
        raise SourceError(f"{path} holds no *.csv or *.csv.gz file{left}; put the files there or change the path")
    return InputFiles(tuple(sorted(files, key=lambda file: file.shown)), tuple(sorted(passed_over)))


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _why_not(path: Path, root: Path) -> str | None:
    """Why this path is passed over; None for a file to read."""
    if not _is_inside(path, root):
        return "a link out of the folder"
    try:
        return kind_of(path.stat().st_mode)
    except FileNotFoundError:
        return "a link to nothing"
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); make the file readable") from error


def _each_once(found: list[InputFile]) -> tuple[list[InputFile], list[str]]:
    """A file and links to it are read once, under the name of the file where that is one of them."""
    by_place: dict[Path, InputFile] = {}
    twice = []
    for file in sorted(found, key=lambda file: (file.path.is_symlink(), file.shown)):
        first = by_place.setdefault(file.real, file)
        if first is not file:
            twice.append(f"{file.shown} (a link to {first.shown}, which is read)")
    return list(by_place.values()), twice


def _refuse_unreadable_name(folder: Path, shown: str) -> None:
    """The name of a file is stored with each of its rows and stands in messages."""
    if not shown.isprintable():
        raise SourceError(f"{folder}: the file name {shown!r} is not readable text; rename it")
