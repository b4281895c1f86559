"""Checks of stage splits, firing and not firing, as functions and inside real runs."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_platform.checks.splits import dishonest_years, unsplit_years
from weather_platform.domain.splits import MANIFEST_SCHEMA
from weather_platform.partitions import year_partitions
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import Home, evaluations, failing, made, small_manifest, started

TABLE = f"{TARGET}__split"
Rows = list[dict[str, Any]]


def _part(rows: Rows, name: str) -> dict[str, Any]:
    [row] = [row for row in rows if row["part"] == name]
    return row


def _as_it_is(rows: Rows) -> None:
    assert rows


def _train_into_validation(rows: Rows) -> None:
    _part(rows, "train")["last_day"] = _part(rows, "validation")["first_day"]


def _no_embargo(rows: Rows) -> None:
    _part(rows, "validation")["last_day"] = _part(rows, "test")["first_day"] - timedelta(days=1)


def _validation_after_test(rows: Rows) -> None:
    one, other = _part(rows, "validation"), _part(rows, "test")
    for key in ("first_day", "last_day"):
        one[key], other[key] = other[key], one[key]


def _nothing_to_train_on(rows: Rows) -> None:
    _part(rows, "train")["last_day"] = date(2007, 1, 1)


def _no_labels(rows: Rows) -> None:
    _part(rows, "test")["labelled"] = 0


def _no_validation(rows: Rows) -> None:
    rows.remove(_part(rows, "validation"))


def _no_standing_exam_labels(rows: Rows) -> None:
    _part(rows, "standing_exam")["labelled"] = 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_as_it_is, None),
        (_no_standing_exam_labels, None),  # the exam is judged by promotion, which needs more than one row
        (_train_into_validation, "does not end before validation"),
        (_no_embargo, "no embargo day between validation"),
        (_validation_after_test, "does not end before test"),
        (_nothing_to_train_on, "leaves no day for train"),
        (_no_labels, "no labelled row in test"),
        (_no_validation, "no row for validation"),
    ],
)
def test_a_stored_manifest_in_which_time_is_not_honest_is_named(
    tmp_path: Path, change: Callable[[Rows], None], said: str | None
) -> None:
    home = Home(tmp_path)
    home.lake.replace_partition(TABLE, "year", "2014", small_manifest(2014))
    home.lake.replace_partition(TABLE, "year", "2015", small_manifest(2015, change))
    findings = dishonest_years(home.lake, TABLE, ["2014", "2015"])
    assert list(findings) == ([] if said is None else ["2015"])
    assert (said or "") in str(findings)


def test_a_manifest_that_was_never_stored_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.lake.replace_partition(TABLE, "year", "2014", small_manifest(2014))
    assert "no row for train, validation, test" in dishonest_years(home.lake, TABLE, ["2015"])["2015"]


def test_a_year_that_could_not_be_split_is_named_and_is_not_dishonest(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.lake.replace_partition(TABLE, "year", "2014", small_manifest(2014))
    home.lake.replace_partition(TABLE, "year", "2015", MANIFEST_SCHEMA.empty_table())
    assert list(unsplit_years(home.lake, TABLE, ["2014", "2015"])) == ["2015"]
    assert unsplit_years(home.lake, TABLE, ["2014"]) == {}
    assert dishonest_years(home.lake, TABLE, ["2014", "2015"]) == {}


def test_a_check_started_alone_looks_at_every_year_that_was_materialised(tmp_path: Path, tracking_uri: str) -> None:
    home = Home(tmp_path)
    for year, change in (("2014", None), ("2015", _no_embargo)):
        home.lake.replace_partition(TABLE, "year", year, small_manifest(int(year), change))
        home.instance.report_runless_asset_event(dg.AssetMaterialization([TARGET, "split"], partition=year))
    checks = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey([TARGET, "split"]), "time_order"))
    told = evaluations(home.run(checks))["time_order"]
    assert told.metadata["partitions"].value == 2
    assert set(failing(told)) == {"2015"}


def _check_then(home: Home, *after: object, **options: Any) -> dg.ExecuteInProcessResult:
    checks = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey([TARGET, "split"]), "time_order"))
    return home.run(checks | dg.AssetSelection.assets(*after), "2015", **options)  # type: ignore[arg-type]


def test_an_honest_manifest_stops_nothing(tmp_path: Path, tracking_uri: str) -> None:
    home = Home(tmp_path)
    home.lake.replace_partition(TABLE, "year", "2015", small_manifest(2015))

    @dg.asset(
        deps=[[TARGET, "split"]], partitions_def=year_partitions(home.settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )  # fmt: skip
    def after() -> None:
        return

    result = _check_then(home, "after", more=[after])
    assert result.success
    assert made(result) == {"after"}
    told = evaluations(result)["time_order"]
    assert (told.passed, told.blocking, failing(told)) == (True, True, {})


def test_no_candidate_is_trained_on_a_dishonest_manifest(tmp_path: Path, tracking_uri: str) -> None:
    home = Home(tmp_path)
    home.lake.replace_partition(TABLE, "year", "2015", small_manifest(2015, _no_embargo))
    result = _check_then(home, [TARGET, "xgboost"])
    assert not result.success
    assert started(result) == {f"{TARGET}__split_time_order"}
    assert list(failing(evaluations(result)["time_order"])) == ["2015"]
