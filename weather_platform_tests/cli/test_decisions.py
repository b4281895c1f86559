"""`weather decisions`: everything that was decided, in time order, from the database alone."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from weather_platform.domain.promotion import Verdict
from weather_platform.domain.retraining import Outcome
from weather_platform.settings import PROJECT_DIR
from weather_platform_tests.database.test_database import change, decision
from weather_platform_tests.database.test_retraining import ASKED, NOON, VETO, outcome, retraining
from weather_platform_tests.e2e.homes import MadeHome, clean_environment, empty_home, files_of
from weather_platform_tests.small_models import TARGET

HOUR = timedelta(hours=1)


@pytest.fixture
def home(tmp_path: Path) -> MadeHome:
    """A home whose database holds a life of one model, recorded in another order than it happened."""
    made = empty_home(tmp_path / "home")
    database = made.database
    database.migrate()
    deploy = database.record_decision(decision(decided_at=NOON))
    with database.locked(TARGET) as ledger:
        ledger.record_alias_change(change(decision_id=deploy.id, changed_at=NOON + HOUR))
        ledger.record_alias_change(
            change(from_version=3, to_version=None, digest=None, reason="rollback: wrong", changed_at=NOON + 9 * HOUR)
        )
    database.record_retraining_request(replace(VETO, at=NOON + 2 * HOUR))
    record = database.record_retraining_decision(retraining(decided_at=NOON + 3 * HOUR))
    assert record.id is not None
    database.record_retraining_outcome(outcome(record.id, outcome=Outcome.SKIP, version=4, reason="no better"))
    database.record_retraining_request(
        replace(ASKED, at=NOON + 4 * HOUR), retraining(decided_at=NOON + 4 * HOUR, reasons=("ann asked",))
    )
    database.record_decision(
        decision(decided_at=NOON + 5 * HOUR, challenger_version=5, champion_version=3, evidence={"imported": {}})
    )
    database.record_decision(decision(target="max_temp_tomorrow", decision=Verdict.SKIP, decided_at=NOON))
    database.close()
    return made


def test_decisions_are_listed_in_time_order_with_reasons_and_outcomes(home: MadeHome) -> None:
    done = home.call("decisions", TARGET)
    assert done.code == 0, done.err
    entries = [line.split("  ", 2)[2] for line in done.out.splitlines() if not line.startswith(" ")]
    assert entries == [
        "promotion: DEPLOY version 3 against no champion",
        "alias: Production went from nowhere to version 3",
        "veto: until 2016-03-01 by ann",
        "retraining: RETRAIN after 2015-12",
        "request: by ann",
        "retraining: RETRAIN after 2015-12",
        "import: DEPLOY version 5 against version 3",
        "alias: Production went from version 3 to nowhere",
    ]
    assert "    outcome: SKIP version 4 on 2016-01-02 12:00 UTC: no better" in done.out.splitlines()
    assert "    rollback: wrong" in done.out.splitlines()


def test_without_a_target_all_are_listed_and_json_says_the_same(home: MadeHome) -> None:
    done = home.call("decisions", "--json")
    found = json.loads(done.out)
    assert [each["at"] for each in found] == sorted(each["at"] for each in found)
    assert {each["target"] for each in found} == {TARGET, "max_temp_tomorrow"}
    [asked] = [each for each in found if each["reasons"] == ["ann asked", "drifted"]]
    assert asked["kind"] == "retraining"
    assert set(asked) >= {"at", "target", "kind", "what", "reasons", "dagster_run_id", "decision_id"}


def test_a_home_without_any_decision_says_so(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    home.database.migrate()
    assert home.call("decisions").out.startswith("nothing was decided yet; `weather run` trains")
    assert home.call("decisions", "--json").out == "[]\n"


def test_a_folder_that_is_no_home_is_left_as_it_is(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    done = home.call("decisions")
    assert (done.code, done.out) == (1, "")
    assert "is not a home yet" in done.err
    assert not home.folder.exists() or files_of(home.folder) == set()


def test_an_unknown_target_is_a_wrong_use(home: MadeHome) -> None:
    assert home.call("decisions", "snow").code == 2


def test_neither_dagster_nor_mlflow_is_loaded_to_list_decisions(home: MadeHome) -> None:
    program = (
        "import sys\n"
        "from weather_platform.cli.decisions import show_decisions\n"
        "from weather_platform.settings import load_settings\n"
        "show_decisions(load_settings(), [], as_json=False)\n"
        "print([name for name in ('dagster', 'mlflow', 'scipy', 'sklearn', 'pandas') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_DIR, env=clean_environment() | dict(home.env), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


# ---------------------------------------------------------------- the other half of the record: what people ask


def test_a_veto_covers_the_next_monthly_decisions_and_is_ended_by_one_of_none(home: MadeHome) -> None:
    for months, said in (("3", "no month's decision starts a training until"), ("0", "no veto holds training back")):
        done = home.call("retrain", TARGET, "--veto", "--months", months, "--why", "stations  are being moved")
        assert done.code == 0, done.err
        assert said in done.out
    three, none = home.database.retraining_requests(TARGET)[-2:]
    assert three.until is not None
    assert none.until is not None
    assert (three.kind, three.why) == ("veto", "stations are being moved")
    now = home.settings.now().date()
    first = now.replace(day=1)
    assert none.until == first - timedelta(days=1), "the decision of this month is free again"
    assert first + timedelta(days=59) <= three.until <= first + timedelta(days=92)
    assert (three.until + timedelta(days=1)).day == 1
    assert len(home.database.retraining(TARGET)) == 2, "it decides nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--why", "short"], "--why takes 8 to 500 characters"),
        (["--why", "for a good reason", "--veto"], "--veto and --months go together"),
        (["--why", "for a good reason", "--months", "2"], "--veto and --months go together"),
    ],
)
def test_half_a_request_is_a_wrong_use_and_nothing_is_recorded(home: MadeHome, arguments: list[str], said: str) -> None:
    before = home.database.retraining_requests(TARGET)
    done = home.call("retrain", TARGET, *arguments)
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert home.database.retraining_requests(TARGET) == before


@pytest.mark.parametrize("arguments", [[], ["--veto", "--months", "1"]])
def test_a_request_in_a_folder_that_is_no_home_is_refused_and_makes_none(tmp_path: Path, arguments: list[str]) -> None:
    home = empty_home(tmp_path / "home")
    done = home.call("retrain", TARGET, "--why", "for a good reason", *arguments)
    assert done.code == 1
    assert "is not a home yet" in done.err
    assert not home.folder.exists() or files_of(home.folder) == set()


def test_a_request_without_features_is_refused_before_it_is_recorded(home: MadeHome) -> None:
    before = home.database.retraining_requests(TARGET)
    done = home.call("retrain", TARGET, "--why", "for a good reason")
    assert done.code == 1
    assert "there are no features yet" in done.err
    assert home.database.retraining_requests(TARGET) == before
