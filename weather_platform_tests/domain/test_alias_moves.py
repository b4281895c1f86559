"""Which decision the alias follows."""

from dataclasses import dataclass

import pytest

from weather_platform.domain.alias_moves import due_move
from weather_platform.errors import PromotionConflictError


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
    assert due_move([], carried_out=set(), production=None) is None
    assert due_move([SKIPPED], carried_out=set(), production=2) is None


def test_the_first_deploy_is_due_when_nothing_serves() -> None:
    assert due_move([FIRST], carried_out=set(), production=None) is FIRST


def test_a_range_of_years_moves_once_to_the_newest_deploy() -> None:
    assert due_move([FIRST, SECOND, SKIPPED, THIRD], carried_out=set(), production=None) is THIRD


def test_a_later_skip_does_not_hide_a_deploy_that_is_still_due() -> None:
    assert due_move([FIRST, SECOND, SKIPPED], carried_out={1}, production=1) is SECOND


def test_a_deploy_that_was_carried_out_is_not_repeated_after_a_rollback() -> None:
    assert due_move([FIRST, SECOND], carried_out={1, 2}, production=1) is None


def test_a_deploy_whose_version_serves_already_is_not_due() -> None:
    assert due_move([FIRST, SECOND], carried_out={1}, production=2) is None


@pytest.mark.parametrize("production", [None, 7])
def test_a_champion_that_changed_meanwhile_is_a_conflict(production: int | None) -> None:
    with pytest.raises(PromotionConflictError, match="nothing moved"):
        due_move([FIRST, SECOND], carried_out={1}, production=production)
