"""Which decision the alias follows, and where it goes back to."""

from dataclasses import dataclass

import pytest

from weather_platform.domain.alias_moves import (
    due_move,
    rollback_destination,
    settled_through,
    taken_back,
    unfinished_rollback,
    version_before,
    version_below,
)
from weather_platform.errors import PromotionConflictError, RollbackRefusedError


@dataclass(frozen=True)
class Row:
    id: int
    decision: str
    challenger_version: int
    champion_version: int | None


FIRST = Row(1, "DEPLOY", 1, None)
SECOND = Row(2, "DEPLOY", 2, 1)
SKIPPED = Row(3, "SKIP", 3, 2)
THIRD = Row(4, "DEPLOY", 4, 2)


def test_without_a_deploy_nothing_is_due() -> None:
    assert due_move([], settled=0, production=None) is None
    assert due_move([SKIPPED], settled=0, production=2) is None


def test_the_first_deploy_is_due_when_nothing_serves() -> None:
    assert due_move([FIRST], settled=0, production=None) is FIRST


def test_a_range_of_years_moves_once_to_the_newest_deploy() -> None:
    assert due_move([FIRST, SECOND, SKIPPED, THIRD], settled=0, production=None) is THIRD


def test_a_later_skip_does_not_hide_a_deploy_that_is_still_due() -> None:
    assert due_move([FIRST, SECOND, SKIPPED], settled=1, production=1) is SECOND


def test_a_deploy_that_was_carried_out_is_not_repeated_after_a_rollback() -> None:
    assert due_move([FIRST, SECOND], settled=2, production=1) is None


def test_a_deploy_whose_version_serves_already_is_due_until_the_move_is_recorded() -> None:
    assert due_move([FIRST, SECOND], settled=1, production=2) is SECOND
    assert due_move([FIRST, SECOND], settled=2, production=2) is None


def test_a_deploy_that_a_rollback_overruled_is_never_due_although_no_move_carried_it_out() -> None:
    assert due_move([FIRST, SECOND, SKIPPED], settled=3, production=1) is None


def test_a_deploy_that_is_newer_than_a_rollback_is_due() -> None:
    newer = Row(5, "DEPLOY", 4, 1)
    assert due_move([FIRST, SECOND, newer], settled=3, production=1) is newer


def test_what_rests_on_an_overruled_deploy_is_a_conflict() -> None:
    with pytest.raises(PromotionConflictError, match="rests on version 2; nothing moved"):
        due_move([FIRST, SECOND, THIRD], settled=3, production=1)


@pytest.mark.parametrize("production", [None, 7])
def test_a_champion_that_changed_meanwhile_is_a_conflict(production: int | None) -> None:
    with pytest.raises(PromotionConflictError, match="nothing moved"):
        due_move([FIRST, SECOND], settled=1, production=production)


@pytest.mark.parametrize("verdict", ["SKIP", "REJECT"])
def test_a_deploy_whose_challenger_was_judged_otherwise_since_is_not_due(verdict: str) -> None:
    assert due_move([FIRST, SECOND, Row(3, verdict, 2, 1)], settled=1, production=1) is None
    again = Row(4, "DEPLOY", 2, 1)
    assert due_move([FIRST, SECOND, Row(3, verdict, 2, 1), again], settled=1, production=1) is again


def test_a_challenger_that_is_the_champion_by_now_is_not_judged_otherwise() -> None:
    """A killed process moved the alias, and promotion was asked again before the move was recorded."""
    assert due_move([FIRST, SECOND, Row(3, "SKIP", 2, 2)], settled=1, production=2) is SECOND


def test_a_conflict_ends_when_promotion_has_compared_with_the_version_that_serves() -> None:
    rival = Row(3, "DEPLOY", 3, 1)
    with pytest.raises(PromotionConflictError, match="materialise promotion again"):
        due_move([FIRST, SECOND, rival], settled=2, production=2)
    assert due_move([FIRST, SECOND, rival, Row(4, "SKIP", 3, 2)], settled=2, production=2) is None
    assert due_move([FIRST, SECOND, rival, Row(4, "REJECT", 9, 2)], settled=2, production=2) is None
    better = Row(4, "DEPLOY", 3, 2)
    assert due_move([FIRST, SECOND, rival, better], settled=2, production=2) is better


@dataclass(frozen=True)
class Step:
    from_version: int | None
    to_version: int | None
    decision_id: int | None = None


UP = [Step(None, 1, 1), Step(1, 2, 2)]
BACK = [*UP, Step(2, 1, 3)]
WITHDRAWN = [Step(None, 1, 1), Step(1, None, 1)]


