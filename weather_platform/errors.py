"""Every error the platform raises on purpose.

One small tree. A message is one line: what is wrong, where, and what to do about it. Nothing here wraps a
programming error, and nothing here is ever swallowed into an empty value.
"""

from typing import Final

MAKE_ROOM: Final = "make room on that disk, then run again"
"""What to do when `is_full` is true, whatever was being written."""
_FULL: Final = ("disk is full", "no space left", "not enough space", "disk quota exceeded", "file too large")


class WeatherError(Exception):
    """Base of all deliberate errors; its text is one line with the remedy."""


class SettingsError(WeatherError):
    """The configuration cannot be used: unknown profile, missing secret, unusable path."""


class SourceError(WeatherError):
    """A source cannot be read as it stands: unreadable file, unknown layout, month outside the coverage."""


class InvariantError(WeatherError):
    """A promise about the data would be broken by publishing, so nothing was published."""


class NotEnoughDataError(InvariantError):
    """The data does not reach far enough for what is asked of it; with more of it the same call would do."""


class LakeError(WeatherError):
    """The lake is unreachable, or a table of it cannot be read or written as it stands."""


class ReportError(WeatherError):
    """The report store is unreachable, or a report cannot be read or written as it stands."""


class PartitionMissingError(WeatherError):
    """An asset needs a partition that has not been materialised yet."""


class RegistryError(WeatherError):
    """The model registry is unreachable, or its answer cannot be used."""


class RegistryUnreachableError(RegistryError):
    """The model registry did not answer, or not with what was asked for: an outage, or a file that is gone."""


class DigestMismatchError(RegistryError):
    """A stored model file is not the file that was registered: its SHA-256 differs."""


class ArchiveError(WeatherError):
    """A file that should hold a model cannot be used: it is damaged, too large, or of a model not served here."""


class ImportRefusedError(WeatherError):
    """A model of another home may not come into Production here; nothing was changed."""


class ReproductionError(WeatherError):
    """A registered model could not be made again bit for bit; the line says what differs."""


class NotExactError(WeatherError):
    """An exact answer was asked for, and the algorithm has none."""


class PromotionConflictError(WeatherError):
    """The champion changed between the decision and the move of the alias, so nothing moved."""


class CanaryError(WeatherError):
    """A model that was loaded does not say again what it said when it was tested."""


class ServingStateError(WeatherError):
    """The state folder of the service is missing a file, or holds what was not written by the follower."""


class RollbackRefusedError(WeatherError):
    """There is no version to go back to, or the one that was asked for may not serve; nothing moved."""


class MaskRefusedError(WeatherError):
    """A mask of a station or column that is not known, that is there already, or that is not there to end."""


def is_full(said: object) -> bool:
    """Whether this error, or its text, is about a disk without room."""
    return any(words in str(said).lower() for words in _FULL)
