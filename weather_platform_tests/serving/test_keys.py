"""Keys of tokens: what may sign, what is refused (with a valid sibling that is not), and that no secret is told."""

import os
import secrets
import shutil
import subprocess
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import SecretStr

from weather_platform.errors import SettingsError
from weather_platform.serving.keys import HOW_TO_MAKE_A_KEY, HOW_TO_MAKE_A_SECRET, Keys
from weather_platform.settings import Settings

GOOD = "q7Zr0m1vYc8TnWb4KpXs6UeHd2LgAj9F"  # 32 bytes
PLAIN = NoEncryption()


def keys(secret: str | None = None, key_file: Path | None = None, **others: object) -> Keys:
    values = {"jwt_secret": secret, "jwt_key_file": key_file} | others
    return Keys.from_settings(Settings.model_validate({k: v for k, v in values.items() if v is not None}))


def refusal(secret: str | None = None, key_file: Path | None = None, **others: object) -> str:
    with pytest.raises(SettingsError) as caught:
        keys(secret, key_file, **others)
    told = "".join(traceback.format_exception(caught.value))
    for value in (secret, *others.values()):
        assert not isinstance(value, str) or len(value) < 8 or "/" in value or value not in told
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pem(
    folder: Path,
    key: Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    mode: int = 0o600,
    encryption: KeySerializationEncryption = PLAIN,
) -> Path:
    path = folder / f"{secrets.token_hex(4)}.pem"
    key = key or Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    path.chmod(mode)
    return path


# ---------------------------------------------------------------- secrets


def test_without_a_key_there_is_no_service_and_the_line_says_how_to_make_one() -> None:
    said = refusal()
    assert "WEATHER_JWT_SECRET" in said
    assert "openssl rand -base64 48" in said
    assert "WEATHER_JWT_KEY_FILE" in said
    assert refusal("") == said, "an empty variable is none"
    assert keys(GOOD).present.algorithm == "HS256"


@pytest.mark.parametrize(
    "secret",
    [GOOD, secrets.token_hex(16), secrets.token_urlsafe(48), secrets.token_hex(64), "ünïcödé" * 3 + GOOD],
    ids=["32 bytes", "hexadecimal", "base64", "long", "not ASCII"],
)
def test_a_random_secret_is_taken(secret: str) -> None:
    assert keys(secret).signing_key == secret.encode()


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (GOOD[:-1], "has 31 bytes and at least 32 are needed"),
        ("x", "has 1 bytes"),
        ("ü" * 15 + "u", "has 31 bytes"),
        (f" {GOOD}", "a blank or a comma"),
        (f"{GOOD}\n", "a blank or a comma"),
        (f"{GOOD},{GOOD}", "a blank or a comma"),
        ("change-me-change-me-change-me-change-me", "a placeholder"),
        ("CHANGE_THIS_TO_A_LONG_RANDOM_STRING_1234", "a placeholder"),
        ("your-256-bit-secret-your-256-bit-secret", "a placeholder"),
        ("a-string-secret-at-least-256-bits-long", "a placeholder"),
        ("super-secret-key-that-nobody-guesses-ever", "a placeholder"),
        ("password-password-password-password-1", "a placeholder"),
        ("09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", "a placeholder"),
        ("a" * 64, "repeats itself"),
        ("0123456789abcdef" * 4, "repeats itself"),
        ("abcdefg" * 10, "repeats itself"),
        ("01" * 31 + "0", "repeats itself"),
        ("0123456" + "6543210" * 2 + "1503624" * 3, "repeats itself"),
    ],
)
def test_a_weak_secret_is_refused_whether_it_signs_or_signed(secret: str, said: str) -> None:
    message = refusal(secret)
    assert message.startswith("WEATHER_JWT_SECRET ")
    assert said in message
    if "blank" not in said:  # which separates them there
        assert said in refusal(secrets.token_urlsafe(48), jwt_previous_secrets=secret)


# ---------------------------------------------------------------- key files


def test_an_ed25519_key_file_of_the_owner_signs(tmp_path: Path) -> None:
    for mode in (0o600, 0o400, 0o640):  # a group may read it: that is how an orchestrator hands files over
        assert keys(key_file=pem(tmp_path, mode=mode)).present.algorithm == "EdDSA"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o602, 0o620, 0o601])
def test_a_key_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = pem(tmp_path, mode=mode)
    assert f"{path} is open to others (mode {mode:o}); run `chmod 600 {path}`" in refusal(key_file=path)
    path.chmod(0o600)
    keys(key_file=path)


