"""`weather user`: users come and go, passwords come from a terminal or a pipe, and are told to nobody."""

import os
import pty
import secrets
import select
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from weather_platform.serving import limits
from weather_platform.serving.auth import Authenticator, AuthError
from weather_platform.serving.limits import FAILURES_BEFORE_LOCK
from weather_platform.serving.users import Passwords
from weather_platform.settings import PROJECT_DIR, load_settings
from weather_platform_tests.e2e.homes import MadeHome, clean_environment, empty_home

SECRET = secrets.token_urlsafe(48)
PASSWORD = "blue whales eat krill"  # noqa: S105
PROGRAM = [sys.executable, "-c", "from weather_platform.cli import main; main()"]


@pytest.fixture
def fresh(tmp_path: Path) -> MadeHome:
    """A home in which nothing was run."""
    return empty_home(tmp_path / "home")


def test_a_user_is_added_with_a_password_from_a_pipe_listed_and_disabled(fresh: MadeHome) -> None:
    done = fresh.pipe(
        f"{PASSWORD}\nanother line\n".encode(), "user", "add", "ada", "--scope", "predict", "--scope", "admin"
    )
    assert (done.code, done.out, done.err) == (0, "ada may log in, with scope predict and admin\n", "")
    user = fresh.database.user("ada")
    assert user is not None
    assert (user.scopes, user.disabled) == (("predict", "admin"), False)
    assert Passwords().matches(user.password_hash, PASSWORD.encode())
    assert (datetime.now(UTC) - user.created_at).total_seconds() < 600
    listed = fresh.call("user", "list")
    assert listed.code == 0
    assert "ada" in listed.out
    assert "predict admin" in listed.out
    assert "argon2" not in listed.out
    assert fresh.call("user", "disable", "ada").out == "ada is disabled; its tokens end within 5 seconds\n"
    assert "disabled" in fresh.call("user", "list").out
    assert fresh.call("user", "enable", "ada").out == "ada may log in again\n"
    assert "disabled" not in fresh.call("user", "list").out
    again = fresh.database.user("ada")
    assert again is not None
    assert again.generation == 3


def test_a_user_may_predict_unless_something_else_is_said(fresh: MadeHome) -> None:
    assert fresh.pipe(PASSWORD.encode() + b"\r\n", "user", "add", "ada").code == 0
    user = fresh.database.user("ada")
    assert user is not None
    assert user.scopes == ("predict",)
    assert Passwords().matches(user.password_hash, PASSWORD.encode()), "the end of the line is no part of it"


def test_without_users_the_list_says_how_to_add_one(fresh: MadeHome) -> None:
    assert fresh.call("user", "list").out == "there are no users; `weather user add NAME` adds one\n"


