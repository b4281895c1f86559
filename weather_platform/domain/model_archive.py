"""One model version in one file, to carry it to another home: what is in the file, and every check when it is read.

What belongs here: packing, unpacking and checking, from bytes to plain values. What does not: where the file is, where
the values come from and how a version is registered (``resources.model_transfer``).

The file is a zip with a fixed list of entries, none of them compressed: it cannot grow when it is read, names
cannot lead anywhere, and nothing in it is code. The model file is read by the loaders that serve it, which execute
nothing. The digests show damage, not who made the file: compare the file's own SHA-256 with what the export printed.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.canary import GOLDEN_FILE, golden_from_bytes, require_reproduction
from weather_platform.domain.features import FEATURE_VERSION, feature_names
from weather_platform.domain.matured import References
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import CONTRACT_FILE, Contract, Predictor, sha256
from weather_platform.errors import ArchiveError, WeatherError

ARCHIVE_FORMAT: Final = "weather-platform/model-archive/1"
ARCHIVE_MAX_BYTES: Final = 512 * 2**20
"""A model of this platform has some megabytes; a forest on millions of rows some hundreds."""

MANIFEST_FILE, REFERENCES_FILE = "manifest.json", "references.json"
MANIFEST_MAX_BYTES: Final = 16 * 2**20

Text = Annotated[str, Field(max_length=6_000)]
Name = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[A-Za-z0-9_./-]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_MOST: Final = 1_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PackedStation(_Strict):
    """A station of the catalogue that the model was trained with."""

    id: Text
    state: Text
    latitude_deg: float
    longitude_deg: float
    elevation_m: float
    timezone: Text


class Origin(_Strict):
    """The version in the home it comes from."""

    version: int = Field(ge=1)
    mlflow_run_id: Name
    registered_at: Text
    package: Text
    lake_versions: dict[Name, int] = Field(max_length=_MOST)


class Manifest(_Strict):
    """What the file says of the model. The contract says what the model is; where both do, they must agree."""

    format: Literal["weather-platform/model-archive/1"]
    target: Name
    year: int = Field(ge=1700, le=9999)
    digest: Sha256
    source: Name
    """What the model was trained on: csv or synthetic."""
    origin: Origin
    tags: dict[Name, Text] = Field(max_length=_MOST)
    """Libraries and code, as the run recorded them."""
    params: dict[Name, Text] = Field(max_length=_MOST)
    metrics: dict[Name, float] = Field(max_length=_MOST)
    decision: dict[str, Any] | None
    """The decision that promoted the version where it comes from; None when none did."""
    stations: list[PackedStation] = Field(max_length=1_000_000)
    sha256: dict[Name, Sha256] = Field(max_length=16)
    """Of every other file."""


@dataclass(frozen=True, eq=False)
class ModelArchive:
    """A model that passed every check, ready to be registered."""

    manifest: Manifest
    contract: Contract
    files: Mapping[str, bytes]
    """Contract, model, golden sample and references, by name."""
    sha256: str
    """Of the whole file."""

    def unknown_stations(self, stations: Sequence[PackedStation]) -> list[str]:
        """Stations that the model was not trained with; ArchiveError when one has another place than in its training.

        A model knows a station by its place: fields of neighbours are made of distances.
        """
        known = {each.id: each for each in self.manifest.stations}
        moved = [
            station.id
            for station in stations
            if (then := known.get(station.id)) is not None
            and (then.latitude_deg, then.longitude_deg, then.elevation_m)
            != (station.latitude_deg, station.longitude_deg, station.elevation_m)
        ]
        if moved:
            raise ArchiveError(
                f"{len(moved)} station(s) of this home have the name and not the place of one that the model was "
                f"trained with (first: {moved[0]}); give them other names, or train a model here"
            )
        return [station.id for station in stations if station.id not in known]


def packed(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The file. The same values give the same bytes. `manifest` is without the digests of the files."""
    digests = {name: sha256(data) for name, data in files.items()}
    described = Manifest.model_validate({**manifest, "format": ARCHIVE_FORMAT, "sha256": digests})
    head = (json.dumps(described.model_dump(), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST_FILE: head, **files}.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # of 1980, so that the bytes do not depend on the clock
    return buffer.getvalue()


def unpacked(data: bytes) -> ModelArchive:
    """The model in the file. ArchiveError unless the file is whole, of this format, and a model that this code serves:

    every digest is right, the contract is of a known target and of the features of this code, and the model gives its
    recorded predictions, bit for bit.
    """
    files = _entries(data)
    head = files.pop(MANIFEST_FILE)
    if len(head) > MANIFEST_MAX_BYTES:
        raise ArchiveError(f"{MANIFEST_FILE} has {len(head):,} bytes, more than {MANIFEST_MAX_BYTES:,}")
    try:
        manifest = Manifest.model_validate_json(head)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise ArchiveError(f"{MANIFEST_FILE} cannot be used: {where}: {first['msg']}; export the model again") from None
    if manifest.sha256.keys() != files.keys():
        raise ArchiveError(f"{MANIFEST_FILE} names other files than there are; export the model again")
    for name, content in files.items():
        if (found := sha256(content)) != manifest.sha256[name]:
            raise ArchiveError(
                f"{name} has SHA-256 {found[:12]}, and {manifest.sha256[name][:12]} is recorded; "
                "the file was altered, fetch it again"
            )
    try:
        contract = _served_contract(manifest, files)
        References.from_bytes(files[REFERENCES_FILE])
    except ArchiveError:
        raise
    except WeatherError as error:
        raise ArchiveError(str(error)) from error
    except Exception as error:  # whatever a file makes the library of its format raise
        raise ArchiveError(f"its model cannot be read ({type(error).__name__}: {error!s:.200})") from error
    _require_record(manifest, contract)
    return ModelArchive(manifest, contract, files, sha256(data))


def _entries(data: bytes) -> dict[str, bytes]:
    """The entries by name; ArchiveError for anything but the stored files that an export writes."""
    if len(data) > ARCHIVE_MAX_BYTES:
        raise ArchiveError(f"it has {len(data):,} bytes, more than {ARCHIVE_MAX_BYTES:,}; no model is that large")
    fixed = {MANIFEST_FILE, CONTRACT_FILE, GOLDEN_FILE, REFERENCES_FILE}
    models = {algorithm.file_name for algorithm in ALGORITHMS.values()}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if strange := sorted(set(names) - fixed - models):
                raise ArchiveError(f"it holds {strange[0]!r:.80}, which no export writes; nothing was read")
            if len(names) != len(set(names)) or len(set(names) & models) != 1 or not fixed <= set(names):
                raise ArchiveError(f"it must hold {', '.join(sorted(fixed))} and one model file, each once")
            if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
                raise ArchiveError(
                    "it was packed again (an entry is compressed or encrypted); take the file as exported"
                )
            if sum(info.file_size for info in infos) > len(data):
                raise ArchiveError("its entries overlap; export the model again")
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError) as error:
        raise ArchiveError(f"it is no whole model archive ({error}); fetch it again") from None