def test_moves_settle_the_newest_decision_that_any_of_them_names() -> None:
    assert settled_through([]) == 0
    assert settled_through([Step(None, 1)]) == 0
    assert settled_through([*BACK, Step(1, 2)]) == 3


@pytest.mark.parametrize(
    ("moves", "production", "before"),
    [
        ([], None, None),
        ([Step(None, 1)], 1, None),
        (UP, 2, 1),
        (BACK, 1, 2),  # a way back can be undone
        (WITHDRAWN, None, 1),
        (UP, 1, 1),  # on its way back when it was killed
        (UP, 3, 2),  # promoted by a killed process, or moved by hand
        (UP, None, 2),  # taken away by hand
    ],
)
def test_the_version_before_is_the_one_that_production_was_on(
    moves: list[Step], production: int | None, before: int | None
) -> None:
    assert version_before(moves, production) == before


@pytest.mark.parametrize(
    ("moves", "production", "below"),
    [
        ([], None, None),
        ([Step(None, 1)], 1, None),
        (UP, 2, 1),
        ([*UP, Step(2, 3)], 3, 2),
        (BACK, 1, None),  # version 2 was left for a reason
        ([*BACK, Step(1, 2)], 2, 1),
        ([*UP, Step(2, 3), Step(3, 1)], 1, None),
        ([*UP, Step(2, None)], None, 1),
        (WITHDRAWN, None, None),
        (UP, 3, 2),  # moved and not recorded
    ],
)
def test_what_is_fallen_back_on_was_never_left_for_a_reason(
    moves: list[Step], production: int | None, below: int | None
) -> None:
    assert version_below(moves, production) == below


@pytest.mark.parametrize(
    ("moves", "left"),
    [
        ([], []),
        (UP, []),
        (BACK, [2]),
        ([*BACK, Step(1, 2)], []),  # a person went there again
        ([*BACK, Step(1, 3)], [2]),
        ([*UP, Step(2, 3), Step(3, 1)], [2, 3]),
        ([*UP, Step(2, None)], [2]),
        (WITHDRAWN, [1]),
        ([*WITHDRAWN, Step(None, 1)], []),
    ],
)
def test_versions_that_were_left_by_going_back_are_taken_back(moves: list[Step], left: list[int]) -> None:
    assert sorted(taken_back(moves)) == left


def test_a_version_is_taken_back_by_the_last_move_that_left_it() -> None:
    again = [*BACK, Step(1, 2), Step(2, 1, 9)]
    assert taken_back(again) == {2: again[-1]}


@pytest.mark.parametrize(
    ("moves", "production", "asked", "destination"),
    [
        (UP, 2, None, 1),
        (UP, 2, 1, 1),
        (BACK, 1, None, 2),
        ([*UP, Step(2, 3)], 3, 1, 1),
        (WITHDRAWN, None, 1, 1),
        (UP, 1, 1, 1),  # to be completed
    ],
)
def test_production_goes_back_to_a_version_that_served(
    moves: list[Step], production: int | None, asked: int | None, destination: int
) -> None:
    assert rollback_destination("rain", moves, production=production, asked=asked) == destination


@pytest.mark.parametrize(
    ("moves", "production", "asked", "said"),
    [
        ([Step(None, 1)], 1, None, "no version served before version 1"),
        ([], None, None, "no version served before no version"),
        (UP, 2, 3, r"version 3 never served \(those that did: 1, 2\)"),
        ([], None, 1, r"version 1 never served \(those that did: none\)"),
        (UP, 2, 2, "on version 2 already"),
        (BACK, 1, 1, "on version 1 already"),
    ],
)
def test_a_version_that_never_served_or_serves_already_is_refused(
    moves: list[Step], production: int | None, asked: int | None, said: str
) -> None:
    with pytest.raises(RollbackRefusedError, match=said):
        rollback_destination("rain", moves, production=production, asked=asked)


@pytest.mark.parametrize(
    ("moves", "production", "previous", "unfinished"),
    [
        (UP, 1, 2, True),
        (UP, 1, 1, False),  # by hand
        (UP, 2, 1, False),
        (BACK, 1, 2, False),
        (UP, 3, 2, False),  # a promotion
        ([], 1, None, False),
        (UP, None, 2, False),
        ([Step(None, 1)], None, 1, False),
    ],
)
def test_a_way_back_that_was_not_recorded_is_told_by_both_aliases(
    moves: list[Step], production: int | None, previous: int | None, unfinished: bool
) -> None:
    assert unfinished_rollback(moves, production=production, previous=previous) is unfinished
