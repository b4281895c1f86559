"""Opening files whose path comes from a user: regular files only, and never a wait for what is none.

What belongs here: the one safe way to open such a path. What does not: what is in the file, or who may read it.

A named pipe without a writer would stop a program for good, a device may never end, and a path that was looked at
before it is opened can be another file by then. So the file is opened without waiting and looked at once it is open.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

DEVICE: Final = "a device"
_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, DEVICE),
    (stat.S_ISBLK, DEVICE),
    (stat.S_ISLNK, "a link"),
)
_NEVER_WAITING: Final = os.O_NONBLOCK | os.O_NOCTTY


class NotRegularFileError(OSError):
    """The path is a pipe, device, socket or folder; `strerror` says which."""


def open_regular(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """Open a regular file for reading bytes. OSError as `open` raises it, NotRegularFileError for anything else.

    `follow_links=False` refuses a path whose last part is a link.
    """
    flags = os.O_RDONLY | _NEVER_WAITING | (0 if follow_links else os.O_NOFOLLOW)
    return _checked(path, flags, "rb")


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to a new or an existing regular file, or to a device such as a terminal.

    OSError as `open` raises it; NotRegularFileError for a pipe or a socket, which is left as it was.
    """
    with _checked(path, os.O_WRONLY | os.O_CREAT | _NEVER_WAITING, "wb", besides=DEVICE) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
        file.write(data)


def kind_of(mode: int) -> str | None:
    """What a path with this `st_mode` is, in words; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no regular file")


def _checked(path: Path, flags: int, mode: str, *, besides: str | None = None) -> BinaryIO:
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if kind := _kind_of_unopened(path, error.errno):
            raise NotRegularFileError(error.errno, f"it is {kind}, not a regular file", str(path)) from None
        raise
    kind = kind_of(os.fstat(handle).st_mode)
    if kind not in (None, besides):
        os.close(handle)
        raise NotRegularFileError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    return os.fdopen(handle, mode)  # type: ignore[return-value]


def _kind_of_unopened(path: Path, number: int | None) -> str | None:
    """What could not be opened at all, such as a socket; None when that is not the reason. For the message only."""
    if number == errno.ELOOP:
        return "a link"
    if number not in (errno.ENXIO, errno.EISDIR):
        return None
    try:
        return kind_of(path.stat().st_mode)
    except OSError:
        return None
