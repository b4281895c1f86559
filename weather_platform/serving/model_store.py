"""What a worker serves: the models and observations of the state folder, loaded, proven and swapped in whole.

What belongs here: following the state folder, loading, proving, swapping, and telling what happened. What does not:
asking the registry or the lake (``follower``), forecasting (``forecasting``), metrics and logs of the events.

A thread looks at `served.json` (one `stat` every LOOK_SECONDS). What changed is loaded and proven beside what serves;
then one attribute is replaced, at the moment that the state names for all workers. A request takes `ModelStore.served`
once and uses only that, so no answer mixes two versions; what it took stays until the last such request has ended.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from threading import Event, Thread
from time import monotonic
from types import MappingProxyType
from typing import Literal, TypeVar

from weather_platform.domain.canary import golden_from_bytes, require_reproduction
from weather_platform.domain.feature_table import observation_arrays
from weather_platform.domain.features import FEATURE_VERSION, feature_names
from weather_platform.domain.live import RecentObservations
from weather_platform.domain.neighbours import StationGrid
from weather_platform.domain.splits import day_number
from weather_platform.domain.stations import Station, stations_of
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.domain.training import Predictor, sha256
from weather_platform.errors import DigestMismatchError, RegistryError, WeatherError
from weather_platform.serving.state import ModelFiles, Recent, Refused, State, StateFolder, Version
from weather_platform.settings import Settings

LOOK_SECONDS = 0.2
"""Between two looks at the state folder."""

LONGEST_WAIT_SECONDS = 2.0
"""For the moment at which all workers switch."""

AGAIN_SECONDS = 5.0
"""Until a version that could not be loaded is tried again."""

STALE_POLLS = 5
"""Polls that the follower may miss before the worker says that it serves without knowing what is current."""

_STARTING_SECONDS = 20.0
"""Grace on top of it, for a follower that is starting."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version that an alias serves, ready to forecast."""

    target: ForecastTarget
    alias: str
    version: int
    digest: str
    run_id: str
    algorithm: str
    predictor: Predictor = field(repr=False)
    contract_bytes: bytes = field(repr=False)
    tested_through: int
    """Day number of the last day of its test part: a forecast of that day or an earlier one is a hindcast."""
    metrics: Mapping[str, float] = field(repr=False)
    registered_at: datetime
    since: datetime
    """When this worker swapped it in."""

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.target.name}@{self.alias} version {self.version}"


@dataclass(frozen=True, eq=False)
class Served:
    """Everything that one answer is made from; never changed. ``models`` maps target -> alias -> model.

    ``checked_at`` is when the registry last answered the follower, None if it never did.
    """

    models: Mapping[str, Mapping[str, ServedModel]]
    recent: RecentObservations | None
    stations: tuple[Station, ...]
    checked_at: datetime | None
    registry_error: str | None
    lake_error: str | None
    refused: tuple[Refused, ...]
    generation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreEvent:
    """Something that happened to what is served.

    * swapped: `version` serves from now on
    * withdrawn: the alias is gone, or its target, and `version` with it
    * refused: the follower does not let `version` serve; what served goes on
    * load_failed: this worker cannot load `version` or, without a target, the state folder; what served goes on
    * stale, fresh: the registry is out of reach or the follower silent; it is back
    """

    kind: Literal["swapped", "withdrawn", "refused", "load_failed", "stale", "fresh"]
    target: str | None = None
    alias: str | None = None
    version: int | None = None
    reason: str | None = None


def proven(files: ModelFiles, version: Version, target: str) -> Predictor:
    """The model of these files, used once. Raises unless all of this holds:

    the files are the registered ones; the model answers for this target, from the features of this code in their order;
    it says of its golden sample, bit for bit, what is on record.
    """
    name = f"{target} version {version.version}"
    predictor = Predictor.load(files.contract, files.model, digest=version.digest)
    if sha256(files.golden) != version.golden_sha256:
        raise DigestMismatchError(f"the golden sample of {name} is not the registered one; restore it from a backup")
    if predictor.contract.target != target:
        raise RegistryError(f"{name} is a model of {predictor.contract.target}; move the alias to another version")
    predictor.require_features(FEATURE_VERSION, feature_names())
    golden = golden_from_bytes(files.golden, predictor.contract.feature_names)
    require_reproduction(predictor, golden, name)
    return predictor


