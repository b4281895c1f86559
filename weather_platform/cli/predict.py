"""`weather predict`: what a running service says of a station-day."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from weather_platform.cli.names import near, unknown_stations
from weather_platform.cli.show import parse_day
from weather_platform.cli.sign_in import signed_in
from weather_platform.client import PRODUCTION
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.stations import match_key
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import PartitionMissingError, SourceError
from weather_platform.settings import Settings

if TYPE_CHECKING:
    from weather_platform.client import Observation, PredictAnswer, StationForecast, WeatherClient

    Answer = PredictAnswer | StationForecast


def show_prediction(
    settings: Settings,
    url: str | None,
    station: str,
    day_text: str | None,
    targets: Sequence[str],
    observed: Sequence[str],
) -> None:
    """Ask and print. Without `observed` the stored observations alone are forecast from; its fields go before them."""
    day = parse_day(day_text) if day_text is not None else None
    observation = observation_of(observed)
    answers: list[Answer]
    with signed_in(settings, url) as client:
        station = _in_the_words_of(client, station)
        if observation:
            day = day or client.stations().last_day
            if day is None:
                raise PartitionMissingError(
                    "the service has no observations yet, so there is no newest day; give --date"
                )
            asked = targets or [each.target for each in client.models().models if each.alias == PRODUCTION]
            answers = [client.predict(target, station, day, observation) for target in asked]
        else:
            found = client.forecast(station, day).forecasts
            answers = [each for each in found if not targets or each.target in targets]
    if not answers:
        raise PartitionMissingError(f"the service has no Production model of {', '.join(targets) or 'any target'}")
    console = Console(highlight=False)
    first = answers[0]
    console.print(f"{first.station}: issued {first.day}, for {first.forecast_day}", soft_wrap=True)
    table = Table()
    for name in ("target", "forecast", "", "version", "kind"):
        table.add_column(name)
    for answer in answers:
        table.add_row(
            TARGETS[answer.target].title if answer.target in TARGETS else answer.target,
            *_told(answer),
            f"{answer.model_version} ({answer.model_digest[:7]})",
            answer.kind,
        )
    console.print(table)


def _in_the_words_of(client: "WeatherClient", station: str) -> str:
    """The id of a station as the service writes it; what it does not know is left for it to refuse."""
    known = {match_key(each.id): each.id for each in client.stations().stations}
    if (found := known.get(match_key(station))) is not None:
        return found
    if meant := near(station, known.values()):
        raise unknown_stations([station], meant, sorted(known.values()))
    return station


def observation_of(fields: Sequence[str]) -> "Observation":
    """The observation in `name=value` texts; SourceError names the first that is none. An empty value: not observed."""
    kinds = {column.name: column.kind for column in OBSERVATION_COLUMNS}
    found: dict[str, Any] = {}
    for field in fields:
        name, equals, text = field.partition("=")
        if not equals or name not in kinds:
            raise SourceError(f"'{field}' is no NAME=VALUE of an observed column; there is {', '.join(kinds)}")
        try:
            found[name] = _value(kinds[name], text.strip())
        except ValueError:
            wanted = "true or false" if kinds[name] == "flag" else "a number"
            raise SourceError(
                f"{name} takes {wanted}, not '{text}'; leave it empty ({name}=) if it was not observed"
            ) from None
    return found  # type: ignore[return-value]


def _value(kind: str, text: str) -> float | bool | None:
    if not text:
        return None
    if kind != "flag":
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
        return number
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _told(answer: "Answer") -> tuple[str, str]:
    if answer.probability is not None:
        return (
            f"{answer.probability:.2f} {answer.unit}",
            f"{'yes' if answer.label else 'no'} from {answer.threshold:.2f}",
        )
    return f"{answer.value:.1f} {answer.unit}", f"90 %: {answer.low:.1f} to {answer.high:.1f}"
