"""Channels: one message to one receiver, through apprise.

What belongs here: the call, how long it may take, and why it failed. What does not: when to try again (``sender``).

The address of a channel holds its token, and apprise writes addresses into its log. So nothing that apprise says
leaves this module: the reason of a failure is chosen from the sentences below.
"""

import importlib
import logging
import re
import threading
from types import ModuleType
from typing import Any, Final

from weather_platform.domain.notices import Severity
from weather_platform.errors import SettingsError
from weather_platform.notifications.messages import Message
from weather_platform.settings import NotifyChannel

TRY_SECONDS: Final = 20.0
"""Longest time that one try may take."""
_TYPES: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.URGENT: "failure"}
_APPRISE: Final = "apprise"
_OF_THREAD: Final = threading.local()
"""What was logged during the call of this thread."""
_STATUS: Final = re.compile(r"error=(\d{3})\b|\((\d{3}), b['\"]")
_REASONS: Final = (
    ("timed out", "no answer in time; check that the address is reachable from this machine"),
    ("Connection refused", "the connection was refused; check host and port, and that the server runs"),
    ("Name or service not known", "the name of the host is not known; check the address"),
    ("nodename nor servname", "the name of the host is not known; check the address"),
    ("Failed to resolve", "the name of the host is not known; check the address"),
    ("CERTIFICATE_VERIFY_FAILED", "the certificate is not trusted; check the address and the clock"),
    ("Connection aborted", "the answer broke off"),
    ("IncompleteRead", "the answer broke off"),
    ("Connection unexpectedly closed", "the answer broke off"),
    ("unreachable", "the network is not reachable"),
)
_OTHERWISE: Final = "the channel did not take the message; check its address"


class ChannelError(Exception):
    """A message was not taken, as far as can be known; the text is one line without any part of the address."""


def send(channel: NotifyChannel, message: Message) -> None:
    """Send one message; ChannelError unless the channel said that it took it, SettingsError if it cannot be used."""
    plugin = plugin_of(channel)
    heard: list[str] = []
    took: list[bool] = []

    def call() -> None:
        _OF_THREAD.heard = heard
        kind = _TYPES[message.severity]
        try:
            took.append(plugin.notify(body=message.body, title=message.title, notify_type=kind, body_format="text"))
        except Exception as fault:  # noqa: BLE001 - its text may hold the address, and Python would print it
            heard.append(str(fault))

    # A server that sends a byte now and then keeps the libraries waiting for ever: their limits are per read.
    trying = threading.Thread(target=call, name=f"notify {channel.name}", daemon=True)
    trying.start()
    trying.join(TRY_SECONDS)
    if trying.is_alive():
        raise ChannelError(f"no answer within {TRY_SECONDS:.0f} s; check that the address is reachable")
    if took != [True]:
        raise ChannelError(_reason(heard))


def plugin_of(channel: NotifyChannel) -> Any:
    """What apprise makes of the address; SettingsError unless it is one receiver."""
    apprise = _apprise()
    made = apprise.Apprise.instantiate(channel.url.get_secret_value(), suppress_exceptions=True)
    if not isinstance(made, apprise.NotifyBase):
        raise SettingsError(
            f"the url of {channel.name!r} in WEATHER_NOTIFY_CHANNELS is incomplete; docs/how-to/notifications.md has "
            "an example of each kind"
        )
    if len(made) != 1:
        raise SettingsError(
            f"the url of {channel.name!r} in WEATHER_NOTIFY_CHANNELS has more than one receiver, or its own retries; "
            "write a channel for each receiver, so that each gets every notice once"
        )
    return made


def _reason(heard: list[str]) -> str:
    """Why, in words that hold nothing of the address."""
    text = "\n".join(heard)
    if found := _STATUS.search(text):
        status = found[1] or found[2]
        return f"the channel answered {status}{_meaning(int(status), smtp=found[1] is None)}"
    return next((reason for words, reason in _REASONS if words.lower() in text.lower()), _OTHERWISE)


def _meaning(status: int, *, smtp: bool) -> str:
    if smtp:
        return "; check user and password" if status in (530, 534, 535) else "; check sender and receiver"
    if status in (401, 403, 404, 410):
        return "; its address or token is wrong or was revoked"
    if status == 429:
        return "; it asks to send less often"
    return "; it has a fault of its own" if status >= 500 else "; check its address"


class _Ear(logging.Filter):
    """Keeps records of apprise and the libraries below it out of every log, and notes what they say of our call."""

    def filter(self, record: logging.LogRecord) -> bool:
        heard: list[str] | None = getattr(_OF_THREAD, "heard", None)
        if heard is None:
            return record.name != _APPRISE
        heard.append(record.getMessage())
        return False


def _apprise() -> ModuleType:
    """The library, silenced: it writes addresses into its log."""
    for name in (_APPRISE, "urllib3.connectionpool"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Ear) for each in logger.filters):
            logger.addFilter(_Ear())
    logging.getLogger(_APPRISE).setLevel(logging.DEBUG)  # only there it says why a connection failed
    apprise: ModuleType = importlib.import_module("apprise")  # half a second, for those alone who send
    return apprise
