"""Running again: the same year, an older year. Nothing is doubled, nothing is dethroned."""

from datetime import date

import pytest

from weather_platform.resources.registry import PREVIOUS, PRODUCTION
from weather_platform_tests.e2e.homes import Done, MadeHome, copied
from weather_platform_tests.small_models import TARGET

EVER = (date(2000, 1, 1), date(2100, 1, 1))
KEPT = ["station", "day", "model_version", "kind", "probability", "threshold", "label"]


@pytest.fixture(scope="module")
def again(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeHome, Done]:
    """A copy of the first home in which an old year and the same year were run once more."""
    home = copied(first, tmp_path_factory.mktemp("again") / "home")
    years = ("--year", "2014", "--year", "2015")
    done = home.call("run", "--target", TARGET, *years, "--json", str(home.folder / "result.json"))
    assert done.code == 0, done.err
    return home, done


def test_the_same_year_gives_the_same_digest_and_is_skipped(first: MadeHome, again: tuple[MadeHome, Done]) -> None:
    home, done = again
    newest = home.database.decisions(TARGET)[-1]
    assert newest.year == 2015
    assert newest.decision == "SKIP"
    assert newest.challenger_digest == first.registry.production(TARGET).digest
    assert newest.challenger_version == newest.champion_version == 1
    assert "the champion itself (same digest)" in " ".join(newest.reasons)
    assert "SKIP version 1" in done.out


def test_an_old_year_is_a_version_of_its_own_and_never_dethrones_the_newer_champion(
    again: tuple[MadeHome, Done],
) -> None:
    home, _ = again
    old = home.database.decisions(TARGET)[-2]
    assert (old.year, old.decision, old.challenger_version, old.champion_version) == (2014, "SKIP", 2, 1)
    assert "an older model never replaces a newer one" in " ".join(old.reasons)
    assert home.registry.version(TARGET, 2).tags["year"] == "2014"


def test_the_alias_stays_and_no_move_is_recorded(again: tuple[MadeHome, Done]) -> None:
    home, _ = again
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1}
    assert len(home.database.alias_changes(TARGET, PRODUCTION)) == 1
    assert home.database.alias_changes(TARGET, PREVIOUS) == []


def test_nothing_is_doubled(first: MadeHome, again: tuple[MadeHome, Done]) -> None:
    home, _ = again
    assert home.json["rows"] == first.json["rows"]
    assert len(home.registry.versions(TARGET)) == 2
    before, after = (each.database.forecasts(TARGET, *EVER) for each in (first, home))
    assert after.select(KEPT).equals(before.select(KEPT))


def test_every_stored_row_is_the_one_that_was_there(first: MadeHome, again: tuple[MadeHome, Done]) -> None:
    home, _ = again
    for table, key in (("raw_observations", "row_number"), ("observations", "row_number"), ("features", "station")):
        before, after = (
            each.lake.read(table).sort_by([("day", "ascending"), (key, "ascending")]) for each in (first, home)
        )
        if table == "raw_observations":
            before, after = (rows.drop_columns(["fetched_at"]) for rows in (before, after))
        assert before.equals(after), table


def test_the_json_tells_of_both_years_and_of_the_newest_decision(first: MadeHome, again: tuple[MadeHome, Done]) -> None:
    home, _ = again
    told = home.json["targets"][TARGET]
    assert set(told["years"]) == {"2014", "2015"}
    assert told["years"]["2015"] == first.json["targets"][TARGET]["years"]["2015"]
    assert told["promotion"]["decision"] == "SKIP"


def test_the_older_model_saw_nothing_of_its_test_year(again: tuple[MadeHome, Done]) -> None:
    home, _ = again
    old = home.registry.version(TARGET, 2)
    assert old.tuned_through == date(2013, 12, 30)
    assert old.tested_through == date(2014, 12, 31)
