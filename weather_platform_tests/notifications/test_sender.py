"""The sender against real servers on loopback: nothing is lost, and nothing is sent twice that a channel took."""

import json
import logging
import os
import random
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import sqlalchemy as sa

from weather_platform.database import Database
from weather_platform.database.outbox import LEASE
from weather_platform.domain.notices import MOST_TRIES, NoticeKind, Severity
from weather_platform.notifications.channels import plugin_of
from weather_platform.notifications.sender import Sent, send_due
from weather_platform.settings import Settings
from weather_platform_tests.notifications.conftest import NOON, Channels, Clock, notice, opened
from weather_platform_tests.notifications.servers import TOKEN, Webhook, closed_port, mail_server, webhook
from weather_platform_tests.processes import Beside, beside


def rounds(database: Database, settings: Settings, clock: Clock) -> Sent:
    return send_due(database, settings, clock, seconds=60)


def states(database: Database) -> list[tuple[str, str, str, int]]:
    """Channel, phase, state and tries of every delivery, in order."""
    with database.engine.connect() as connection:
        query = sa.text("SELECT channel, phase, state, tries FROM notice_deliveries ORDER BY id")
        return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]


def last_error(database: Database) -> str:
    with database.engine.connect() as connection:
        return str(connection.execute(sa.text("SELECT last_error FROM notice_deliveries")).scalar_one())


def test_a_notice_is_sent_once_with_what_where_since_when_what_to_do_and_links(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with webhook() as hook:
        settings = channels(team=hook.url)
        opened(database, notice(items=("2013", "2014")))
        assert rounds(database, settings, clock) == Sent(1, {})
        assert rounds(database, settings, clock) == Sent(0, {})
        [message] = hook.received
    assert message["title"] == "weather_platform: features failed (notice 1)"
    assert message["type"] == "warning"
    assert message["message"].splitlines() == [
        "LakeError in features, job process, for 2014",
        "Affected: 2013, 2014",
        "Since: 2015-06-01 12:00 AEST",
        "What to do: open the run",
        "Run: http://127.0.0.1:3000/runs/run-1",
        "Runbook: docs/runbooks/run-failed.md",
    ]


def test_forty_failing_partitions_are_one_notice_and_its_end_is_one_message(
    database: Database, channels: Channels, clock: Clock
) -> None:
    years = [str(year) for year in range(1970, 2010)]
    with webhook() as hook:
        settings = channels(team=hook.url)
        for second, year in enumerate(years):
            opened(database, notice(items=(year,), opened_at=NOON + timedelta(seconds=second)))
        rounds(database, settings, clock)
        with database.outbox() as outbox:
            assert not outbox.resolve(notice().cause, NOON + timedelta(hours=1), years[:-1])
        assert rounds(database, settings, clock) == Sent(0, {})
        with database.outbox() as outbox:
            assert outbox.resolve(notice().cause, NOON + timedelta(hours=2), years)
        rounds(database, settings, clock)
        assert hook.titles == [
            "weather_platform: features failed (notice 1)",
            "Over: weather_platform: features failed (notice 1)",
        ]
    assert "Over since 2015-06-01 14:00 AEST. It began 2015-06-01 12:00 AEST." in hook.received[1]["message"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (500, "the channel answered 500; it has a fault of its own"),
        (404, "the channel answered 404; its address or token is wrong or was revoked"),
        (429, "the channel answered 429; it asks to send less often"),
        ("silence", "no answer in time"),
        ("half", "the answer broke off"),
        ("hang up", "the answer broke off"),
    ],
)
def test_a_message_that_was_not_taken_is_sent_again_after_a_while_and_then_no_more(
    database: Database, channels: Channels, clock: Clock, answer: int | str, said: str
) -> None:
    with webhook(answer, 200) as hook:  # type: ignore[arg-type]
        settings = channels(team=hook.url)
        opened(database, notice())
        assert rounds(database, settings, clock).messages == 0
        assert last_error(database).startswith(said)
        clock.move(seconds=59)
        assert rounds(database, settings, clock) == Sent(0, {}), "not before its time"
        clock.move(seconds=1)
        assert rounds(database, settings, clock) == Sent(1, {})
        clock.move(days=2)
        assert rounds(database, settings, clock) == Sent(0, {})
        assert len(hook.received) == 2
    assert states(database) == [("team", "opened", "sent", 2)]


def test_a_refused_connection_is_named_and_what_waited_is_sent_when_the_server_is_back(
    database: Database, channels: Channels, clock: Clock
) -> None:
    opened(database, notice())
    sent = rounds(database, channels(team=f"json://127.0.0.1:{closed_port()}/{TOKEN}"), clock)
    assert sent.failures == {"team": "the connection was refused; check host and port, and that the server runs"}
    clock.move(minutes=5)
    with webhook() as hook:
        assert rounds(database, channels(team=hook.url), clock) == Sent(1, {})


