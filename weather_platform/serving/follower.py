"""The follower: the one process of a home that asks the registry and the lake, so that the workers need not.

What belongs here: which version every alias of every target names, fetching and proving it, the recent observations,
and writing all that into the state folder. What does not: the format of the folder (``state``), serving from it
(``model_store``), its process (``follow``).

Every WEATHER_SERVING_POLL_SECONDS it looks at both. A version that is not proven is refused with its reason, the alias
keeps what it served before, and the version is tried again after a while. When the registry or the lake is out of
reach, the state stays as it is and says so; the log says it once, and once again when it is back. Killed at any point
it leaves a state that the next start completes.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import NoReturn, Self

import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.domain.feature_table import OBSERVED
from weather_platform.domain.features import HISTORY_DAYS
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import (
    DigestMismatchError,
    NotEnoughDataError,
    RegistryError,
    ServingStateError,
    WeatherError,
)
from weather_platform.lake import Lake, Snapshot
from weather_platform.lake.masks import masks_in_force
from weather_platform.resources.registry import GOLDEN_TAG, ModelRegistry, RegisteredModel
from weather_platform.serving.model_store import proven
from weather_platform.serving.state import (
    RECENT_DAYS,
    ModelFiles,
    Recent,
    Refused,
    State,
    StateFolder,
    StoredTable,
    Version,
)
from weather_platform.settings import Settings
from weather_platform.stores import mlflow_tracking_uri, open_lake

SWITCH_AFTER = timedelta(seconds=1)
"""Time for every worker to load what changed: then all switch at one moment, and answers do not alternate."""

REFUSED_AGAIN_SECONDS = 60.0
"""Longest time until a refused version is tried again; the first times it is sooner."""

_LEAST_PAUSE_SECONDS = 0.1

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Refusal:
    reason: str
    tries: int
    again_at: float


class Follower:
    """Keeps the state folder of a home true. Not shared between threads."""

    def __init__(self, settings: Settings, registry: ModelRegistry, lake: Lake, folder: StateFolder) -> None:
        self._settings = settings
        self._registry = registry
        self._lake = lake
        self._folder = folder
        self._state = State(checked_at=None, models={})
        self._proven: dict[tuple[str, int], Version] = {}
        self._signatures: dict[str, object] = {}
        self._refusals: dict[tuple[str, int], _Refusal] = {}
        self._told: dict[str, str | None] = {}
        self._store: int | None = None
        self._unused_since: dict[Path, float] = {}

    @classmethod
    def from_settings(cls, settings: Settings, folder: StateFolder) -> Self:
        """With the registry and the lake of the settings."""
        return cls(settings, ModelRegistry.from_settings(settings), open_lake(settings), folder)

    @property
    def state(self) -> State:
        """What was written last."""
        return self._state

    def mend(self) -> None:
        """Take up what the last follower left: drop what it had not finished, prove again what it had."""
        self._folder.make()
        self._folder.remove(self._folder.unfinished())
        try:
            self._state = self._folder.read() or self._state
        except ServingStateError as error:
            _log.warning("%s", error)
        refused = list(self._state.refused)
        models: dict[str, Mapping[str, Version]] = {}
        for target, aliases in self._state.models.items():
            fit = {}
            for alias, version in aliases.items():
                if (reason := self._unfit(target, version)) is None:
                    fit[alias] = version
                else:
                    refused.append(Refused(target=target, alias=alias, version=version.version, reason=reason))
                    _log.warning("%s@%s: version %s is not served any more: %s", target, alias, version.version, reason)
            if fit:
                models[target] = fit
        self._state = replace(self._state, models=models, refused=tuple(refused), recent=self._intact_recent())

    def poll(self) -> State:
        """One look at the registry and the lake, and the state that follows, written."""
        before = self._state
        after = self._with_lake(self._with_registry(before))
        if (after.models, after.refused, after.recent) != (before.models, before.refused, before.recent):
            serve_at = datetime.now(UTC) + SWITCH_AFTER if before.models else None
            after = replace(after, generation=before.generation + 1, serve_at=serve_at)
        self._folder.write(after)
        self._state = after
        self._tell(before, after)
        self._clean()
        return after

    def keep_polling(self) -> NoReturn:
        """Poll at WEATHER_SERVING_POLL_SECONDS from each other, or as often as a poll takes."""
        took = 0.0
        while True:
            sleep(max(_LEAST_PAUSE_SECONDS, self._settings.serving_poll_seconds - took))
            began = monotonic()
            self.poll()
            took = monotonic() - began

    # ------------------------------------------------------------------------------------------- the registry

    def _with_registry(self, before: State) -> State:
        try:
            self._require_store()
            named = {target: self._registry.aliases(target) for target in TARGETS}
            models, refused = self._judged(named, before)
        except RegistryError as error:
            return replace(before, registry_error=str(error))
        return replace(before, checked_at=datetime.now(UTC), registry_error=None, models=models, refused=refused)

    def _require_store(self) -> None:
        """Opening an SQLite registry makes one; a service that only looks must not."""
        uri = mlflow_tracking_uri(self._settings)
        if not uri.startswith("sqlite:///"):
            return
        try:
            found = Path(uri.removeprefix("sqlite:///")).stat()
        except FileNotFoundError:
            raise RegistryError(
                f"no model was registered in {self._settings.home} yet; train one with `weather run`"
            ) from None
        if self._store not in (None, found.st_ino):
            _log.warning("the registry of %s is another file now; starting again with it", self._settings.home)
            raise SystemExit(0)  # MLflow keeps the old one open for as long as this process lives
        self._store = found.st_ino

    def _judged(
        self, named: Mapping[str, Mapping[str, int]], before: State
    ) -> tuple[Mapping[str, Mapping[str, Version]], tuple[Refused, ...]]:
        """What every alias serves now, and what is refused."""
        models: dict[str, Mapping[str, Version]] = {}
        refused: list[Refused] = []
        for target, aliases in named.items():
            served: dict[str, Version] = {}
            for alias, number in sorted(aliases.items()):
                judged = self._judge(target, number)
                if isinstance(judged, Version):
                    served[alias] = judged
                    continue
                refused.append(Refused(target=target, alias=alias, version=number, reason=judged))
                if (old := before.models.get(target, {}).get(alias)) is not None:
                    served[alias] = old
            if served:
                models[target] = served
        wanted = {(target, number) for target, aliases in named.items() for number in aliases.values()}
        self._refusals = {key: refusal for key, refusal in self._refusals.items() if key in wanted}
        return models, tuple(refused)

    def _judge(self, target: str, number: int) -> Version | str:
        """The version, proven; or why it is refused. RegistryError when the registry is out of reach."""
        key = (target, number)
        refusal = self._refusals.get(key)
        if refusal is not None and monotonic() < refusal.again_at:
            return refusal.reason
        try:
            version = self._fetched(self._registry.version(target, number))
        except WeatherError as error:
            if isinstance(error, RegistryError) and not isinstance(error, DigestMismatchError):
                self._registry.aliases(target)  # only a registry that answers refuses a version
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a model file makes its library raise: the other targets go on
            _log.exception("%s version %s could not be proven", target, number)
            reason = f"{type(error).__name__}: {error}"
        else:
            self._refusals.pop(key, None)
            return version
        tries = refusal.tries + 1 if refusal else 1
        wait = min(REFUSED_AGAIN_SECONDS, self._settings.serving_poll_seconds * 2**tries)
        self._refusals[key] = _Refusal(reason, tries, monotonic() + wait)
        return reason

    def _fetched(self, model: RegisteredModel) -> Version:
        """The version as the registry has it; its files are in the state folder then, and proven."""
        known = self._proven.get((model.target, model.version))
        if known is not None and known.digest == model.digest and self._untouched(known):
            return known
        version = Version(
            version=model.version,
            digest=model.digest,
            golden_sha256=model.tags.get(GOLDEN_TAG, ""),
            run_id=model.run_id,
            algorithm=model.tags["algorithm"],
            feature_version=model.tags["feature_version"],
            tuned_through=model.tuned_through,
            tested_through=model.tested_through,
            registered_at=model.registered_at,
            metrics=_finite(self._registry.reference(model.run_id).metrics),
        )
        if self._unfit(model.target, version) is not None:
            files = ModelFiles(*self._registry.verified_files(model), self._registry.verified_golden(model))
            proven(files, version, model.target)
            self._folder.keep_model(model.digest, files)
            self._remember(model.target, version)
        return version

    def _unfit(self, target: str, version: Version) -> str | None:
        """Why the version may not be served from the files that are in the state folder; None when it may."""
        try:
            proven(self._folder.model_files(version.digest), version, target)
        except WeatherError as error:
            return str(error)
        self._remember(target, version)
        return None

    def _remember(self, target: str, version: Version) -> None:
        self._proven[target, version.version] = version
        self._signatures[version.digest] = self._folder.model_signature(version.digest)

    def _untouched(self, version: Version) -> bool:
        signature = self._folder.model_signature(version.digest)
        return signature is not None and signature == self._signatures.get(version.digest)

    # ----------------------------------------------------------------------------------------------- the lake

    def _with_lake(self, before: State) -> State:
        try:
            return replace(before, recent=self._recent(before.recent), lake_error=None)
        except WeatherError as error:
            return replace(before, lake_error=str(error))

    def _recent(self, known: Recent | None) -> Recent:
        observations, stations = self._lake.snapshot("observations"), self._lake.snapshot("stations")
        catalogue = known.stations if known and self._current(known.stations, stations) else None
        if catalogue is None:
            catalogue = self._stored(stations, stations.read())
        masks, _ = masks_in_force(self._lake)
        if known and self._current(known.observations, observations):
            return replace(known, stations=catalogue, masks=masks)
        rows, first_day, last_day = recent_rows(observations)
        stored = self._stored(observations, rows)
        return Recent(observations=stored, stations=catalogue, first_day=first_day, last_day=last_day, masks=masks)

    def _current(self, stored: StoredTable, snapshot: Snapshot) -> bool:
        return (
            (stored.table_id, stored.version) == (snapshot.table_id, snapshot.version)
            and (signature := self._folder.table_signature(stored)) is not None
            and signature == self._signatures.get(stored.file)
        )

    def _stored(self, snapshot: Snapshot, rows: pa.Table) -> StoredTable:
        stored = self._folder.keep_table(snapshot.table, snapshot.table_id, snapshot.version, rows)
        self._signatures[stored.file] = self._folder.table_signature(stored)
        return stored

    # ---------------------------------------------------------------------------------------------- the folder

    def _clean(self) -> None:
        """Remove what no alias has named for WEATHER_SERVING_KEEP_SECONDS: going back to it soon costs nothing."""
        now, unused = monotonic(), self._folder.unused(self._state)
        self._unused_since = {path: self._unused_since.get(path, now) for path in unused}
        old = [path for path in unused if now - self._unused_since[path] >= self._settings.serving_keep_seconds]
        if old:
            self._folder.remove(old)
            left = {path.name for path in old}
            self._proven = {key: version for key, version in self._proven.items() if version.digest not in left}

    def _intact_recent(self) -> Recent | None:
        """The recent observations of the last follower, if the files are those that it wrote."""
        recent = self._state.recent
        for stored in (recent.observations, recent.stations) if recent else ():
            try:
                self._folder.table(stored)
            except WeatherError as error:
                _log.warning("%s", error)
                return None
            self._signatures[stored.file] = self._folder.table_signature(stored)
        return recent

    # -------------------------------------------------------------------------------------------------- telling

    def _tell(self, before: State, after: State) -> None:
        """Into the log: what changed, and an outage once at its beginning and once at its end."""
        for name, new in (("registry", after.registry_error), ("lake", after.lake_error)):
            if new is not None and self._told.get(name) is None:
                _log.warning("the %s is out of reach, what was verified before is served on: %s", name, new)
            elif new is None and self._told.get(name) is not None:
                _log.warning("the %s answers again", name)
            self._told[name] = new
        for target in sorted({*before.models, *after.models}):
            old_aliases, new_aliases = before.models.get(target, {}), after.models.get(target, {})
            for alias in sorted({*old_aliases, *new_aliases}):
                was, now = old_aliases.get(alias), new_aliases.get(alias)
                if now is None:
                    _log.warning("%s@%s is not served any more", target, alias)
                elif was is None or was.digest != now.digest:
                    _log.info("%s@%s serves version %s (%s)", target, alias, now.version, now.digest[:12])
        for each in after.refused:
            if each not in before.refused:
                _log.warning("%s@%s: version %s is refused: %s", each.target, each.alias, each.version, each.reason)


def recent_rows(observations: Snapshot) -> tuple[pa.Table, date, date]:
    """The rows of the newest RECENT_DAYS days that have any and of the HISTORY_DAYS before them; first and last day.

    The first is the first of the newest days. Every day from it on has its whole history in the rows.
    """
    filled = [key for key, rows in observations.row_counts().items() if rows]
    days: set[date] = set()
    read: list[str] = []
    while filled and len(days) < RECENT_DAYS:
        read.append(filled.pop())
        days.update(pc.unique(observations.read(keys=read[-1:], columns=["day"])["day"]).to_pylist())
    if not days:
        raise NotEnoughDataError("the lake has no observations yet; ingest some with `weather run`")
    first_day = sorted(days)[-RECENT_DAYS:][0]
    reach = first_day - timedelta(days=HISTORY_DAYS)
    read += [key for key in filled if key >= str(reach.year)]
    return observations.read(keys=read, columns=OBSERVED, where=pc.field("day") >= reach), first_day, max(days)


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those that JSON has a number for."""
    return {name: value for name, value in sorted(metrics.items()) if math.isfinite(value)}