T = TypeVar("T")
_STATE = ("", "state folder")
_RECENT = ("", "recent observations")


@dataclass(frozen=True, slots=True)
class _Failure:
    """Of what, why, and when to try again (monotonic seconds)."""

    mark: str | None
    reason: str
    again_at: float


class ModelStore:
    """What this worker serves, kept up to date by a thread of its own. `on_event` is called in that thread."""

    def __init__(self, settings: Settings, on_event: Callable[[StoreEvent], None]) -> None:
        self.served: Served | None = None
        """None until the follower has written for the first time."""
        self._folder = StateFolder(settings.home)
        self._silence_seconds = STALE_POLLS * settings.serving_poll_seconds + _STARTING_SECONDS
        self._on_event = on_event
        self._stopping = Event()
        self._thread = Thread(target=self._follow, name="model-store", daemon=True)
        self._started_at = datetime.now(UTC)
        self._seen: tuple[int, int, int] | None = None
        self._recent: Recent | None = None
        self._failures: dict[tuple[str, str], _Failure] = {}
        self._stale = False

    def start(self) -> None:
        """Begin to follow; returns at once."""
        self._started_at = datetime.now(UTC)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. What is served stays in `served`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def lag_seconds(self) -> float:
        """Seconds since the registry last answered; since the start of this worker when it never did."""
        checked_at = self.served.checked_at if self.served else None
        return max(0.0, (datetime.now(UTC) - (checked_at or self._started_at)).total_seconds())

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(LOOK_SECONDS)

    def look(self) -> None:
        """Take over what changed in the state folder since the last look, and try again what failed a while ago.

        The thread of `start` calls it; without one it can be called directly.
        """
        signature = self._folder.signature()
        again = any(failure.again_at <= monotonic() for failure in self._failures.values())
        if signature != self._seen or again:
            self._take_over()
            self._seen = signature
        self._tell_age()

    def _take_over(self) -> None:
        state = self._attempt(_STATE, None, self._folder.read)
        if state is None:
            return
        before = self.served
        recent, stations = (before.recent, before.stations) if before else (None, ())
        if (stored := state.recent) is not None and stored != self._recent:
            mark = stored.observations.sha256 + stored.stations.sha256
            if (found := self._attempt(_RECENT, mark, lambda: self._observations(stored))) is not None:
                recent, stations = found
                self._recent = stored
        models = self._models(state, before.models if before else {})
        if before is not None and state.generation != before.generation:
            self._await(state.serve_at)
        self.served = Served(
            models=models,
            recent=recent,
            stations=stations,
            checked_at=state.checked_at,
            registry_error=state.registry_error,
            lake_error=state.lake_error,
            refused=state.refused,
            generation=state.generation,
        )
        self._tell_changes(before, self.served)

    def _await(self, moment: datetime | None) -> None:
        """The moment at which all workers switch; a clock that was set cannot hold them up for long."""
        if moment is not None:
            left = (moment - datetime.now(UTC)).total_seconds()
            self._stopping.wait(min(max(0.0, left), LONGEST_WAIT_SECONDS))

    def _models(
        self, state: State, before: Mapping[str, Mapping[str, ServedModel]]
    ) -> Mapping[str, Mapping[str, ServedModel]]:
        """The models of a state. An alias whose version cannot be loaded keeps the model it had."""
        models: dict[str, Mapping[str, ServedModel]] = {}
        for target, aliases in state.models.items():
            served: dict[str, ServedModel] = {}
            known = {model.digest: model for model in before.get(target, {}).values()}
            for alias, version in aliases.items():
                key, old = (target, alias), before.get(target, {}).get(alias)
                if old is None or (old.version, old.digest) != (version.version, version.digest):
                    load = partial(self._loaded, target, alias, version, known)
                    old = self._attempt(key, version.digest, load, version.version) or old
                else:
                    self._failures.pop(key, None)  # of a version that the alias left again
                if old is not None:
                    served[alias] = known[old.digest] = old
            if served:
                models[target] = MappingProxyType(served)
        named = {(target, alias) for target, aliases in state.models.items() for alias in aliases}
        for gone in [key for key in self._failures if key not in named and key not in (_STATE, _RECENT)]:
            del self._failures[gone]
        return MappingProxyType(models)

    def _loaded(self, target: str, alias: str, version: Version, known: Mapping[str, ServedModel]) -> ServedModel:
        if target not in TARGETS:
            raise RegistryError(f"this code knows no target {target}; restart the service with the code that has it")
        if (same := known.get(version.digest)) is not None:
            predictor, contract = same.predictor, same.contract_bytes
        else:
            files = self._folder.model_files(version.digest)
            predictor, contract = proven(files, version, target), files.contract
        return ServedModel(
            target=TARGETS[target],
            alias=alias,
            version=version.version,
            digest=version.digest,
            run_id=version.run_id,
            algorithm=version.algorithm,
            predictor=predictor,
            contract_bytes=contract,
            tested_through=day_number(version.tested_through),
            metrics=MappingProxyType(dict(version.metrics)),
            registered_at=version.registered_at,
            since=datetime.now(UTC),
        )

    def _observations(self, recent: Recent) -> tuple[RecentObservations, tuple[Station, ...]]:
        stations = stations_of(self._folder.table(recent.stations))
        grid = StationGrid.from_stations(stations)
        arrays = observation_arrays(self._folder.table(recent.observations), grid)
        first, last = day_number(recent.first_day), day_number(recent.last_day)
        return RecentObservations(arrays, grid, first_day=first, last_day=last, masks=recent.masks), stations

    # ------------------------------------------------------------------------------------------------- telling

    def _attempt(
        self, key: tuple[str, str], mark: str | None, do: Callable[[], T], version: int | None = None
    ) -> T | None:
        """What `do` gives; None when it fails, and until AGAIN_SECONDS later. The same failure is told once."""
        known = self._failures.get(key)
        if known is not None and known.mark == mark and monotonic() < known.again_at:
            return None
        try:
            result = do()
        except WeatherError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a file makes its library raise: the other models go on
            _log.exception("%s %s could not be loaded", *key)
            reason = f"{type(error).__name__}: {error}"
        else:
            self._failures.pop(key, None)
            return result
        if known is None or (known.mark, known.reason) != (mark, reason):
            target, alias = (None, None) if key in (_STATE, _RECENT) else key
            self._on_event(StoreEvent(kind="load_failed", target=target, alias=alias, version=version, reason=reason))
        self._failures[key] = _Failure(mark, reason, monotonic() + AGAIN_SECONDS)
        return None

    def _tell_changes(self, before: Served | None, now: Served) -> None:
        old, new = _flat(before.models if before else {}), _flat(now.models)
        for key, model in new.items():
            if key not in old or (old[key].version, old[key].digest) != (model.version, model.digest):
                self._on_event(StoreEvent(kind="swapped", target=key[0], alias=key[1], version=model.version))
        for key, model in old.items():
            if key not in new:
                self._on_event(StoreEvent(kind="withdrawn", target=key[0], alias=key[1], version=model.version))
        for each in now.refused:
            if before is None or each not in before.refused:
                self._on_event(
                    StoreEvent(
                        kind="refused",
                        target=each.target,
                        alias=each.alias,
                        version=each.version,
                        reason=each.reason,
                    )
                )

    def _tell_age(self) -> None:
        checked_at = self.served.checked_at if self.served else None
        heard_at = max(self._started_at, checked_at or self._started_at)
        reason = self.served.registry_error if self.served else None
        if reason is None and (datetime.now(UTC) - heard_at).total_seconds() > self._silence_seconds:
            reason = f"the follower of {self._folder.path} has not been heard of since {heard_at:%Y-%m-%d %H:%M:%S} UTC"
        if (reason is not None) != self._stale:
            self._stale = reason is not None
            self._on_event(StoreEvent(kind="stale" if self._stale else "fresh", reason=reason))


def _flat(models: Mapping[str, Mapping[str, ServedModel]]) -> dict[tuple[str, str], ServedModel]:
    return {(target, alias): model for target, aliases in models.items() for alias, model in aliases.items()}
