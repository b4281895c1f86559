"""Users and failed logins in the database, on both dialects: what is kept, what is refused, what processes may do."""

import contextlib
import traceback
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier

import pytest
import sqlalchemy as sa

from weather_platform.database import Database, FailedLogins, User
from weather_platform.errors import InvariantError, WeatherError
from weather_platform_tests.processes import race

NOON = datetime(2015, 6, 1, 2, 0, 0, 123456, tzinfo=UTC)
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
OTHER_HASH = HASH[:-1] + "B"
ADA = User(name="ada", password_hash=HASH, scopes=("predict", "admin"), created_at=NOON)


def test_a_user_comes_back_as_added_and_a_name_is_taken_once(database: Database) -> None:
    assert database.users() == []
    assert database.add_user(ADA)
    assert not database.add_user(User(name="ada", password_hash=OTHER_HASH, scopes=(), created_at=NOON))
    assert database.user("ada") == ADA
    assert database.user("ad") is None
    bob = User(name="bob", password_hash=HASH, scopes=("predict",), created_at=NOON)
    assert database.add_user(bob)
    assert database.users() == [ADA, bob]


def test_each_change_of_a_user_begins_another_generation(database: Database) -> None:
    database.add_user(ADA)
    assert database.set_user_disabled("ada", True)
    assert database.set_user_disabled("ada", False)
    assert database.set_user_password("ada", OTHER_HASH)
    user = database.user("ada")
    assert user is not None
    assert (user.disabled, user.generation, user.password_hash) == (False, 4, OTHER_HASH)
    assert database.set_user_scopes("ada", ["predict"])
    user = database.user("ada")
    assert user is not None
    assert (user.scopes, user.generation) == (("predict",), 5)
    assert not database.set_user_scopes("bob", ["predict"])
    assert not database.set_user_disabled("bob", True)
    assert not database.set_user_password("bob", HASH)


def test_a_deleted_user_is_gone_and_the_others_stay(database: Database) -> None:
    database.add_user(ADA)
    assert not database.delete_user("bob")
    assert database.users() == [ADA]
    assert database.delete_user("ada")
    assert database.users() == []
    assert not database.delete_user("ada")


def test_what_is_no_hash_is_not_kept_in_its_place_and_not_told() -> None:
    with pytest.raises(InvariantError, match="ada is no argon2id hash") as refused:
        User(name="ada", password_hash="in plain words", scopes=(), created_at=NOON)  # noqa: S106
    assert "plain" not in str(refused.value)


def test_a_refused_row_shows_no_hash_in_the_error_or_its_cause(database: Database) -> None:
    database.add_user(ADA)
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE users"))
    with pytest.raises(WeatherError) as refused:
        database.add_user(User(name="bob", password_hash=OTHER_HASH, scopes=(), created_at=NOON))
    assert "users" in str(refused.value)
    assert "argon2id" not in "".join(traceback.format_exception(refused.value))


def test_a_user_does_not_show_its_hash() -> None:
    assert HASH not in repr(ADA)
    assert "ada" in repr(ADA)


def test_failures_are_kept_by_account_until_one_is_taken_away(database: Database) -> None:
    first = FailedLogins(failures=6, last_failed_at=NOON, locked_until=NOON + timedelta(seconds=30))
    second = FailedLogins(failures=1, last_failed_at=NOON, locked_until=None)
    long_ago = NOON - timedelta(days=1)
    for account, failed in (("a", first), ("b", second)):
        with database.login_locked(account) as ledger:
            assert ledger.failed() is None
            ledger.write(failed, forget_before=long_ago)
            assert ledger.failed() == failed
    assert (database.failed_logins("a"), database.failed_logins("b")) == (first, second)
    with database.login_locked("a") as ledger:
        ledger.write(None, forget_before=long_ago)
    assert (database.failed_logins("a"), database.failed_logins("b")) == (None, second)


def test_old_failures_of_others_go_with_the_next_write(database: Database) -> None:
    for account, hours in (("old", 25), ("young", 23)):
        with database.login_locked(account) as ledger:
            failed = FailedLogins(failures=1, last_failed_at=NOON - timedelta(hours=hours), locked_until=None)
            ledger.write(failed, forget_before=NOON - timedelta(hours=48))
    with database.login_locked("now") as ledger:
        ledger.write(None, forget_before=NOON - timedelta(hours=24))
    assert database.failed_logins("old") is None
    assert database.failed_logins("young") is not None


def count_failures(start: Barrier, url: str) -> None:
    database = Database(url)
    start.wait(60)
    for _ in range(25):
        with database.login_locked("ada") as ledger:
            failed = ledger.failed()
            count = failed.failures + 1 if failed else 1
            kept = FailedLogins(failures=count, last_failed_at=NOON, locked_until=None)
            ledger.write(kept, forget_before=NOON - timedelta(days=1))


def test_failures_that_several_processes_count_at_once_are_all_counted(database: Database, url: str) -> None:
    race(*((count_failures, url) for _ in range(3)))
    failed = database.failed_logins("ada")
    assert failed is not None
    assert failed.failures == 75


def test_a_transaction_that_breaks_off_counts_nothing(database: Database) -> None:
    failed = FailedLogins(failures=1, last_failed_at=NOON, locked_until=None)
    with contextlib.suppress(ZeroDivisionError), database.login_locked("ada") as ledger:
        ledger.write(failed, forget_before=NOON - timedelta(days=1))
        assert ledger.failed() == failed
        raise ZeroDivisionError
    assert database.failed_logins("ada") is None
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM failed_logins")).scalar_one() == 0
