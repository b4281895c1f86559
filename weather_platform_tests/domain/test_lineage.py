"""What became of a row since it was used."""

import math

from weather_platform.domain.lineage import Trace, changed_values


def test_a_row_is_unchanged_only_when_every_value_is_and_missing_equals_missing() -> None:
    row = {"a": 1.0, "b": None, "c": math.nan}
    assert changed_values(row, dict(row)) == []
    assert changed_values(row, row | {"c": float("nan")}) == []
    assert changed_values(row, row | {"a": 2.0, "b": 0.0}) == ["a 1.0 -> 2.0", "b None -> 0.0"]


def test_each_fate_of_a_row_has_its_words_and_shows_the_row_that_was_used() -> None:
    then, now = {"a": 1}, {"a": 2}
    same, changed = Trace("t", 1, 3, then, dict(then)), Trace("t", 1, 3, then, now)
    gone, unknown, late = Trace("t", 1, 3, then, None), Trace("t", None, 3, None, now), Trace("t", 1, 3, None, now)
    assert (same.since(), same.row, same.version) == ("unchanged since", then, 1)
    assert (changed.since(), changed.row) == ("changed since, in version 3: a 1 -> 2", then)
    assert gone.since() == "taken back since: version 3 does not have it"
    assert (unknown.since().endswith("this is the newest"), unknown.row, unknown.version) == (True, now, 3)
    assert (late.since(), late.row) == ("not there then", None)


def test_many_changes_are_counted_not_listed() -> None:
    then, now = {str(n): n for n in range(9)}, {str(n): n + 1 for n in range(9)}
    assert Trace("t", 1, 2, then, now).since().endswith("5 5 -> 6 and 3 more")
