"""The state folder `<home>/serving`: what the follower found and verified, as the workers read it.

What belongs here: its format, writing each part of it whole, reading it back. What does not: what may be written
(``follower``) and what is done with it (``model_store``).

    served.json              which version every alias serves, what was refused, how old all that is
    models/<digest>/         contract.json, model and golden.arrow of a version
    lake/<table>-*.arrow     recent observations and the station catalogue
    follower.lock            held by the one follower of the home

Every file gets its name last, when it is complete and on the disk; `served.json` names only what is there already. So
a process killed at any point leaves nothing half-written that a name leads to.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.ipc
from pydantic import TypeAdapter, ValidationError

from weather_platform.domain.canary import GOLDEN_FILE
from weather_platform.domain.masks import StationMask
from weather_platform.domain.training import CONTRACT_FILE, sha256
from weather_platform.errors import DigestMismatchError, ServingStateError

MODEL_FILE = "model"
"""What the model file is called here, whatever its algorithm calls it."""

RECENT_DAYS = 120
"""Newest days with observations that can be forecast from the store; HISTORY_DAYS before them are kept as well."""

_SERVED = "served.json"
_SCRATCH = "."
"""First letter of whatever is not complete yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One verified version of a model, as an alias serves it."""

    version: int
    digest: str
    golden_sha256: str
    run_id: str
    algorithm: str
    feature_version: str
    tuned_through: date
    tested_through: date
    registered_at: datetime
    metrics: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A version that an alias names and that is not served, and why; what the alias served before goes on."""

    target: str
    alias: str
    version: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTable:
    """A table of the lake as it was at one version: an Arrow file below `lake/`."""

    table_id: str
    version: int
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recent:
    """The observations that forecasts look back on. Every day from the first on has its whole history in the file."""

    observations: StoredTable
    stations: StoredTable
    first_day: date
    last_day: date
    masks: tuple[StationMask, ...] = ()
    """Columns of stations that count as missing, stored or sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What `served.json` says: target -> alias -> version, with what was refused and what is out of reach.

    ``generation`` rises whenever models, refusals or observations change; all workers serve what changed from
    ``serve_at`` on, None for at once. ``checked_at`` is when the registry last
    answered, None if it never did; ``registry_error`` and ``lake_error`` are None when both did the last time.
    """

    format: Literal["weather-platform/served/1"] = "weather-platform/served/1"
    generation: int = 0
    serve_at: datetime | None = None
    checked_at: datetime | None
    registry_error: str | None = None
    lake_error: str | None = None
    models: Mapping[str, Mapping[str, Version]]
    refused: tuple[Refused, ...] = ()
    recent: Recent | None = None

    def digests(self) -> set[str]:
        """Of every version that an alias serves."""
        return {version.digest for aliases in self.models.values() for version in aliases.values()}

    def lake_files(self) -> set[str]:
        """Names of the files below `lake/` that are read."""
        return {self.recent.observations.file, self.recent.stations.file} if self.recent else set()


class ModelFiles(NamedTuple):
    """What a version consists of."""

    contract: bytes
    model: bytes
    golden: bytes


_NAMES = (CONTRACT_FILE, MODEL_FILE, GOLDEN_FILE)
"""Of the fields of ModelFiles, in their order."""
_STATE = TypeAdapter(State)


