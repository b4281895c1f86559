"""The fourteen months that the Bureau offers are stored and cleaned, and a model of another home forecasts them."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest

from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.targets import TARGETS
from weather_platform.resources.registry import PREVIOUS, PRODUCTION
from weather_platform.sources.changes import months_of
from weather_platform.sources.synthetic import SyntheticSource
from weather_platform_tests.e2e.homes import Done, MadeHome, copied, empty_home
from weather_platform_tests.model_archives import archive, contract_with, forged
from weather_platform_tests.small_models import TARGET

FIRST, LAST = date(2014, 5, 1), date(2015, 6, 30)
EVER = (date(2000, 1, 1), date(2100, 1, 1))
OWN_TO_A_RUN = ["issued_at", "dagster_run_id"]


def write_table(file: Path, first: date, last: date) -> None:
    """The rows of the shared home's source for these days, as a weatherAUS table."""
    source = SyntheticSource(
        seed=42, station_count=12, first_day=first, last_day=last, shift=None, first_month="2007-11",
        fetched_at=datetime(2015, 7, 10, tzinfo=UTC),
    )  # fmt: skip
    rows = pa.concat_tables([source.rows(month) for month in months_of(source.coverage())])
    columns = {column.weather_aus: rows[column.name] for column in OBSERVATION_COLUMNS}
    file.parent.mkdir(exist_ok=True)
    pyarrow.csv.write_csv(pa.table({"Date": rows["date"], "Location": rows["station"], **columns}), file)


@dataclass(frozen=True)
class Carried:
    """A home of fourteen months, what was said on the way, and the files of the models."""

    home: MadeHome
    short: Done
    models: Mapping[str, Path]
    exported: Mapping[str, Done]
    imported: Mapping[str, Done]
    table: Path


