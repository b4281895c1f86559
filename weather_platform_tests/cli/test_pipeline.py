"""`weather run`: what a home remembers of how it trains, and what is reported of several years."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_platform.cli import forecast, pipeline
from weather_platform.cli.show import show_outcome
from weather_platform.errors import WeatherError
from weather_platform_tests.cli.test_exit_codes import failed
from weather_platform_tests.e2e.homes import SMALL, MadeHome
from weather_platform_tests.small_models import TARGET


@pytest.fixture
def began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeHome:
    """A home whose runs end before their first stage, and whose environment does not say how to train."""

    def ended(*_: object, **__: object) -> None:
        raise WeatherError("this far")

    monkeypatch.setattr(pipeline, "execute", ended)
    env = {name: value for name, value in SMALL.items() if name != "WEATHER_QUICK"}
    return MadeHome(tmp_path / "home", env | {"WEATHER_HOME": str(tmp_path / "home")})


def told(home: MadeHome, *arguments: str, **env: str) -> str:
    """The line of a run that says how it trains."""
    done = home.call(*arguments, **env)
    assert done.err.endswith("weather: this far\n")
    [line] = [line for line in done.lines if line.startswith("training is ")]
    return line


def kept_quick(home: MadeHome) -> bool:
    """How the UI and the daemon of the home train."""
    return home.settings.quick


def test_a_run_in_a_home_of_the_demo_trains_as_the_demo_did_and_says_how_to_change_it(began: MadeHome) -> None:
    quick, full = "training is quick", "training is in full"
    first = told(began, "demo")
    assert first.startswith(quick)
    assert "`weather run --no-quick`" in first
    assert told(began, "run") == first
    assert kept_quick(began)
    assert told(began, "run", "--no-quick").startswith(full)
    assert told(began, "run").startswith(full)
    assert "`weather run --quick`" in told(began, "run")
    assert not kept_quick(began)
    assert told(began, "run", WEATHER_QUICK="true").startswith(quick), "the environment wins"


def test_a_home_that_was_never_told_trains_in_full(began: MadeHome) -> None:
    assert told(began, "run").startswith("training is in full")


def test_a_refused_run_does_not_change_how_the_home_trains(began: MadeHome) -> None:
    told(began, "demo")
    assert "the source covers" in failed(began, "run", "--no-quick", "--year", "1990")
    assert kept_quick(began)


YEARS = dg.TimeWindowPartitionsDefinition(start="2013", fmt="%Y", cron_schedule="0 0 1 1 *")


@dg.asset(key=[TARGET, "promotion"], partitions_def=YEARS, backfill_policy=dg.BackfillPolicy.single_run())
def decided(context: dg.AssetExecutionContext) -> None:
    """Decisions as the real asset records them."""
    for number, year in enumerate(context.partition_keys, 1):
        verdict = "DEPLOY" if number == 1 else "SKIP"
        metadata: dict[str, Any] = {"decision": verdict, "reasons": [f"so it was in {year}"], "version": number}
        context.add_asset_metadata(metadata, partition_key=year)


def test_the_decisions_of_all_years_are_in_the_output_and_in_the_json(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.instance_for_test() as instance:
        tags = {"dagster/asset_partition_range_start": "2013", "dagster/asset_partition_range_end": "2015"}
        result = dg.materialize([decided], instance=instance, tags=tags)
        learned = pipeline._learned(instance, [result.run_id], [TARGET])
    wanted = {
        "2013": {"decision": "DEPLOY", "reasons": ["so it was in 2013"], "version": 1},
        "2014": {"decision": "SKIP", "reasons": ["so it was in 2014"], "version": 2},
        "2015": {"decision": "SKIP", "reasons": ["so it was in 2015"], "version": 3},
    }
    assert learned[TARGET]["decisions"] == wanted
    assert learned[TARGET]["promotion"] == wanted["2015"], "the newest one, as before"
    outcome = pipeline.Outcome(
        "csv", False, {"raw": 1, "clean": 1, "quarantined": 0}, learned, [], 0, forecast=(TARGET,)
    )
    assert outcome.as_json()["targets"][TARGET]["decisions"] == wanted

    def none(*_: object) -> None:
        raise WeatherError("nothing is forecast here")

    monkeypatch.setattr(forecast, "find_forecast", none)
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(WeatherError):
        show_outcome(None, outcome)  # type: ignore[arg-type]
    for number, (year, decision) in enumerate(wanted.items(), 1):
        assert f"{TARGET}: {decision['decision']} version {number}, by test year {year}\n" in out.getvalue()
        assert f"so it was in {year}\n" in out.getvalue()