@pytest.mark.parametrize(
    ("sent", "name", "said"),
    [
        (b"", "ada", "the password cannot be used"),
        (b"\n", "ada", "the password cannot be used"),
        (b"eleven char\n", "ada", "too short; use at least 12 characters"),
        (b"x" * 2_000 + b"\n", "ada", "more than 1024 bytes"),
        (b"x" * 20_000, "ada", "more than 1024 bytes"),
        (b"password1234\n", "ada", "one of those that are tried first"),
        (b"\xff\xfe not utf-8 at all\n", "ada", "no text"),
        (b"blue whales eat krill\n", "Ada", "a user name has 1 to 64 of a-z"),
        (b"blue whales eat krill\n", "a b", "a user name has 1 to 64 of a-z"),
    ],
)
def test_what_cannot_be_a_user_is_refused_in_one_line_without_the_password(
    fresh: MadeHome, sent: bytes, name: str, said: str
) -> None:
    done = fresh.pipe(sent, "user", "add", name)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("weather: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert sent.strip().decode(errors="replace")[:20] not in done.err or not sent.strip()
    assert fresh.call("user", "list").out.startswith("there are no users")


def test_a_name_is_taken_once_and_a_password_is_changed_by_its_own_command(fresh: MadeHome) -> None:
    fresh.pipe(PASSWORD.encode(), "user", "add", "ada")
    again = fresh.pipe(b"quite another password", "user", "add", "ada")
    assert again.code == 1
    assert "there is a user ada already; `weather user password ada` gives it another password" in again.err
    changed = fresh.pipe(b"quite another password", "user", "password", "ada")
    assert changed.out == "ada has a new password; tokens of before end within 5 seconds\n"
    user = fresh.database.user("ada")
    assert user is not None
    assert Passwords().matches(user.password_hash, b"quite another password")
    assert user.generation == 2
    assert fresh.pipe(b"short", "user", "password", "ada").code == 1
    assert fresh.database.user("ada") == user


def test_the_scopes_of_a_user_are_changed(fresh: MadeHome) -> None:
    fresh.pipe(PASSWORD.encode(), "user", "add", "ada")
    done = fresh.call("user", "scopes", "ada", "predict", "admin", "admin")
    assert done.out == "ada has scope predict and admin; tokens of before end within 5 seconds\n"
    user = fresh.database.user("ada")
    assert user is not None
    assert (user.scopes, user.generation) == (("predict", "admin"), 2)
    for scopes, said in (["root"], "no scope root; there is predict, admin"), ([], "Missing argument"):
        done = fresh.call("user", "scopes", "ada", *scopes)
        assert (done.code, said in done.err) == (2, True)
    assert fresh.database.user("ada") == user


def test_a_deleted_user_is_gone_and_its_name_is_free(fresh: MadeHome) -> None:
    fresh.pipe(PASSWORD.encode(), "user", "add", "ada")
    assert fresh.call("user", "delete", "ada").out == "ada is deleted; its tokens end within 5 seconds\n"
    assert fresh.call("user", "list").out.startswith("there are no users")
    assert fresh.pipe(b"quite another password", "user", "add", "ada").code == 0


def test_a_locked_user_is_let_in_where_it_is_locked_and_nowhere_else(
    fresh: MadeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOCK", timedelta(seconds=60))  # until the test looks, however slow the machine is
    fresh.pipe(PASSWORD.encode(), "user", "add", "ada")
    secret = {"WEATHER_JWT_SECRET": SECRET}
    authenticator = Authenticator.from_settings(load_settings(home=fresh.folder, jwt_secret=SECRET), fresh.database)
    for _ in range(FAILURES_BEFORE_LOCK):
        with pytest.raises(AuthError):
            authenticator.token("ada", "a wrong password", "10.0.0.7")
    with pytest.raises(AuthError, match="too many failed logins"):
        authenticator.token("ada", PASSWORD, "10.0.0.7")
    elsewhere = fresh.call("user", "unlock", "ada", **secret)
    assert elsewhere.code == 1
    assert "no login of ada from 127.0.0.1 has failed lately" in elsewhere.err
    done = fresh.call("user", "unlock", "ada", "--address", "10.0.0.7", **secret)
    assert done.out == "ada may try again from 10.0.0.7\n"
    assert authenticator.token("ada", PASSWORD, "10.0.0.7").scopes == ("predict",)
    authenticator.stop()


@pytest.mark.parametrize("command", ["disable", "enable", "password", "scopes", "delete", "unlock"])
def test_a_user_that_is_not_there_is_named(fresh: MadeHome, command: str) -> None:
    done = fresh.call("user", command, "eve", *(["predict"] if command == "scopes" else []))
    assert done.code == 1
    assert "there is no user 'eve'; `weather user list` lists them" in done.err


def test_a_scope_that_does_not_exist_and_a_password_as_an_argument_are_usage_errors(fresh: MadeHome) -> None:
    done = fresh.call("user", "add", "ada", "--scope", "root")
    assert (done.code, "no scope root; there is predict, admin" in done.err) == (2, True)
    assert fresh.call("user", "add", "ada", "--password", PASSWORD).code == 2
    assert fresh.call("user", "add", "ada", PASSWORD).code == 2
    assert not fresh.folder.exists()


def typed(home: MadeHome, *lines: str) -> tuple[int, str]:
    """Run `weather user add ada` on a terminal, type these lines; gives the code and all that the terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "user", "add", "ada"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        cwd=PROJECT_DIR, env=clean_environment() | dict(home.env),
    )  # fmt: skip
    os.close(theirs)
    try:
        shown = [_until_asked(ours)]
        for line in lines:
            os.write(ours, line.encode() + b"\n")
            shown.append(_until_asked(ours))
        return process.wait(60), "".join(shown)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _until_asked(terminal: int) -> str:
    """What the terminal shows until something is asked for, or the program ends.

    The blank after the colon is written when the terminal has ceased to show what is typed.
    """
    shown = b""
    while not shown.endswith(b": "):
        assert select.select([terminal], [], [], 60)[0], shown
        try:
            more = os.read(terminal, 1024)
        except OSError:  # how Linux says that the other side is closed
            break
        shown += more
    return shown.decode()


def test_on_a_terminal_the_password_is_asked_for_until_it_is_typed_twice_and_not_shown(fresh: MadeHome) -> None:
    code, shown = typed(fresh, PASSWORD, "grey whales eat krill", PASSWORD, PASSWORD)
    assert code == 0, shown
    assert "Password of ada:" in shown
    assert "do not match" in shown
    assert "ada may log in" in shown
    assert "krill" not in shown
    user = fresh.database.user("ada")
    assert user is not None
    assert Passwords().matches(user.password_hash, PASSWORD.encode())
