"""`weather notices` and `weather notify` against real servers: what they print, and how they end."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.notifications.conftest import notice, opened
from weather_platform_tests.notifications.servers import TOKEN, closed_port, mail_server, webhook

NOW = datetime.now(UTC)


@pytest.fixture
def made(tmp_path: Path) -> MadeHome:
    """A home with a database."""
    home = empty_home(tmp_path / "home")
    home.database.migrate()
    return home


def channels(**urls: str) -> dict[str, str]:
    return {"WEATHER_NOTIFY_CHANNELS": json.dumps([{"name": name, "url": url} for name, url in urls.items()])}


def test_a_test_message_goes_to_each_channel_and_a_failing_one_is_code_1(made: MadeHome) -> None:
    with webhook() as hook, mail_server() as mail, webhook(404) as wrong:
        done = made.call("notify", "--test", **channels(team=hook.url, mail=mail.url))
        assert (done.code, done.out, done.err) == (0, "team: sent\nmail: sent\n", "")
        assert hook.titles == ["weather_platform: a test"]
        assert len(mail.received) == 1
        done = made.call("notify", "--test", **channels(team=hook.url, wrong=wrong.url, odd=f"slack://{TOKEN}"))
    assert done.code == 1
    assert done.out.splitlines()[:2] == [
        "team: sent",
        "wrong: failed: the channel answered 404; its address or token is wrong or was revoked",
    ]
    assert done.out.splitlines()[2].startswith("odd: failed: the url of 'odd' in WEATHER_NOTIFY_CHANNELS is incomplete")
    assert done.err == "weather: wrong, odd did not take the test message; correct WEATHER_NOTIFY_CHANNELS\n"
    assert TOKEN not in done.out


def test_without_channels_both_say_where_to_write_them(made: MadeHome) -> None:
    for options in ([], ["--test"]):
        done = made.call("notify", *options)
        assert done.code == 1
        assert done.err.startswith("weather: no channel is set: write WEATHER_NOTIFY_CHANNELS to weather.env")


def test_what_is_due_is_sent_and_what_failed_is_named_counted_and_tried_again(made: MadeHome) -> None:
    opened(made.database, notice(opened_at=NOW, items=("2013", "2014")))
    away = f"json://127.0.0.1:{closed_port()}/{TOKEN}"
    with webhook() as hook:
        done = made.call("notify", **channels(team=hook.url, away=away))
        assert done.code == 1
        assert done.out == "1 messages sent, 1 wait for their time\n"
        assert done.err.startswith("weather: not everything was sent, and is tried again later: away: the connection")
        done = made.call("notices")
        assert done.code == 0
        assert done.out.splitlines()[0].startswith("1  warning  features failed  (since ")
        assert "affected: 2013, 2014" in done.out
        assert "docs/runbooks/run-failed.md" in done.out
        assert done.err.startswith("1 messages were not sent to away: the connection was refused")
        done = made.call("notify", **channels(team=hook.url))
        assert (done.code, done.out) == (0, "0 messages sent, 0 wait for their time\n")
        assert "1 messages given up" in made.call("status").out
        with webhook() as back:
            done = made.call("notify", "--retry", **channels(team=hook.url, away=back.url))
            assert done.out.startswith("1 messages that were given up are tried again\n1 messages sent")
            assert len(back.received) == 1


def test_notices_are_listed_as_json_and_those_that_are_over_with_all(made: MadeHome) -> None:
    opened(made.database, notice("one", opened_at=NOW), notice("two", opened_at=NOW))
    with made.database.outbox() as outbox:
        outbox.resolve("one", NOW + timedelta(minutes=1))
    assert [each["cause"] for each in json.loads(made.call("notices", "--json").out)] == ["two"]
    assert [each["cause"] for each in json.loads(made.call("notices", "--json", "--all").out)] == ["two", "one"]
    assert ", over " in made.call("notices", "--all").out
    assert "1 open; `weather notices` lists them" in made.call("status").out


def test_a_notice_is_closed_by_its_number_once(made: MadeHome) -> None:
    opened(made.database, notice("one", opened_at=NOW), notice("two", opened_at=NOW))
    assert made.call("notices", "--close", "1").out == "notice 1 is over\n"
    assert [each["cause"] for each in json.loads(made.call("notices", "--json").out)] == ["two"]
    for number in ("1", "3"):
        done = made.call("notices", "--close", number)
        assert done.code == 1
        assert done.err == f"weather: no open notice has the number {number}; `weather notices` lists them\n"
    assert made.call("notices", "--close", "2", "--all").code == 2


def test_status_of_a_home_without_notices_does_not_mention_them(made: MadeHome) -> None:
    assert "notices" not in made.call("status").out
    assert made.call("notices").out == "no notice is open\n"


def test_a_test_goes_with_no_other_option(made: MadeHome) -> None:
    for option in ("--retry", "--expect-daemon"):
        assert made.call("notify", "--test", option).code == 2


def test_from_outside_a_daemon_that_does_not_run_is_a_notice_that_is_sent(made: MadeHome) -> None:
    with webhook() as hook:
        assert made.call("notify", **channels(team=hook.url)).out.startswith("0 messages sent")
        done = made.call("notify", "--expect-daemon", **channels(team=hook.url))
        assert (done.code, done.out) == (0, "1 messages sent, 0 wait for their time\n")
        assert hook.titles == ["weather_platform: the daemon does not work (notice 1)"]