def test_a_file_that_holds_no_ed25519_private_key_is_refused(tmp_path: Path) -> None:
    for path in (
        pem(tmp_path, rsa.generate_private_key(65537, 2048)),
        pem(tmp_path, ec.generate_private_key(ec.SECP256R1())),
        pem(tmp_path, encryption=BestAvailableEncryption(b"locked")),
    ):
        assert "is no Ed25519 private key in PEM without a password" in refusal(key_file=path)
    text = tmp_path / "text.pem"
    for content in (
        b"",
        b"not a key at all",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"\xff",
    ):
        text.write_bytes(content)
        text.chmod(0o600)
        assert "is no Ed25519 private key" in refusal(key_file=text)
    public = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text.write_bytes(public)
    assert "is no Ed25519 private key" in refusal(key_file=text)


def test_a_key_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(key_file=tmp_path / "nothing.pem")
    assert "directory" in refusal(key_file=tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is no file" in refusal(key_file=tmp_path / "pipe")


def test_two_keys_that_would_both_sign_are_refused(tmp_path: Path) -> None:
    assert "are both set; keep the one that signs" in refusal(GOOD, pem(tmp_path))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_what_the_hints_say_makes_a_good_secret_and_a_good_key(tmp_path: Path) -> None:
    said = []
    for hint in (HOW_TO_MAKE_A_SECRET, HOW_TO_MAKE_A_KEY):
        command = ["bash", "-c", hint.split("`")[1]]
        said.append(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip())
    assert keys(said[0]).present.algorithm == "HS256"
    assert keys(key_file=tmp_path / "weather.pem").present.algorithm == "EdDSA"


# ---------------------------------------------------------------- rotation


def test_former_keys_of_both_kinds_verify_beside_the_present_one(tmp_path: Path) -> None:
    one, two = pem(tmp_path), pem(tmp_path)
    public = tmp_path / "public.pem"
    public.write_bytes(
        Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    former = [secrets.token_urlsafe(48) for _ in range(2)]
    made = keys(
        key_file=one, jwt_previous_secrets=f" {former[0]} , {former[1]},", jwt_previous_key_files=f"{two}, {public}"
    )
    assert [key.algorithm for key in made.verifying.values()] == ["EdDSA", "HS256", "HS256", "EdDSA", "EdDSA"]
    assert keys(former[1]).present.kid in made.verifying
    assert keys(key_file=two).present.kid in made.verifying
    assert keys(secrets.token_urlsafe(48)).present.kid not in made.verifying


def test_a_former_key_file_is_held_to_the_same_permissions_unless_it_is_public(tmp_path: Path) -> None:
    private = pem(tmp_path, mode=0o644)
    assert "is open to others" in refusal(GOOD, jwt_previous_key_files=str(private))
    private.chmod(0o600)
    keys(GOOD, jwt_previous_key_files=str(private))
    text = tmp_path / "text.pem"
    text.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    assert "is no Ed25519 key in PEM" in refusal(GOOD, jwt_previous_key_files=str(text))


def test_a_key_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    assert "a key stands twice" in refusal(GOOD, jwt_previous_secrets=GOOD)
    path = pem(tmp_path)
    assert "a key stands twice" in refusal(key_file=path, jwt_previous_key_files=str(path))


def test_a_key_id_is_the_same_in_every_process_and_another_for_another_key(tmp_path: Path) -> None:
    path, other = pem(tmp_path), pem(tmp_path)
    assert keys(GOOD).present.kid == keys(GOOD).present.kid != keys(GOOD[::-1]).present.kid
    assert keys(key_file=path).present.kid == keys(key_file=path).present.kid != keys(key_file=other).present.kid
    assert keys(GOOD).derived(b"one") == keys(GOOD).derived(b"one") != keys(GOOD).derived(b"two")
    assert len({keys(key_file=path).derived(b"one"), keys(key_file=other).derived(b"one")}) == 2


def test_keys_show_nothing_of_themselves(tmp_path: Path) -> None:
    for made in (keys(GOOD, jwt_previous_secrets=GOOD[::-1]), keys(key_file=pem(tmp_path))):
        for text in (repr(made), str(made), repr(made.present), repr(list(made.verifying.values())), made.present.kid):
            assert GOOD not in text
            assert GOOD[::-1] not in text
            assert "PrivateKey" not in text
    assert SecretStr(GOOD).get_secret_value() not in repr(Settings(jwt_secret=SecretStr(GOOD)))