def test_a_server_that_goes_on_answering_for_ever_holds_nothing_up(
    database: Database, channels: Channels, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weather_platform.notifications.channels.TRY_SECONDS", 2.0)
    with webhook("drip") as hook:
        opened(database, notice())
        sent = rounds(database, channels(team=hook.url), clock)
    assert sent.failures == {"team": "no answer within 2 s; check that the address is reachable"}


def test_after_twelve_tries_a_message_is_given_up_and_can_be_tried_again(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with webhook(503) as hook:
        settings = channels(team=hook.url)
        opened(database, notice())
        for _ in range(MOST_TRIES + 3):
            rounds(database, settings, clock)
            clock.move(hours=7)
        assert len(hook.received) == MOST_TRIES
        assert states(database) == [("team", "opened", "failed", MOST_TRIES)]
        with database.outbox() as outbox:
            assert outbox.counts().failed == 1
            assert outbox.retry_failed(clock()) == 1
        hook.answers = [200]
        assert rounds(database, settings, clock) == Sent(1, {})


def test_a_channel_that_fails_does_not_keep_another_from_its_messages(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with webhook(500) as broken, webhook() as whole:
        settings = channels(broken=broken.url, whole=whole.url)
        opened(database, notice("one"), notice("two"), notice("three"))
        assert rounds(database, settings, clock).messages == 3
        assert len(broken.received) == 1, "one try a round"
        assert len(whole.received) == 3


def test_a_sender_killed_before_it_sent_loses_nothing_and_the_next_one_waits_for_its_claim(
    database: Database, channels: Channels, clock: Clock, home: Path
) -> None:
    with webhook() as hook:
        settings = channels(team=hook.url)
        opened(database, notice())
        with beside(claim_and_wait, env={"WEATHER_HOME": str(home), "CHANNEL": hook.url}) as sender:
            assert sender.hear() == 1
            sender.kill()
        assert rounds(database, settings, clock) == Sent(0, {}), "its claim still holds"
        assert hook.received == []
        clock.move(seconds=LEASE.total_seconds())
        assert rounds(database, settings, clock) == Sent(1, {})
        assert len(hook.received) == 1


def claim_and_wait(pipe: Connection) -> None:
    """Claim what is due as a sender does, and go no further."""
    with Database(f"sqlite:///{os.environ['WEATHER_HOME']}/weather.db").outbox() as outbox:
        for phase, each in outbox.unrouted():
            outbox.route(each.id, phase, {"team": (NOON, False)})
        claim = outbox.claim(NOON)
        assert claim is not None
    pipe.send(len(claim.deliveries))
    signal.pause()


def test_a_sender_killed_after_the_channel_took_it_sends_twice_and_that_is_the_only_case(
    database: Database, channels: Channels, clock: Clock, home: Path
) -> None:
    with webhook() as hook:
        settings = channels(team=hook.url)
        opened(database, notice())
        with beside(send_in_a_process, hook.url, env={"WEATHER_HOME": str(home)}) as sender:
            hook.before_answer = sender.kill
            sender.process.join(60)
        hook.before_answer = lambda: None
        assert len(hook.received) == 1
        clock.move(seconds=LEASE.total_seconds())
        assert rounds(database, settings, clock) == Sent(1, {})
        clock.move(days=1)
        assert rounds(database, settings, clock) == Sent(0, {})
        assert len(hook.received) == 2


def send_in_a_process(_pipe: Connection, url: str, at: datetime = NOON) -> None:
    """A whole round of a sender."""
    from weather_platform.settings import load_settings

    settings = load_settings(notify_channels=json.dumps([{"name": "team", "url": url}]))
    send_due(Database(f"sqlite:///{settings.home}/weather.db"), settings, lambda: at, seconds=60)


def kill_beyond(sender: Beside, hook: Webhook, after: int) -> None:
    """Kill a sender that waits for its answer, once the channel has taken more than so many."""
    if len(hook.received) > after:
        sender.kill()


def test_senders_killed_at_any_moment_lose_nothing_and_repeat_at_most_one_message_each(
    database: Database, channels: Channels, clock: Clock, home: Path
) -> None:
    kills, messages = 12, 30
    generator = random.Random(20150601)
    opened(database, *(notice(f"cause {number}", title=f"number {number}") for number in range(messages)))
    with webhook() as hook:
        settings = channels(team=hook.url)
        for _ in range(kills):
            after = len(hook.received) + generator.randrange(3)
            in_answer = generator.random() < 0.5

            with beside(send_in_a_process, hook.url, clock(), env={"WEATHER_HOME": str(home)}) as sender:
                if in_answer:
                    hook.before_answer = partial(kill_beyond, sender, hook, after)
                while sender.process.is_alive() and len(hook.received) <= after:
                    sender.process.join(generator.random() / 50)
                sender.kill()
            hook.before_answer = lambda: None
            clock.move(seconds=LEASE.total_seconds())
        while rounds(database, settings, clock).messages:
            clock.move(seconds=LEASE.total_seconds())
        counts = Counter(hook.titles)
    assert len(counts) == messages, "nothing is lost"
    assert 0 < sum(counts.values()) - messages <= kills, "a kill in the moment of the answer repeats a message"
    assert {state for _, _, state, _ in states(database)} == {"sent"}


def test_a_sender_whose_claim_went_to_another_writes_nothing(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with webhook() as hook:
        settings = channels(team=hook.url)
        opened(database, notice())
        with database.outbox() as outbox:
            for phase, each in outbox.unrouted():
                outbox.route(each.id, phase, {"team": (NOON, False)})
            slow = outbox.claim(clock())
        assert slow is not None
        clock.move(seconds=LEASE.total_seconds())
        rounds(database, settings, clock)
        with database.outbox() as outbox:
            outbox.settle(slow, clock(), "too late")
    assert states(database) == [("team", "opened", "sent", 1)]


def test_quiet_hours_hold_back_all_that_is_not_urgent_until_their_end(
    database: Database, channels: Channels, clock: Clock
) -> None:
    clock.at = datetime(2015, 6, 1, 13, 30, tzinfo=UTC)  # 23:30 in Sydney
    with webhook() as hook:
        settings = channels({"notify_quiet_hours": "22:00-07:00"}, team=hook.url)
        opened(
            database,
            notice("warning", title="warning", opened_at=clock()),
            notice("urgent", title="urgent", severity=Severity.URGENT, opened_at=clock()),
        )
        rounds(database, settings, clock)
        assert hook.titles == ["weather_platform: urgent (notice 2)"]
        clock.at = datetime(2015, 6, 1, 20, 59, tzinfo=UTC)
        rounds(database, settings, clock)
        assert len(hook.titles) == 1
        clock.move(minutes=1)
        rounds(database, settings, clock)
        assert hook.titles[1:] == ["weather_platform: warning (notice 1)"]


def test_what_is_only_of_interest_goes_into_one_message_a_day(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with webhook(500, 200) as hook:
        settings = channels({"notify_digest_at": "08:00"}, team=hook.url)
        for number in range(20):
            title = f"rain_tomorrow: version {number} serves"
            what = notice(
                f"promoted {number}", kind=NoticeKind.PROMOTED, severity=Severity.INFO, title=title, happened=True
            )
            opened(database, what)
        rounds(database, settings, clock)
        assert hook.received == []
        clock.at = datetime(2015, 6, 1, 22, 0, tzinfo=UTC)  # 8 in Sydney
        rounds(database, settings, clock)
        clock.move(minutes=1)
        rounds(database, settings, clock)
        assert hook.titles == ["weather_platform: 20 notices of the day"] * 2, "one that failed, and the same again"
        lines = hook.received[1]["message"].splitlines()
        clock.move(days=1)
        assert rounds(database, settings, clock) == Sent(0, {})
    assert lines[0] == "- 2015-06-01 12:00 AEST: rain_tomorrow: version 0 serves"
    assert lines[-1] == "and 8 more; `weather notices --all` lists them"
    assert len("\n".join(lines)) < 1900


def test_a_channel_gets_only_the_kinds_and_severities_it_asks_for(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with webhook() as failures, webhook() as urgent, webhook() as everything:
        settings = channels(
            failures={"url": failures.url, "kinds": ["run_failed"]},
            urgent={"url": urgent.url, "at_least": "urgent"},
            everything=everything.url,
        )
        opened(
            database,
            notice("one", title="one"),
            notice("two", title="two", kind=NoticeKind.CANARY_FAILED, severity=Severity.URGENT),
        )
        rounds(database, settings, clock)
        heard = [[title.split()[1] for title in hook.titles] for hook in (failures, urgent, everything)]
    assert heard == [["one"], ["two"], ["one", "two"]]


def test_without_channels_notices_are_kept_and_a_new_channel_hears_of_new_ones_only(
    database: Database, channels: Channels, clock: Clock
) -> None:
    opened(database, notice("one"))
    assert rounds(database, channels(), clock) == Sent(0, {})
    with webhook() as hook:
        assert rounds(database, channels(team=hook.url), clock) == Sent(0, {})
        opened(database, notice("two", title="two"))
        rounds(database, channels(team=hook.url), clock)
        assert hook.titles == ["weather_platform: two (notice 2)"]


def test_what_waits_for_a_channel_that_was_taken_out_is_given_up_and_visible(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with webhook(500) as hook:
        opened(database, notice())
        rounds(database, channels(team=hook.url), clock)
        rounds(database, channels(), clock)
    assert states(database) == [("team", "opened", "failed", 1)]
    assert last_error(database) == "the channel is not in WEATHER_NOTIFY_CHANNELS any more"


def test_mail_is_delivered_and_a_refused_one_is_sent_again(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with mail_server() as mail:
        mail.refusals.append("451 later")
        settings = channels(mail=mail.url)
        opened(database, notice())
        assert rounds(database, settings, clock).messages == 0
        assert TOKEN not in last_error(database)
        clock.move(minutes=1)
        assert rounds(database, settings, clock) == Sent(1, {})
        [envelope] = mail.received
    assert envelope.rcpt_tos == ["people@example.org"]
    assert b"Since: 2015-06-01 12:00 AEST" in envelope.content


def test_a_wrong_password_of_a_mail_server_is_named_and_not_shown(
    database: Database, channels: Channels, clock: Clock
) -> None:
    with mail_server(password="another") as mail:  # noqa: S106
        opened(database, notice())
        sent = rounds(database, channels(mail=mail.url), clock)
    assert sent.failures == {"mail": "the channel answered 535; check user and password"}


@pytest.mark.parametrize("answer", [200, 500, "silence", "half", "hang up"])
def test_the_secret_of_a_channel_is_in_no_log_no_error_and_no_table(
    database: Database, channels: Channels, clock: Clock, home: Path, capfd: pytest.CaptureFixture[str], answer: int
) -> None:
    everything = logging.StreamHandler()
    root = logging.getLogger()
    before = root.level
    root.addHandler(everything)
    root.setLevel(logging.DEBUG)
    try:
        with webhook(answer) as hook, mail_server("another") as mail:
            settings = channels(team=hook.url, mail=mail.url, gone=f"jsons://user:{TOKEN}@127.0.0.1:{closed_port()}/a")
            opened(database, notice())
            sent = rounds(database, settings, clock)
            logging.getLogger("weather").debug("this is logged")
    finally:
        root.removeHandler(everything)
        root.setLevel(before)
    database.close()
    captured = capfd.readouterr()
    assert "this is logged" in captured.err
    for text in (captured.out, captured.err, repr(sent), repr(settings)):
        assert TOKEN not in text
    assert all(TOKEN.encode() not in file.read_bytes() for file in home.iterdir())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"slack://{TOKEN}", "is incomplete"),
        (
            f"mailto://user:{TOKEN}@127.0.0.1?from=w@example.org&to=a@example.org,b@example.org",
            "more than one receiver",
        ),
        (f"json://127.0.0.1/{TOKEN}?retry=3", "its own retries"),
    ],
)
def test_an_address_that_cannot_be_used_is_named_without_its_secret_and_keeps_no_other_from_its_messages(
    database: Database, channels: Channels, clock: Clock, url: str, said: str
) -> None:
    opened(database, notice())
    with webhook() as hook:
        sent = rounds(database, channels(odd=url, team=hook.url), clock)
        assert (sent.messages, len(hook.received)) == (1, 1)
    assert sent.failures["odd"].startswith("the url of 'odd' in WEATHER_NOTIFY_CHANNELS ")
    assert said in sent.failures["odd"]
    assert TOKEN not in sent.failures["odd"]
    clock.move(minutes=1)
    with webhook() as mended:
        assert rounds(database, channels(odd=mended.url, team=hook.url), clock) == Sent(1, {})


@pytest.mark.parametrize(
    "url",
    [
        f"https://discord.com/api/webhooks/4174216298/{TOKEN}",
        f"discord://4174216298/{TOKEN}",
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        f"mailtos://user:{TOKEN}@smtp.example.org?from=weather@example.org&to=you@example.org",
        f"mailto://user:{TOKEN}@smtp.example.org?from=weather@example.org&to=you@example.org&mode=insecure",
        f"jsons://host/path?+X-Token={TOKEN}",
        "json://host:8080/path",
        "mmosts://host/abcdefghijkl",
        "ntfys://host/topic",
    ],
)
def test_each_kind_of_address_of_the_how_to_makes_a_channel_with_one_receiver(channels: Channels, url: str) -> None:
    [channel] = channels(team=url).notify_channels
    plugin_of(channel)


@pytest.mark.parametrize("kind", ["mmost://127.0.0.1:{port}/abcdefghijkl", "ntfy://127.0.0.1:{port}/topic"])
def test_other_kinds_of_servers_get_the_whole_text(
    database: Database, channels: Channels, clock: Clock, kind: str
) -> None:
    with webhook(200) as hook:
        opened(database, notice())
        assert rounds(database, channels(team=kind.format(port=hook.port)), clock) == Sent(1, {})
    text = json.dumps(hook.received)
    for part in ("features failed (notice 1)", "Since: 2015-06-01 12:00 AEST", "What to do: open the run"):
        assert part in text
