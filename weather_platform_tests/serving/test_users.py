"""What a user name and a password may be, and how passwords are hashed."""

import threading
import traceback

import pytest

from weather_platform.errors import WeatherError
from weather_platform.serving.users import (
    MAX_PASSWORD_BYTES,
    BusyError,
    Passwords,
    password_bytes,
    require_name,
    require_password,
)


@pytest.mark.parametrize("name", ["a", "ada", "ada.lovelace", "ci-runner_2", "ada@example.org", "0", "x" * 64])
def test_a_plain_name_is_taken(name: str) -> None:
    require_name(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "Ada", "a da", "-ada", ".ada", "ada\n", "ada\0", "ädä", "a/b", "a,b"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(WeatherError, match="1 to 64 of a-z"):
        require_name(name)


@pytest.mark.parametrize(
    "password",
    ["x7!mQ2#zR9@k", "aaaabbbbccccdddd", "blue whales eat krill", "ni12345hao678", "пароль-из-слов", "ada likes rain",
     "847261950372", "password of the blue whale", "weather in Cobar 1908",
     "x" * 1020 + "abc", "🐳🐋🐬🐟🐠🐡🦈🐙🐚🦀🦞🦐"],
)  # fmt: skip
def test_a_long_password_of_any_composition_is_taken(password: str) -> None:
    require_password(password, "ada")


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "is no text"),
        ("elevenchars", "too short; use at least 12 characters"),
        ("ﬁﬁﬁﬁ", "too short"),  # eight characters when written plainly
        ("x" * 1025, "more than 1024 bytes"),
        ("ü" * 513, "more than 1024 bytes"),
        ("half a pair \ud83d", "is no text"),
        ("password12345", "tried first"),
        ("Password12345!", "tried first"),
        ("aaaaaaaaaaaaaaa", "tried first"),
        ("121212121212", "tried first"),
        ("123456789012", "tried first"),
        ("098765432109", "tried first"),
        ("correcthorsebatterystaple", "tried first"),
        ("lovelace2024!", "tried first"),
        ("Lovelace Lovelace", "tried first"),
        ("lovelace-weather", "tried first"),
        ("abcdefghijklmnop", "tried first"),
        ("qwertyuiopasdf", "tried first"),
        ("zyxwvutsrqponm!", "tried first"),
        ("Qwertzuiop1234", "tried first"),
        ("abc!abc!abc!abc!", "tried first"),
        ("passwordpassword", "tried first"),
        ("iloveyou12345678", "tried first"),
    ],
)
def test_a_password_that_is_short_too_long_or_known_is_refused_and_not_told(password: str, said: str) -> None:
    with pytest.raises(WeatherError, match=said) as refused:
        require_password(password, "lovelace")
    assert not password or password not in "".join(traceback.format_exception(refused.value))


def test_a_user_may_have_the_name_of_another_in_its_password() -> None:
    require_password("lovelace2024!", "ada")


def test_a_password_is_the_same_however_its_characters_are_typed() -> None:
    assert password_bytes("Ångström über alles") == password_bytes("A\u030angstro\u0308m u\u0308ber alles")
    assert password_bytes("Ångström") != password_bytes("Angstrom")


def test_what_cannot_be_a_password_has_no_bytes() -> None:
    assert password_bytes("x" * MAX_PASSWORD_BYTES) is not None
    for text in ("", "x" * (MAX_PASSWORD_BYTES + 1), "ü" * 600, "\ud800"):
        assert password_bytes(text) is None
    assert password_bytes("ﷺ" * 341) is None, "18 characters each when written plainly"


def test_only_the_password_matches_its_hash_and_no_two_hashes_are_equal() -> None:
    passwords = Passwords()
    hashed = passwords.hash("blue whales eat krill")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.hash("blue whales eat krill") != hashed
    assert passwords.matches(hashed, b"blue whales eat krill")
    for wrong in (b"blue whales eat krill ", b"Blue whales eat krill", b"x"):
        assert not passwords.matches(hashed, wrong)


def test_a_hash_that_cannot_be_read_is_an_error_that_does_not_tell_it() -> None:
    for broken in ("$argon2id$v=19$m=19456,t=2,p=1$abc", "$argon2id$", "plain words"):
        with pytest.raises(WeatherError, match="weather user password NAME") as refused:
            Passwords().matches(broken, b"blue whales eat krill")
        assert broken not in "".join(traceback.format_exception(refused.value))


def test_one_hash_is_made_at_a_time_and_a_long_wait_ends_in_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords()
    hashed = passwords.hash("blue whales eat krill")
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(passwords.matches(hashed, b"blue whales eat krill")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    monkeypatch.setattr("weather_platform.serving.users._LONGEST_WAIT_SECONDS", 0.05)
    with passwords._turn, pytest.raises(BusyError, match="too many logins"):
        passwords.matches(hashed, b"blue whales eat krill")
    assert passwords.matches(hashed, b"blue whales eat krill")
