"""Which station of the catalogue a raw row is of.

What belongs here: the one answer to that question, for cleaning, the lake, the commands and the way back of a forecast.
What does not: the catalogue (``stations``) and what the Bureau calls its stations (``bureau``).

In this order: the Bureau's number of the file's main station, its product number, the name with its state. A number or
product that is not in the catalogue decides nothing, because stations move; then the next one is asked. Names are the
catalogue id, the name given with it, and the Bureau's names of the place. A name counts only in its own state when the
row has one: Richmond in New South Wales is not Richmond in Queensland. Without a state an id decides, and any other
name only when one station alone has it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import numpy as np
import pyarrow as pa

from weather_platform.domain.bureau import PLACES, STATES
from weather_platform.domain.stations import Station, match_key
from weather_platform.errors import InvariantError

STATION_COLUMNS: Final = ("station", "station_state", "bureau_product", "bureau_stations")
"""The columns of a raw row that say which station it is of, in the order of the fields of `StationText`."""

_STATE_CODES: Final = {match_key(words): code for words, code in STATES.items()}


@dataclass(frozen=True, slots=True)
class StationText:
    """What a raw row says about its station, as received; None for what it does not say.

    ``numbers`` are six-digit Bureau numbers separated by blanks, the main station first.
    """

    name: str | None
    state: str | None = None
    product: str | None = None
    numbers: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """What a raw row says; columns that an older table lacks count as not said."""
        return cls(*(row.get(name) for name in STATION_COLUMNS))


@dataclass(frozen=True, slots=True)
class Recognised:
    """The catalogue id, and what it was recognised by."""

    id: str
    by: Literal["number", "product", "name"]


class Recogniser:
    """Recognises stations of one catalogue. InvariantError when two of its stations cannot be told apart."""

    def __init__(self, stations: Iterable[Station]) -> None:
        self._states: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self._names: dict[str, dict[str, str]] = {}
        self._products: dict[str, str] = {}
        self._numbers: dict[str, str] = {}
        self._known: dict[StationText, Recognised | None] = {}
        catalogue = list(stations)
        for station in catalogue:
            other = self._ids.setdefault(match_key(station.id), station.id)
            if other != station.id:
                raise InvariantError(f"stations '{other}' and '{station.id}' cannot be told apart; rename one of them")
            self._states[station.id] = _state_key(station.state)
        for station in catalogue:
            place = PLACES.get(station.id)
            sites = place.sites if place else ()
            for name in (station.id, station.name, *_bureau_names(station.id)):
                self._add_name(name, station)
            self._numbers |= {site.number: station.id for site in sites}
            self._products |= dict.fromkeys(place.products if place else (), station.id)

    def _add_name(self, name: str, station: Station) -> None:
        if not (key := match_key(name)):
            return
        of_state = self._names.setdefault(key, {})
        other = of_state.setdefault(self._states[station.id], station.id)
        if other != station.id:
            raise InvariantError(
                f"stations '{other}' and '{station.id}' of {station.state} are both called '{name}'; rename one of them"
            )

    def recognise(self, said: StationText) -> Recognised | None:
        """The station of a row that says this; None when it is none of the catalogue."""
        if said not in self._known:
            self._known[said] = self._recognise(said)
        return self._known[said]

    def _recognise(self, said: StationText) -> Recognised | None:
        main = (said.numbers or "").split()[:1]
        if main and (found := self._numbers.get(main[0].zfill(6))):
            return Recognised(found, "number")
        if said.product and (found := self._products.get(said.product.strip().upper())):
            return Recognised(found, "product")
        if said.name and (found := self._named(match_key(said.name), _state_key(said.state or ""))):
            return Recognised(found, "name")
        return None

    def _named(self, key: str, state: str) -> str | None:
        of_state = self._names.get(key, {})
        if state:
            return of_state.get(state)
        if key in self._ids:
            return self._ids[key]
        return next(iter(of_state.values())) if len(of_state) == 1 else None

    def ids(self, rows: pa.Table) -> pa.DictionaryArray:
        """The catalogue id of each raw row, null for an unknown station. Each distinct text is looked at once.

        ``rows`` have the STATION_COLUMNS; those that an older table lacks count as not said.
        """
        count = rows.num_rows
        codes = np.zeros(count, dtype=np.int64)
        texts: list[pa.DictionaryArray | None] = []
        for name in STATION_COLUMNS:
            if name not in rows.column_names or rows[name].null_count == count:
                texts.append(None)
                continue
            encoded = rows[name].combine_chunks().dictionary_encode(null_encoding="encode")
            codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
            texts.append(encoded)
        _, first, which = np.unique(codes, return_index=True, return_inverse=True)
        ids: dict[str, int] = {}
        found = np.empty(len(first), dtype=np.int32)
        for number, at in enumerate(first.tolist()):
            said = StationText(*(None if text is None else text[at].as_py() for text in texts))
            station = self.recognise(said)
            found[number] = -1 if station is None else ids.setdefault(station.id, len(ids))
        indices = found[which]
        return pa.DictionaryArray.from_arrays(pa.array(indices, mask=indices < 0), pa.array(list(ids), pa.string()))


def clash(station: Station, shipped: Iterable[Station]) -> str | None:
    """The shipped station that one of the user's own would be taken for, by its id or by its name in the same state."""
    key, state = match_key(station.id), _state_key(station.state)
    for other in shipped:
        names = {match_key(name) for name in (other.id, other.name, *_bureau_names(other.id))} - {""}
        if key in names or (match_key(station.name) in names and state == _state_key(other.state)):
            return other.id
    return None


def _bureau_names(station_id: str) -> tuple[str, ...]:
    place = PLACES.get(station_id)
    return (place.name, *(site.name for site in place.sites), *place.also) if place else ()


def in_words(found: Recognised, said: StationText) -> str:
    """How a row was recognised, which stations of the Bureau it was drawn from, and what is known of their moves."""
    place = PLACES.get(found.id)
    sites = {site.number: site for site in place.sites} if place else {}
    main, *others = (said.numbers or "").split() or [""]
    by = {
        "number": f"the Bureau's number {main}" + (f" ({sites[main].name})" if main in sites else ""),
        "product": f"the Bureau's product {said.product}",
        "name": f"its name {said.name!r}" + (f" in {said.state}" if said.state else ""),
    }
    parts = [f"{found.id}, recognised by {by[found.by]}"]
    if found.by != "product" and said.product:
        parts.append(f"product {said.product}")
    if others:
        parts.append(f"some elements from {', '.join(others)}")
    if main and sites and main not in sites:
        parts.append(f"main station {main}, which is not one of those known here ({', '.join(sites)})")
    if main in sites:
        parts += [
            f"the place was also {site.number}, {site.name}" + (f" ({site.remark})" if site.remark else "")
            for site in sites.values()
            if site.number != main
        ]
    return "; ".join(parts)


def state_code(text: str) -> str:
    """The state as the catalogue writes it (NSW for New South Wales); any other text as it is."""
    return _STATE_CODES.get(match_key(text), text)


def _state_key(text: str) -> str:
    return match_key(state_code(text))
