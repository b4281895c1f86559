"""The keys of tokens: the one that signs now, and those that signed before and still verify.

What belongs here: reading keys from settings, refusing bad ones, and their key ids. What does not: what a token says
(``auth``). A key id (kid) is made from the key itself, so that two keys never share one and nobody has to choose it.
Keys are read once, when a process starts. No message and no repr tells anything of a secret.
"""

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from weather_platform.errors import SettingsError
from weather_platform.regular_files import NotRegularFileError, open_regular
from weather_platform.settings import Settings

MIN_SECRET_BYTES = 32
HOW_TO_MAKE_A_SECRET = "`openssl rand -base64 48` makes a good one"  # noqa: S105
HOW_TO_MAKE_A_KEY = "`(umask 077; openssl genpkey -algorithm ed25519 -out weather.pem)` makes one"

_MIN_DIFFERENT_CHARACTERS = 8
"""32 random hexadecimal digits have 14 different ones on average; fewer than 8 come once in millions."""

_MAX_PERIOD_CHARACTERS = 16
_MAX_KEY_FILE_BYTES = 10_000
_PLACEHOLDER_WORDS = (
    "changeme", "changethis", "replaceme", "placeholder", "example", "insecure", "password", "yoursecret",
    "mysecret", "supersecret", "topsecret", "secretkey", "256bitsecret", "astringsecret", "correcthorse",
)  # fmt: skip
_TUTORIAL_SECRETS_SHA256 = frozenset({"570dad43de1af4c925f92c16a68a50936da42b7dd6fdeb24850507a1199aac89"})
"""Secrets of good strength that everybody knows: the one that FastAPI's tutorial prints."""


@dataclass(frozen=True)
class VerifyingKey:
    """One key that tokens may be signed with, and the only algorithm that it may be used by."""

    algorithm: Literal["HS256", "EdDSA"]
    key: bytes | Ed25519PublicKey = field(repr=False)

    @property
    def kid(self) -> str:
        """The key id: the same for the same key in every process, and nothing can be told of the key from it."""
        if isinstance(self.key, bytes):
            return hmac.digest(self.key, b"weather_platform key id", "sha256").hex()[:16]
        return hashlib.sha256(self.key.public_bytes_raw()).hexdigest()[:16]


@dataclass(frozen=True)
class Keys:
    """The present key, which signs, and every key that verifies (the present one among them) by its id."""

    present: VerifyingKey
    signing_key: bytes | Ed25519PrivateKey = field(repr=False)
    verifying: Mapping[str, VerifyingKey] = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Keys":
        """The keys that the settings name. SettingsError, one line, if one cannot be used or there is none."""
        secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret is not None else ""
        signing_key: bytes | Ed25519PrivateKey
        if secret and settings.jwt_key_file is not None:
            raise SettingsError(
                "WEATHER_JWT_SECRET and WEATHER_JWT_KEY_FILE are both set; keep the one that signs, and name the "
                "other in WEATHER_JWT_PREVIOUS_SECRETS or WEATHER_JWT_PREVIOUS_KEY_FILES"
            )
        if secret:
            signing_key = _checked_secret(secret, "WEATHER_JWT_SECRET")
            present = VerifyingKey("HS256", signing_key)
        elif settings.jwt_key_file is not None:
            signing_key = _private_key(settings.jwt_key_file)
            present = VerifyingKey("EdDSA", signing_key.public_key())
        else:
            raise SettingsError(
                f"tokens cannot be signed: set WEATHER_JWT_SECRET ({HOW_TO_MAKE_A_SECRET}) or WEATHER_JWT_KEY_FILE"
            )
        verifying = {present.kid: present}
        for key in _previous(settings):
            if key.kid in verifying:
                raise SettingsError(
                    "a key stands twice among WEATHER_JWT_SECRET, WEATHER_JWT_KEY_FILE and those that signed before; "
                    "name each once"
                )
            verifying[key.kid] = key
        return cls(present, signing_key, verifying)

    def derived(self, purpose: bytes) -> bytes:
        """32 bytes that only who has the present key can make, for this purpose alone."""
        key = self.signing_key if isinstance(self.signing_key, bytes) else self.signing_key.private_bytes_raw()
        return hmac.digest(key, b"weather_platform " + purpose, "sha256")


def _previous(settings: Settings) -> list[VerifyingKey]:
    secrets = settings.jwt_previous_secrets.get_secret_value() if settings.jwt_previous_secrets is not None else ""
    keys = [
        VerifyingKey("HS256", _checked_secret(secret, "a secret of WEATHER_JWT_PREVIOUS_SECRETS"))
        for secret in _listed(secrets)
    ]
    files = [Path(name).expanduser() for name in _listed(settings.jwt_previous_key_files or "")]
    return keys + [VerifyingKey("EdDSA", _public_key(path)) for path in files]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _checked_secret(secret: str, name: str) -> bytes:
    """The bytes of a secret that nobody guesses, as far as that can be seen."""
    value = secret.encode()
    if len(value) < MIN_SECRET_BYTES:
        raise SettingsError(
            f"{name} has {len(value)} bytes and at least {MIN_SECRET_BYTES} are needed; {HOW_TO_MAKE_A_SECRET}"
        )
    if re.search(r"[\s,]", secret):
        raise SettingsError(f"{name} holds a blank or a comma, which separates secrets; {HOW_TO_MAKE_A_SECRET}")
    plain = re.sub(r"[^a-z0-9]", "", secret.lower())
    if any(word in plain for word in _PLACEHOLDER_WORDS) or (
        hashlib.sha256(value).hexdigest() in _TUTORIAL_SECRETS_SHA256
    ):
        raise SettingsError(f"{name} is a placeholder that others know too; {HOW_TO_MAKE_A_SECRET}")
    repeated = any(secret == (secret[:n] * len(secret))[: len(secret)] for n in range(1, _MAX_PERIOD_CHARACTERS + 1))
    if repeated or len(set(secret)) < _MIN_DIFFERENT_CHARACTERS:
        raise SettingsError(f"{name} repeats itself and can be guessed; {HOW_TO_MAKE_A_SECRET}")
    return value


def _private_key(path: Path) -> Ed25519PrivateKey:
    content, mode = _read(path)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise SettingsError(
            f"the key file {path} is open to others (mode {stat.S_IMODE(mode):o}); run `chmod 600 {path}`, and make "
            "a new key if others may have read it"
        )
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not chained: the parser's message is of no use, and may be about the contents.
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path} is no Ed25519 private key in PEM without a password; {HOW_TO_MAKE_A_KEY}")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    content, _ = _read(path)
    if b"PRIVATE KEY" in content:
        return _private_key(path).public_key()
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(
            f"{path} is no Ed25519 key in PEM; name the former key file, or what "
            f"`openssl pkey -in {path} -pubout` makes of it"
        )
    return key


def _read(path: Path) -> tuple[bytes, int]:
    """Contents and mode of one and the same file."""
    try:
        with open_regular(path) as file:
            return file.read(_MAX_KEY_FILE_BYTES), os.fstat(file.fileno()).st_mode
    except NotRegularFileError as error:
        raise SettingsError(f"the key file {path} is no file: {error.strerror}; {HOW_TO_MAKE_A_KEY}") from None
    except OSError as error:
        raise SettingsError(f"the key file {path} cannot be read: {error.strerror}; {HOW_TO_MAKE_A_KEY}") from None
