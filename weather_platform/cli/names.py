"""Names as people type them: case, blanks and signs do not matter, and a near miss is named.

What belongs here: finding a known name for a typed one. What does not: which names there are.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from weather_platform.domain.recognition import Recogniser, StationText
from weather_platform.domain.stations import Station, stations_of
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import SourceError

if TYPE_CHECKING:
    from weather_platform.lake import Lake

_LISTED = 60
"""Names that a message lists; a large catalogue is cut there."""


def near(typed: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that `typed` may have meant, the nearest first: misspelt, or cut off."""
    by_key = {_plain(name): name for name in known}
    key = _plain(typed)
    begun = [by_key[each] for each in sorted(by_key) if len(key) > 2 and each.startswith(key)]
    misspelt = [by_key[each] for each in difflib.get_close_matches(key, by_key, n=3, cutoff=0.7)]
    return list(dict.fromkeys([*begun, *misspelt]))[:3]


def did_you_mean(names: Sequence[str]) -> str:
    """The question about near names; empty without any."""
    return f"; did you mean {' or '.join(names)}?" if names else ""


def target_named(typed: str) -> str | None:
    """The target of this name; None when there is none."""
    return {_plain(name): name for name in TARGETS}.get(_plain(typed))


def stations_named(typed: Sequence[str], catalogue: Sequence[Station]) -> list[str]:
    """The catalogue ids of typed names, in their order; SourceError names those that are not in the catalogue."""
    recogniser = Recogniser(catalogue)
    found = {name: recogniser.recognise(StationText(name)) for name in typed}
    if unknown := [name for name, station in found.items() if station is None]:
        ids = sorted(station.id for station in catalogue)
        meant = list(dict.fromkeys(each for name in unknown for each in near(name, ids)))
        raise unknown_stations(unknown, meant, ids)
    return list(dict.fromkeys(station.id for station in found.values() if station is not None))


def unknown_stations(typed: Sequence[str], meant: Sequence[str], ids: Sequence[str]) -> SourceError:
    """The error about names that are not in a catalogue: the question what was meant, or else what there is."""
    if meant:
        return SourceError(f"no station {', '.join(typed)}{did_you_mean(meant)}")
    return SourceError(f"no station {', '.join(typed)}; the catalogue has {_listed(ids)}")


def catalogue_of(lake: "Lake") -> tuple[Station, ...]:
    """The stored catalogue."""
    return stations_of(lake.read("stations"))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
