"""The check of the decision to retrain, firing and not firing, as a function and inside a real run."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_platform.checks.retraining import undecided_months
from weather_platform.domain.retraining import Action
from weather_platform_tests.database.test_retraining import retraining
from weather_platform_tests.databases import migrated
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import Home, evaluations, failing

MISSING: dict[str, Any] = {"decision": Action.UNKNOWN, "reasons": ("the drift report of the month is missing",)}


@pytest.mark.parametrize("action", [each for each in Action if each is not Action.UNKNOWN])
def test_a_decision_of_any_kind_passes(action: Action) -> None:
    assert undecided_months(["2015-12"], {"2015-12": retraining(decision=action)}) == {}


def test_a_month_that_is_unknown_or_has_no_decision_is_named_with_what_is_missing() -> None:
    assert undecided_months(["2015-11", "2015-12"], {"2015-12": retraining(**MISSING)}) == {
        "2015-11": "the database has no decision",
        "2015-12": "the drift report of the month is missing",
    }


@pytest.mark.parametrize("last", [MISSING, {}])
def test_the_newest_decision_of_a_month_counts_and_only_warns(tmp_path: Path, last: dict[str, Any]) -> None:
    home = Home(tmp_path)
    database = migrated(home.settings.home / "weather.db")
    for changes in ({} if last else MISSING, last):
        database.record_retraining_decision(retraining(**changes))
    key = dg.AssetKey([TARGET, "retraining"])
    result = home.run(dg.AssetSelection.checks(dg.AssetCheckKey(key, "decision_made")), "2015-12")
    assert result.success
    told = evaluations(result)["decision_made"]
    assert (told.passed, list(failing(told))) == (not last, ["2015-12"] if last else [])
    assert last == {} or told.severity == dg.AssetCheckSeverity.WARN
