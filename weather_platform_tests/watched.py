"""What is opened below a folder while a block runs, by any process: the kernel reports it (inotify)."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ACCESS, _MODIFY, _OPEN, _CREATE, _DELETE, _MOVED = 0x1, 0x2, 0x20, 0x100, 0x200, 0xC0
_HEAD = struct.Struct("iIII")


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Give a list that holds, after the block, the name of every file and folder that was opened or changed in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    found: list[str] = []
    try:
        for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            wanted = _ACCESS | _MODIFY | _OPEN | _CREATE | _DELETE | _MOVED
            watch = libc.inotify_add_watch(descriptor, os.fsencode(each), wanted)
            assert watch >= 0, os.strerror(ctypes.get_errno())
        yield found
        found += _events(descriptor)
    finally:
        os.close(descriptor)


def _events(descriptor: int) -> Iterator[str]:
    while True:
        try:
            data = os.read(descriptor, 65_536)
        except BlockingIOError:
            return
        while data:
            _, _, _, length = _HEAD.unpack_from(data)
            yield data[_HEAD.size : _HEAD.size + length].rstrip(b"\0").decode() or "."
            data = data[_HEAD.size + length :]
