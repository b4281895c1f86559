"""The home as a folder of one user: its file modes, its owner, and the locks in it.

What belongs here: who may read the home, which process may make its stores, and which process still works in a part
of it. What does not: what the stores are (``stores``) and what is in them. Locks are `flock`s: they end with the
process, however it ends, and a process of the same number is never taken for it.
"""

import fcntl
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from weather_platform.errors import SettingsError

_OTHERS: Final = 0o077
_PARTS: Final = (
    "weather.env", "weather.db*", "mlflow.db*", "mlflow_artifacts", "lake", "reports", "dagster", "serving", "scratch",
)  # fmt: skip
"""What the platform itself puts in a home, as patterns. Anything else is the user's and keeps its modes."""
_CLEANING: Final = "cleaning-"
"""How the names of scratch folders begin."""
_MARKS: Final = ("weather.env", "weather.db", "mlflow.db", "lake")


def keep_files_private() -> None:
    """Make every file that this process and its children create readable by their owner alone."""
    os.umask(_OTHERS)


def is_home(folder: Path) -> bool:
    """Whether the platform has kept its state in this folder."""
    return any(os.path.lexists(folder / name) for name in _MARKS)


def take_home(home: Path) -> str | None:
    """Close an existing home to other users; gives the line that says so, or None if it was closed.

    SettingsError when the home belongs to another user. A folder that is shared with other things, such as a user's
    whole home directory, keeps its own mode; what the platform put in it does not.
    """
    home = Path(os.path.realpath(home))
    if not os.path.isdir(home):  # noqa: PTH112 - where it may not be looked for, the command itself says so
        return None
    _refuse_another_owner(home)
    if not is_home(home) and not _is_empty(home):
        return None
    parts = [part for pattern in _PARTS for part in home.glob(pattern)]
    folders = [] if _is_shared(home) else [home]
    open_ones = [path for path in (*folders, *parts) if _is_open(path)]
    if not open_ones:
        return None
    # The folder first: what is in it is out of reach from then on.
    for path in (*folders, *parts):
        _close(path)
        if path is not home:
            for folder, names, files in os.walk(path):
                for name in (*names, *files):
                    _close(Path(folder, name))
    return None if open_ones == [home] and _is_empty(home) else f"closed {home} to other users of this machine"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the one process that makes or migrates the stores of this folder, to the end of the block.

    The lock is the folder's own, so it leaves no file. Not to be taken again inside of the block.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise unusable(folder, error) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


@contextmanager
def in_progress(mark: Path) -> Iterator[None]:
    """Keep an empty file with its lock held, and remove it when the block ends well: see `abandoned`."""
    with alone(mark.parent):
        held = mark.open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
    with held:
        yield
        mark.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new scratch folder below the parent, removed after the block. Those of killed processes are removed first."""
    remove_abandoned(parent)
    try:
        with alone(parent):
            folder = Path(tempfile.mkdtemp(prefix=_CLEANING, dir=parent))
            held = os.open(folder, os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_EX)
    except OSError as error:
        raise unusable(parent, error) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def remove_abandoned(parent: Path) -> None:
    """Remove the scratch folders below the parent that no living process holds."""
    if any(parent.glob(f"{_CLEANING}*")):
        with alone(parent):
            for folder in abandoned(parent, f"{_CLEANING}*"):
                shutil.rmtree(folder, ignore_errors=True)


def abandoned(parent: Path, pattern: str) -> list[Path]:
    """Files and folders that no living process holds the lock of. Ask inside of `alone(parent)`, and act there."""
    found = []
    for path in sorted(parent.glob(pattern)):
        try:
            held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # removed meanwhile by its process, or none of ours
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.append(path)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(held)
    return found


def unusable(folder: Path, error: OSError) -> SettingsError:
    """The one line for a folder in which the platform cannot work."""
    return SettingsError(f"{folder} cannot be used: {error.strerror}; set WEATHER_HOME to a writable folder")


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _refuse_another_owner(home: Path) -> None:
    """SettingsError when the state in this folder is another user's. Root may: it works for any user."""
    user = os.geteuid()
    if user == 0:
        return
    enterable = os.access(home, os.R_OK | os.W_OK | os.X_OK)
    # Not of the folder: that of a container's volume is root's, and what is in it is the user's.
    paths = [home / name for name in _MARKS if os.path.lexists(home / name)] if enterable else [home]
    for owner in {path.lstat().st_uid for path in paths} - {user}:
        raise SettingsError(
            f"the home {home} belongs to {_name_of(owner)}, and this is {_name_of(user)}: run as its owner, or set "
            "WEATHER_HOME to a folder of your own"
        )


def _is_shared(home: Path) -> bool:
    """Whether others have a reason to enter: a temporary folder, or one with a user's home directory in it."""
    return bool(home.stat().st_mode & stat.S_ISVTX) or Path.home().is_relative_to(home)


def _is_open(path: Path) -> bool:
    """Whether others may use it, and this user may change that."""
    found = path.lstat()
    mine = os.geteuid() in (0, found.st_uid)
    return mine and not stat.S_ISLNK(found.st_mode) and bool(stat.S_IMODE(found.st_mode) & _OTHERS)


def _close(path: Path) -> None:
    with suppress(FileNotFoundError):  # files come and go while other processes work in the home
        if _is_open(path):
            path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~_OTHERS)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