@pytest.fixture(scope="module")
def carried(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Carried:
    folder = tmp_path_factory.mktemp("carried")
    home, table = empty_home(folder / "home"), folder / "observations" / "all.csv"
    write_table(table, FIRST, LAST)
    short = home.call("run", "--source", "csv", "--path", str(table.parent))
    lender = copied(first, folder / "lender")
    models = {target: folder / f"{target}.model" for target in TARGETS}
    exported = {target: lender.call("model", "export", target, str(file)) for target, file in models.items()}
    imported = {target: home.call("model", "import", str(file)) for target, file in models.items()}
    return Carried(home, short, models, exported, imported, table)


def test_too_few_days_are_stored_and_cleaned_and_it_says_how_many_are_needed(carried: Carried) -> None:
    assert carried.short.code == 1
    assert carried.short.err.splitlines()[-1] == (
        "weather: observations and features are stored, and no model: training for 2015 needs 458 days of observations "
        "up to 2015-06-30, and there are 426 (from 2014-05-01); bring earlier ones, or a model of another home: "
        "`weather model import`"
    )
    assert " clean + " in carried.short.out
    for table, column, keys in (
        ("raw_observations", "month", 14), ("observations", "year", 2), ("features", "year", 2),
    ):  # fmt: skip
        counts = carried.home.lake.row_counts(table, column)
        assert len(counts) == keys
        assert all(counts.values())


def test_an_export_is_one_file_that_only_its_owner_may_read(carried: Carried) -> None:
    for target, done in carried.exported.items():
        assert done.code == 0, done.err
        assert done.out.startswith(f"{target} version 1 is in {carried.models[target]} (")
        assert stat.S_IMODE(carried.models[target].stat().st_mode) == 0o600


def test_an_import_serves_at_once_where_nothing_did_and_is_recorded_as_a_decision(
    carried: Carried, first: MadeHome
) -> None:
    for target, done in carried.imported.items():
        assert done.code == 0, done.err
        assert f"{target}: Production is version 1, imported (was nowhere; archive SHA-256 " in done.out
        assert "it was trained on synthetic weather" in done.out
        assert "37 station(s) of this home were not in its training" in done.out
        assert carried.home.registry.aliases(target) == {PRODUCTION: 1}
        assert carried.home.registry.production(target).digest == first.registry.production(target).digest
        [decision] = carried.home.database.decisions(target)
        assert decision.decision is Verdict.DEPLOY
        assert decision.reasons[0].startswith("import of version 1 of another home, MLflow run ")
        assert decision.reasons[0].endswith("there, there is no champion")
        [move] = carried.home.database.alias_changes(target, PRODUCTION)
        assert (move.decision_id, move.to_version, move.reason) == (decision.id, 1, decision.reasons[0])


def test_the_forecasts_are_those_of_the_other_home_to_the_byte(carried: Carried, first: MadeHome) -> None:
    for target in TARGETS:
        done = carried.home.call("forecast", "--target", target)
        assert done.code == 0, done.err
        ours, theirs = (home.database.forecasts(target, LAST, LAST) for home in (carried.home, first))
        assert ours.num_rows
        assert ours.drop_columns(OWN_TO_A_RUN).equals(theirs.drop_columns(OWN_TO_A_RUN))


def test_new_days_are_forecast_and_measured_with_the_model_that_came(carried: Carried) -> None:
    write_table(carried.table, FIRST, date(2015, 7, 2))
    done = carried.home.call("update")
    assert done.code == 0, done.err
    assert "new or changed: 2015-07 (2 days, a new month)" in done.out
    for target in TARGETS:
        assert f"{target}: forecasts issued 2015-07-01 to 2015-07-02 by version 1" in done.out
        skill = carried.home.database.matured_skill(target).skill
        assert pc.sum(skill["matured"]).as_py() > 0
    assert carried.home.call("update").out.startswith("nothing new")


def test_a_run_trains_nothing_and_forecasts(carried: Carried) -> None:
    done = carried.home.call("run", "--source", "csv", "--path", str(carried.table.parent), "--forecast-days", "3")
    assert done.code == 0, done.err
    assert "nothing was trained: training for 2015 needs 458 days" in done.out
    for target in TARGETS:
        assert len(carried.home.registry.versions(target)) == 1
        assert date(2015, 6, 30) in carried.home.database.forecasts(target, *EVER)["day"].to_pylist()


def test_what_is_asked_of_an_imported_version_says_where_its_rows_are(carried: Carried) -> None:
    done = carried.home.call("reproduce", TARGET, "1")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert "rain_tomorrow version 1 was imported: its training rows are in the home it came from" in done.err
    lineage = carried.home.call("lineage", TARGET, "Albury", LAST.isoformat())
    assert lineage.code == 0, lineage.err
    assert "imported: it was version 1 of another home" in lineage.out
    assert "raw row: csv file all.csv" in lineage.out
    models = carried.home.call("models")
    assert models.code == 0, models.err
    assert "Production" in models.out


def test_an_imported_version_can_be_carried_on(carried: Carried, tmp_path: Path) -> None:
    done = carried.home.call("model", "export", TARGET, str(tmp_path / "again.model"), "--version", "1")
    assert done.code == 0, done.err
    other = empty_home(tmp_path / "other")
    done = other.call("model", "import", str(tmp_path / "again.model"))
    assert done.code == 0, done.err
    assert other.registry.production(TARGET).digest == carried.home.registry.production(TARGET).digest


def test_a_model_that_serves_gives_way_only_when_somebody_says_so_and_why(home: MadeHome, tmp_path: Path) -> None:
    file = tmp_path / "other.model"
    file.write_bytes(archive())
    before = home.registry.versions(TARGET)
    refused = home.call("model", "import", str(file))
    assert refused.code == 1
    assert "version 1 serves, and an imported model has passed no exam against it; nothing was changed" in refused.err
    assert home.call("model", "import", str(file), "--replace").code == 2
    assert home.registry.versions(TARGET) == before
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1}
    why = "the new instruments were calibrated elsewhere"
    done = home.call("model", "import", str(file), "--replace", "--why", why)
    assert done.code == 0, done.err
    assert home.registry.aliases(TARGET) == {PRODUCTION: 2, PREVIOUS: 1}
    decision = home.database.decisions(TARGET)[-1]
    assert (decision.champion_version, decision.challenger_version) == (1, 2)
    assert decision.reasons[0].endswith(f"in place of version 1: {why}")
    assert home.database.alias_changes(TARGET, PRODUCTION)[-1].decision_id == decision.id
    again = home.call("model", "import", str(file), "--replace", "--why", why)
    assert again.code == 1
    assert "version 2 is this model, and it serves; nothing was changed" in again.err
    back = home.call("rollback", TARGET, "--reason", "it was a mistake")
    assert back.code == 0, back.err
    assert home.registry.aliases(TARGET)[PRODUCTION] == 1


def test_a_file_that_is_no_sound_model_is_refused_in_one_line_and_makes_no_home(tmp_path: Path) -> None:
    other = empty_home(tmp_path / "other")
    wrong, cut, large, pipe = (tmp_path / name for name in ("wrong", "cut", "large", "pipe"))
    wrong.write_bytes(forged(contract_with(feature_version="1999")))
    cut.write_bytes(archive()[:-50])
    large.touch()
    os.truncate(large, 1 << 40)  # a hole: no disk is that large
    os.mkfifo(pipe)
    for file, said in (
        (wrong, "trained on features of version '1999'"),
        (cut, "it is no whole model archive"),
        (large, "no model is that large"),
        (pipe, "a named pipe"),
        (tmp_path / "absent", "No such file"),
    ):
        done = other.call("model", "import", str(file))
        assert (done.code, done.out) == (1, "")
        assert done.err.count("\n") == 1, done.err
        assert said in done.err
        assert str(file) in done.err
    assert not other.folder.exists()


def test_an_export_leaves_a_file_that_is_there_and_names_what_it_lacks(carried: Carried, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    for arguments, said in (
        ([TARGET, str(there)], "exists already; name a new file"),
        ([TARGET, str(tmp_path / "none" / "file")], "cannot be written"),
        ([TARGET, str(tmp_path / "new"), "--version", "9"], "rain_tomorrow has no version 9"),
    ):
        done = carried.home.call("model", "export", *arguments)
        assert (done.code, done.out) == (1, "")
        assert said in done.err
    assert there.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