def _served_contract(manifest: Manifest, files: Mapping[str, bytes]) -> Contract:
    """The contract of a model that this code can serve, and that says again what it said where it was trained."""
    contract_bytes = files[CONTRACT_FILE]
    contract = Contract.from_bytes(contract_bytes)
    if contract.model_file not in files:
        raise ArchiveError(f"the contract speaks of {contract.model_file!r:.80}, which is not in the file")
    if contract.target != manifest.target or contract.target not in TARGETS:
        raise ArchiveError(f"it is a model of {contract.target!r:.80}; this code knows {', '.join(TARGETS)}")
    target = TARGETS[contract.target]
    if (contract.task, contract.unit) != (target.task, target.unit):
        raise ArchiveError(f"{target.name} is {target.task} in {target.unit} here, and not in the contract")
    if contract.feature_version != FEATURE_VERSION:
        raise ArchiveError(
            f"the model was trained on features of version {contract.feature_version!r:.80}, and this code makes "
            f"version {FEATURE_VERSION}; export one that was trained with this version of the platform"
        )
    for day in (contract.tuned_through, contract.tested_through):
        date.fromisoformat(day)
    predictor = Predictor.load(contract_bytes, files[contract.model_file], digest=manifest.digest)
    predictor.require_features(FEATURE_VERSION, feature_names())
    require_reproduction(predictor, golden_from_bytes(files[GOLDEN_FILE], contract.feature_names), "the model")
    return contract


def _require_record(manifest: Manifest, contract: Contract) -> None:
    """ArchiveError unless what every command shows of a version is there: its test figures, seed and threads."""
    wanted = [f"test_{name}" for name in type(contract.output).METRICS]
    missing = [name for name in wanted if name not in manifest.metrics]
    missing += [name for name in ("seed", "threads") if not manifest.params.get(name, "").isdecimal()]
    if missing:
        raise ArchiveError(f"{MANIFEST_FILE} does not say {', '.join(missing)}; export the model again")
