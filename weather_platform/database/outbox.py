"""The outbox: notices to people and their deliveries to channels, within one transaction of `store`.

What belongs here: the statements, and the promises that they keep. What does not: what a notice says
(``domain.notices``) and how a channel is reached (``notifications``).

- A notice is written in the transaction of what it is about, so that there is neither without the other.
- Of each cause one notice is open at most.
- A delivery is claimed before it is sent and settled afterwards. A sender that is killed in between leaves the claim,
  which ends by itself; then another one sends. So a message is sent twice in one case only: the channel took it, and
  the sender was killed before it could write that down.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from weather_platform.database.models import Base, NoticeDeliveryRow, NoticeRow
from weather_platform.domain.notices import Notice, NoticeKind, Severity, wait_after

_NOTICES = Base.metadata.tables[NoticeRow.__tablename__]
_DELIVERIES = Base.metadata.tables[NoticeDeliveryRow.__tablename__]

Phase = Literal["opened", "over"]
LEASE: Final = timedelta(minutes=5)
"""How long a claim holds; longer than one try may take."""
_CHANNEL_GONE: Final = "the channel is not in WEATHER_NOTIFY_CHANNELS any more"


@dataclass(frozen=True, kw_only=True)
class NoticeRecord:
    """A notice as it is stored."""

    id: int
    kind: NoticeKind
    severity: Severity
    cause: str
    title: str
    text: str
    remedy: str
    dagster_run_id: str | None
    items: tuple[str, ...]
    opened_at: datetime
    last_event_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message that a sender has claimed."""

    id: int
    channel: str
    phase: Phase
    in_digest: bool
    tries: int
    notice: NoticeRecord


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Deliveries to one channel that go out as one message: one of them, or all that are due for its digest."""

    token: str
    channel: str
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, kw_only=True)
class OutboxCounts:
    """How the outbox stands."""

    open_notices: int
    waiting: int
    failed: int


@dataclass(frozen=True)
class Outbox:
    """What may be read and written in this transaction."""

    connection: sa.Connection

    def open(self, notice: Notice) -> bool:
        """Write a notice, or add what it affects to the open one of its cause; True if it is a new one.

        An event that was seen already, as its moment is not after the newest of its cause, changes nothing.
        """
        values = {
            "kind": notice.kind,
            "severity": notice.severity,
            "cause": notice.cause,
            "title": notice.title,
            "text": notice.text,
            "remedy": notice.remedy,
            "dagster_run_id": notice.dagster_run_id,
            "items": list(notice.items),
            "opened_at": notice.opened_at,
            "last_event_at": notice.opened_at,
            "resolved_at": notice.opened_at if notice.happened else None,
            "opening_routed": False,
            "end_routed": notice.happened,
        }
        # Take the lock of the row if there is one: what it affects is read, changed and written.
        newest = self._newest(notice.cause)
        if newest is not None and newest["resolved_at"] is None:
            self._change(
                newest["id"],
                items=sorted({*newest["items"], *notice.items}),
                last_event_at=max(newest["last_event_at"], notice.opened_at),
            )
            return False
        if newest is not None and notice.opened_at <= newest["last_event_at"]:
            return False
        insert = _insert(self.connection)(_NOTICES).values(values).on_conflict_do_nothing()
        if self.connection.execute(insert.returning(_NOTICES.c.id)).first() is not None:
            return True
        return self.open(notice)  # another process opened one of this cause meanwhile

    def resolve(self, cause: str, at: datetime, items: Collection[str] | None = None) -> bool:
        """Take these items (None: all) off the open notice of this cause; True if it is over by that."""
        newest = self._newest(cause)
        if newest is None or newest["resolved_at"] is not None or at < newest["last_event_at"]:
            return False
        left = [] if items is None else [item for item in newest["items"] if item not in items]
        over = not left
        self._change(newest["id"], items=newest["items"] if over else left, resolved_at=at if over else None)
        return over

    def close(self, notice_id: int, at: datetime) -> bool:
        """End an open notice by its number, as a person asked; False when there is no open one of it."""
        query = sa.select(_NOTICES.c.cause).where(_NOTICES.c.id == notice_id, _NOTICES.c.resolved_at.is_(None))
        cause = self.connection.execute(query).scalar()
        return cause is not None and self.resolve(cause, at)

    def open_causes(self, beginning: str) -> list[str]:
        """Causes of open notices that begin so."""
        columns = _NOTICES.c
        query = sa.select(columns.cause).where(
            columns.resolved_at.is_(None), columns.cause.startswith(beginning, autoescape=True)
        )
        return list(self.connection.execute(query.order_by(columns.id)).scalars())

    def notices(self, *, open_only: bool, newest: int | None = None) -> list[NoticeRecord]:
        """Notices, the newest first."""
        query = sa.select(_NOTICES).order_by(_NOTICES.c.id.desc()).limit(newest)
        if open_only:
            query = query.where(_NOTICES.c.resolved_at.is_(None))
        return [_notice(row) for row in self.connection.execute(query).mappings()]

    def counts(self) -> OutboxCounts:
        """How many notices are open, and how many messages wait or have failed."""
        count = sa.select(sa.func.count())
        of_state = count.select_from(_DELIVERIES).where(_DELIVERIES.c.state == sa.bindparam("state"))
        return OutboxCounts(
            open_notices=self.connection.execute(
                count.select_from(_NOTICES).where(_NOTICES.c.resolved_at.is_(None))
            ).scalar_one(),
            waiting=self.connection.execute(of_state, {"state": "waiting"}).scalar_one(),
            failed=self.connection.execute(of_state, {"state": "failed"}).scalar_one(),
        )

    def unrouted(self) -> list[tuple[Phase, NoticeRecord]]:
        """Openings and ends that no delivery was made for yet, oldest first."""
        columns = _NOTICES.c
        query = sa.select(_NOTICES).where(
            sa.or_(
                columns.opening_routed.is_(False),
                sa.and_(columns.resolved_at.is_not(None), columns.end_routed.is_(False)),
            )
        )
        found: list[tuple[Phase, NoticeRecord]] = []
        for row in self.connection.execute(query.order_by(columns.id).with_for_update()).mappings():
            if not row["opening_routed"]:
                found.append(("opened", _notice(row)))
            if row["resolved_at"] is not None and not row["end_routed"]:
                found.append(("over", _notice(row)))
        return found

    def route(self, notice_id: int, phase: Phase, due: Mapping[str, tuple[datetime, bool]]) -> None:
        """Make the deliveries of an opening or an end: channel -> when it is due, and whether in its digest.

        An end goes only to channels that got the opening.
        """
        if phase == "over":
            opened = sa.select(_DELIVERIES.c.channel).where(
                _DELIVERIES.c.notice_id == notice_id, _DELIVERIES.c.phase == "opened"
            )
            had: set[str] = set(self.connection.execute(opened).scalars())
            due = {channel: when for channel, when in due.items() if channel in had}
        rows = [
            {
                "notice_id": notice_id, "channel": channel, "phase": phase, "in_digest": in_digest,
                "state": "waiting", "tries": 0, "next_try_at": at,
            }
            for channel, (at, in_digest) in due.items()
        ]  # fmt: skip
        if rows:
            self.connection.execute(sa.insert(_DELIVERIES), rows)
        self._change(notice_id, **{"opening_routed" if phase == "opened" else "end_routed": True})

    def fail_channels_other_than(self, channels: Collection[str]) -> None:
        """Give up on what waits for channels that were taken out of the settings."""
        columns = _DELIVERIES.c
        self.connection.execute(
            sa.update(_DELIVERIES)
            .where(columns.state == "waiting", columns.channel.not_in(list(channels)))
            .values(state="failed", last_error=_CHANNEL_GONE)
        )

    def claim(self, now: datetime, but: Collection[str] = ()) -> Claim | None:
        """Claim the message that is due longest, but none of these channels; None when nothing is due.

        The end of a notice waits until its opening was sent or given up.
        """
        columns = _DELIVERIES.c
        earlier = _DELIVERIES.alias()
        free = sa.and_(
            columns.state == "waiting",
            columns.next_try_at <= now,
            sa.or_(columns.claimed_until.is_(None), columns.claimed_until <= now),
            columns.channel.not_in(list(but)),
        )
        in_turn = ~sa.exists().where(
            earlier.c.notice_id == columns.notice_id,
            earlier.c.channel == columns.channel,
            earlier.c.phase == "opened",
            earlier.c.state == "waiting",
            earlier.c.id < columns.id,
            sa.not_(sa.and_(columns.in_digest, earlier.c.in_digest)),  # one digest holds both
        )
        query = sa.select(columns.id, columns.channel, columns.in_digest).where(free, in_turn)
        first = self.connection.execute(
            query.order_by(columns.next_try_at, columns.id).limit(1).with_for_update(skip_locked=True)
        ).first()
        if first is None:
            return None
        ids = [first.id]
        if first.in_digest:
            together = query.where(columns.channel == first.channel, columns.in_digest).order_by(columns.id)
            ids = [row.id for row in self.connection.execute(together.with_for_update(skip_locked=True))]
        token = uuid.uuid4().hex
        self.connection.execute(
            sa.update(_DELIVERIES).where(columns.id.in_(ids)).values(claim=token, claimed_until=now + LEASE)
        )
        return Claim(token=token, channel=first.channel, deliveries=self._claimed(token))

    def settle(self, claim: Claim, now: datetime, error: str | None) -> None:
        """Write down that a claimed message was sent, or why not; nothing once another sender has the claim."""
        columns = _DELIVERIES.c
        for delivery in claim.deliveries:
            values: dict[str, Any] = {"claim": None, "claimed_until": None, "tries": delivery.tries + 1}
            if error is None:
                values |= {"state": "sent", "sent_at": now, "last_error": None}
            elif (wait := wait_after(delivery.tries + 1)) is None:
                values |= {"state": "failed", "last_error": error}
            else:
                values |= {"next_try_at": now + wait, "last_error": error}
            self.connection.execute(
                sa.update(_DELIVERIES).where(columns.id == delivery.id, columns.claim == claim.token).values(values)
            )

    def retry_failed(self, now: datetime) -> int:
        """Let every message that was given up be tried again from now on; gives how many."""
        again = sa.update(_DELIVERIES).where(_DELIVERIES.c.state == "failed")
        return self.connection.execute(again.values(state="waiting", tries=0, next_try_at=now)).rowcount

    def forget(self, before: datetime) -> int:
        """Delete the notices that ended before this moment and wait for no channel; how many."""
        columns, deliveries = _NOTICES.c, _DELIVERIES.c
        waiting = sa.select(deliveries.notice_id).where(deliveries.state == "waiting")
        old = sa.select(columns.id).where(columns.resolved_at < before, columns.end_routed, columns.id.not_in(waiting))
        gone: list[int] = list(self.connection.execute(old).scalars())
        for table, column in ((_DELIVERIES, deliveries.notice_id), (_NOTICES, columns.id)):
            self.connection.execute(sa.delete(table).where(column.in_(gone)))
        return len(gone)

    def troubles(self) -> list[tuple[str, str, int]]:
        """Channel, last error and number of messages that were given up or failed last time."""
        columns = _DELIVERIES.c
        query = (
            sa.select(columns.channel, columns.last_error, sa.func.count())
            .where(columns.state != "sent", columns.last_error.is_not(None))
            .group_by(columns.channel, columns.last_error)
            .order_by(columns.channel, columns.last_error)
        )
        return [(row[0], row[1], row[2]) for row in self.connection.execute(query)]

    def _claimed(self, token: str) -> tuple[Delivery, ...]:
        query = (
            sa.select(_NOTICES, *(_DELIVERIES.c[name].label(f"of_{name}") for name in _OF_DELIVERY))
            .join(_DELIVERIES, _DELIVERIES.c.notice_id == _NOTICES.c.id)
            .where(_DELIVERIES.c.claim == token)
            .order_by(_DELIVERIES.c.id)
        )
        return tuple(
            Delivery(**{name: row[f"of_{name}"] for name in _OF_DELIVERY}, notice=_notice(row))
            for row in self.connection.execute(query).mappings()
        )

    def _newest(self, cause: str) -> Mapping[str, Any] | None:
        """The newest notice of a cause, which nobody else can change before the transaction ends."""
        query = sa.select(_NOTICES).where(_NOTICES.c.cause == cause).order_by(_NOTICES.c.id.desc()).limit(1)
        row = self.connection.execute(query.with_for_update()).mappings().first()
        return None if row is None else dict(row)

    def _change(self, notice_id: int, **values: Any) -> None:
        self.connection.execute(sa.update(_NOTICES).where(_NOTICES.c.id == notice_id).values(values))


_OF_DELIVERY: Final = ("id", "channel", "phase", "in_digest", "tries")
_OF_NOTICE: Final[Sequence[str]] = tuple(NoticeRecord.__dataclass_fields__)


def _notice(row: Mapping[Any, Any]) -> NoticeRecord:
    values = {name: row[name] for name in _OF_NOTICE}
    known = {"kind": NoticeKind(row["kind"]), "severity": Severity(row["severity"]), "items": tuple(row["items"])}
    return NoticeRecord(**values | known)


def _insert(connection: sa.Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