class StateFolder:
    """The state folder of a home. One process writes, any number read."""

    def __init__(self, home: Path) -> None:
        self.path = home / "serving"
        self._models = self.path / "models"
        self._lake = self.path / "lake"

    @property
    def lock(self) -> Path:
        """The file whose lock makes a process the follower of this home."""
        return self.path / "follower.lock"

    # ------------------------------------------------------------------------------------------- served.json

    def signature(self) -> tuple[int, int, int] | None:
        """Changes whenever `served.json` is written; None while there is none. Cheap enough to ask all the time."""
        return _signature(self.path / _SERVED)

    def read(self) -> State | None:
        """What was written last; None when nothing was yet, ServingStateError when it is something else."""
        try:
            return _STATE.validate_json((self.path / _SERVED).read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            what = error.strerror if isinstance(error, OSError) else f"{error.error_count()} faults in its fields"
            raise ServingStateError(
                f"{self.path / _SERVED} cannot be used ({what}); it is written anew as soon as the registry answers"
            ) from error

    def write(self, state: State) -> None:
        """Replace `served.json`; readers see the old text or the new one."""
        self._put(self.path / _SERVED, _STATE.dump_json(state, indent=1))

    # ---------------------------------------------------------------------------------------------- models

    def model_files(self, digest: str) -> ModelFiles:
        """The files of a version as they are on the disk, not verified."""
        folder = self._models / digest
        try:
            return ModelFiles(*((folder / name).read_bytes() for name in _NAMES))
        except OSError as error:
            raise ServingStateError(
                f"{error.filename or folder} cannot be read ({error.strerror}); the follower fetches it again"
            ) from error

    def model_signature(self, digest: str) -> tuple[tuple[int, int, int], ...] | None:
        """Changes when anybody writes to the files of a version; None when one is missing."""
        found = [_signature(self._models / digest / name) for name in _NAMES]
        return tuple(each for each in found if each is not None) if None not in found else None

    def keep_model(self, digest: str, files: ModelFiles) -> None:
        """Put the files of a version there, in the place of any that are there under this digest."""
        folder, scratch = self._models / digest, self._models / f"{_SCRATCH}{digest}"
        with self._writing():
            self._models.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            for name, data in zip(_NAMES, files, strict=True):
                _write(scratch / name, data)
            if folder.exists():
                folder.rename(spoiled := self._models / f"{_SCRATCH}{digest}.spoiled")
                shutil.rmtree(spoiled)
            scratch.rename(folder)
            _sync(self._models)

    # ------------------------------------------------------------------------------------------------ lake

    def table(self, stored: StoredTable) -> pa.Table:
        """A table of the lake; DigestMismatchError unless the file is the one that was written."""
        path = self._lake / stored.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ServingStateError(
                f"{path} cannot be read ({error.strerror}); the follower writes it again"
            ) from error
        if sha256(data) != stored.sha256:
            raise DigestMismatchError(f"{path} is not what the follower wrote; it is written again at its next start")
        return pyarrow.ipc.open_file(pa.BufferReader(data)).read_all()

    def table_signature(self, stored: StoredTable) -> tuple[int, int, int] | None:
        """Changes when anybody writes to the file; None when it is missing."""
        return _signature(self._lake / stored.file)

    def keep_table(self, name: str, table_id: str, version: int, table: pa.Table) -> StoredTable:
        """Write a table of the lake; the name of the file says its version and its content."""
        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        digest = sha256(data)
        stored = StoredTable(
            table_id=table_id, version=version, file=f"{name}-{version}-{digest[:16]}.arrow", sha256=digest
        )
        self._put(self._lake / stored.file, data)
        return stored

    # -------------------------------------------------------------------------------------------- housekeeping

    def unfinished(self) -> list[Path]:
        """What a killed process left half-written."""
        ours = ((self.path, _SERVED), (self._models, "*"), (self._lake, "*"))  # others have folders beside these
        return [path for folder, name in ours for path in folder.glob(f"{_SCRATCH}{name}")]

    def unused(self, state: State) -> list[Path]:
        """Model folders and lake files that `state` does not name."""
        named = (self._models, state.digests()), (self._lake, state.lake_files())
        return [
            path
            for folder, kept in named
            for path in folder.glob("*")
            if path.name not in kept and not path.name.startswith(_SCRATCH)
        ]

    def remove(self, paths: Iterable[Path]) -> None:
        """Delete model folders and files; what somebody else deleted meanwhile is gone as well."""
        with self._writing():
            for path in paths:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def make(self) -> None:
        """The folder, if it is not there yet."""
        with self._writing():
            self.path.mkdir(parents=True, exist_ok=True)

    def _put(self, path: Path, data: bytes) -> None:
        scratch = path.with_name(f"{_SCRATCH}{path.name}")
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(scratch, data)
            scratch.replace(path)
            _sync(path.parent)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what the disk says into one line."""
        try:
            yield
        except OSError as error:
            raise ServingStateError(
                f"{self.path} cannot be written ({error.strerror}); give it room, or choose a writable WEATHER_HOME"
            ) from error


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
