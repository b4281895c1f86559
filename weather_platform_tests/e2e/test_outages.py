"""What goes wrong at the worst place: altered files, a dead registry, several promotions at once. The alias stays."""

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.build import build_definitions
from weather_platform.cli.runs import failure_of
from weather_platform.database import PromotionRecord
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.training import CONTRACT_FILE
from weather_platform.io_managers.mlflow_models import logged_run_id
from weather_platform.resources.registry import PREVIOUS, PRODUCTION, RegisteredModel
from weather_platform.settings import load_settings
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.processes import race
from weather_platform_tests.small_models import TARGET, model_file, model_folder
from weather_platform_tests.stages import RANGE_END, RANGE_START, evaluations, failing

EVER = (date(2000, 1, 1), date(2100, 1, 1))
NEVER_FORECAST = date(2015, 3, 1)
DECIDING = ("promotion", "production")


def part(
    home: MadeHome,
    job: str,
    key: str,
    *assets: str,
    config: Mapping[str, object] | None = None,
    last: str | None = None,
) -> str:
    """Run some assets of the target on the instance of the home, for a partition or for those up to `last`; the line
    of failure, or nothing."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    graph = home.graph
    with home.dagster() as instance:
        result = graph.resolve_job_def(job).execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey([TARGET, name]) for name in assets],
            run_config=quiet | dict(config or {}),
            tags={RANGE_START: key, RANGE_END: last or key},
            raise_on_error=False,
        )  # fmt: skip
        return "" if result.success else failure_of(result, result.run_id)


@contextlib.contextmanager
def nothing_moves(home: MadeHome) -> Iterator[None]:
    """Alias, audit, decisions and forecasts are the same afterwards."""

    def state() -> tuple[object, ...]:
        return (
            home.registry.aliases(TARGET),
            home.database.alias_changes(TARGET, PRODUCTION),
            home.database.alias_changes(TARGET, PREVIOUS),
            home.database.decisions(TARGET),
            home.database.forecasts(TARGET, *EVER).to_pylist(),
        )

    before = state()
    yield
    assert state() == before


def turn_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("which", [model_file, lambda model: model_folder(model) / CONTRACT_FILE])
def test_an_altered_model_file_stops_forecasts_and_promotion_and_the_alias_stays(
    home: MadeHome, which: Callable[[RegisteredModel], Path]
) -> None:
    with nothing_moves(home):
        altered = which(home.registry.production(TARGET))
        file = altered.name
        turn_a_bit(altered)
        said = home.call("forecast", "--date", NEVER_FORECAST.isoformat())
        assert said.code == 1
        assert f"{file} has SHA-256" in said.err
        assert "restore the file from a backup" in said.err
        assert f"{file} has SHA-256" in part(home, "learn", "2015", *DECIDING)
        assert f"{file} has SHA-256" in part(home, "learn", "2015", "production")


def test_forecasts_that_were_made_before_are_shown_although_the_model_file_is_altered_now(home: MadeHome) -> None:
    turn_a_bit(model_file(home.registry.production(TARGET)))
    assert home.call("forecast").code == 0


def _garbage(home: MadeHome) -> None:
    (home.folder / "mlflow.db").write_bytes(b"this is no database" * 200)


def _no_files(home: MadeHome) -> None:
    shutil.rmtree(home.folder / "mlflow_artifacts")


@pytest.mark.parametrize("outage", [_garbage, _no_files])
def test_a_registry_that_fails_promotes_nothing(home: MadeHome, outage: Callable[[MadeHome], None]) -> None:
    store, files = home.folder / "mlflow.db", home.folder / "mlflow_artifacts"
    with nothing_moves(home):
        kept = store.read_bytes()
        shutil.copytree(files, home.folder / "kept_files")
        outage(home)
        for assets in (DECIDING, ("production",)):
            said = part(home, "learn", "2015", *assets)
            assert "MLflow at sqlite:///" in said
            assert "make sure that its file and folder can be read and written" in said
            assert "WEATHER_MLFLOW_TRACKING_URI" not in said, "there is no server"
        store.write_bytes(kept)
        shutil.rmtree(files, ignore_errors=True)
        (home.folder / "kept_files").rename(files)
    assert part(home, "learn", "2015", *DECIDING) == "", "after the outage the same request works"
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1}


def test_a_stack_that_is_down_is_told_in_one_line_and_nothing_embedded_is_touched(home: MadeHome) -> None:
    with nothing_moves(home), closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        stack = {
            "WEATHER_PROFILE": "stack", "WEATHER_LAKE_URI": "s3://lake/weather", "WEATHER_REPORTS_URI": "s3://reports/weather",
            "WEATHER_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}", "WEATHER_S3_ACCESS_KEY_ID": "id",
            "WEATHER_S3_SECRET_ACCESS_KEY": "correct-horse", "WEATHER_MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
            "WEATHER_DATABASE_URL": f"postgresql://weather:correct-horse@127.0.0.1:{port}/weather",
        }  # fmt: skip
        for command in ("models", "forecast"):
            done = home.call(command, **stack)
            assert done.code == 1
            assert done.out == ""
            assert len(done.lines) == 1
            assert done.err.startswith("weather: ")
            assert "correct-horse" not in done.err


def test_a_year_with_too_little_before_it_is_refused_in_one_line_before_anything_runs(home: MadeHome) -> None:
    with nothing_moves(home):
        done = home.call("run", "--year", "2012")
    assert (done.code, done.out) == (1, "")
    assert done.lines == [
        "weather: the split of 2012 leaves no day for train: it would have to end on 2010-12-30, and the observations "
        "begin on 2012-01-01; "
        "begin with earlier ones or take a later year"
    ]


@pytest.mark.parametrize(("start", "end"), [("2007", "2008"), ("2012", "2013"), ("2016", "2018")])
def test_years_that_cannot_be_split_are_passed_over_and_say_why(home: MadeHome, start: str, end: str) -> None:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with nothing_moves(home), home.dagster() as instance:
        result = home.graph.resolve_job_def("learn").execute_in_process(
            instance=instance, run_config=quiet, tags={RANGE_START: start, RANGE_END: end}
        )  # fmt: skip
    years = {str(year) for year in range(int(start), int(end) + 1)}
    for name in ("split", "xgboost", "leaderboard", "promotion"):
        events = result.asset_materializations_for_node(f"{TARGET}__{name}")
        assert {event.partition for event in events} == years
        assert all(str(event.partition) in str(event.metadata["reason"].value) for event in events), name
    told = evaluations(result)
    assert (told["enough_data"].passed, told["enough_data"].blocking) == (False, False)
    assert set(failing(told["enough_data"])) == years
    assert told["time_order"].passed
    assert told["digest_verifies"].passed
    assert told["ranked_by_validation"].passed


# ---------------------------------------------------------------- several at once


def another_version(home: MadeHome, trees: int, seed: int) -> int:
    """Train and register another small model of the same year, whatever the leaderboard would say of it."""
    config = {"ops": {f"{TARGET}__xgboost": {"config": {"n_estimators": trees, "seed": seed}}}}
    assert part(home, "learn", "2015", "xgboost", config=config) == ""
    with home.dagster() as instance:
        run_id = logged_run_id(instance, dg.AssetKey([TARGET, "xgboost"]), "2015")
    assert run_id is not None
    return home.registry.register(home.registry.reference(run_id)).version


def deploy(home: MadeHome, challenger: int, champion: int) -> None:
    """Record the decision that one version replaces another."""
    new, old = home.registry.version(TARGET, challenger), home.registry.version(TARGET, champion)
    home.database.record_decision(
        PromotionRecord(
            target=TARGET, year=2015, decision=Verdict.DEPLOY, reasons=("better on the fresh exam",),
            challenger_version=challenger, challenger_run_id=new.run_id, challenger_digest=new.digest,
            champion_version=champion, champion_digest=old.digest, evidence={}, dagster_run_id="run-1",
            decided_at=datetime.now(UTC),
        )
    )  # fmt: skip


def a_second_version(home: MadeHome) -> int:
    """Train and register another small model of the same year, and decide to deploy it."""
    version = another_version(home, trees=20, seed=7)
    deploy(home, challenger=version, champion=1)
    return version


def materialise_production(start: Barrier, home: MadeHome) -> str:
    """What the asset says that it did."""
    key = dg.AssetKey([TARGET, "production"])
    definitions = build_definitions(home.settings)
    start.wait(60)
    with home.dagster() as instance:
        result = definitions.resolve_job_def("learn").execute_in_process(
            instance=instance,
            asset_selection=[key],
            raise_on_error=False,
            tags={RANGE_START: "2015", RANGE_END: "2015"},
        )
    moved = [event.materialization.metadata["moved"].value for event in result.get_asset_materialization_events()]
    return "moved" if moved == [True] else "stayed" if moved == [False] else "failed"


def test_several_processes_that_materialise_production_at_once_end_in_one_alias_and_one_recorded_move(
    home: MadeHome,
) -> None:
    version = a_second_version(home)
    ends = race((materialise_production, home), (materialise_production, home))
    assert home.registry.aliases(TARGET) == {PRODUCTION: version, PREVIOUS: 1}
    moves = [(move.from_version, move.to_version) for move in home.database.alias_changes(TARGET, PRODUCTION)]
    assert moves == [(None, 1), (1, version)]
    assert [move.to_version for move in home.database.alias_changes(TARGET, PREVIOUS)] == [1]
    assert "moved" in ends
    assert "failed" not in ends


def test_a_decision_whose_champion_was_replaced_meanwhile_moves_nothing(home: MadeHome) -> None:
    a_second_version(home)
    assert part(home, "learn", "2015", "production") == ""
    stale = home.database.decisions(TARGET)[-1]
    home.database.record_decision(
        PromotionRecord(
            target=TARGET, year=2015, decision=Verdict.DEPLOY, reasons=("rests on version 9",),
            challenger_version=1, challenger_run_id=stale.challenger_run_id, challenger_digest=stale.challenger_digest,
            champion_version=9, champion_digest="0" * 64, evidence={}, dagster_run_id="run-2",
            decided_at=datetime.now(UTC),
        )
    )  # fmt: skip
    with nothing_moves(home):
        said = part(home, "learn", "2015", "production")
        assert "the decision for version 1 rests on version 9; nothing moved, materialise promotion again" in said


def test_the_forecasts_of_a_new_production_version_stand_beside_those_of_the_old_one(home: MadeHome) -> None:
    version, day = a_second_version(home), date(2015, 6, 30)
    before = home.database.forecasts(TARGET, day, day).num_rows
    assert part(home, "learn", "2015", "production") == ""
    assert part(home, "forecast", day.isoformat(), "forecasts") == ""
    assert home.database.forecasts(TARGET, day, day, model_version=1).num_rows == before
    assert home.database.forecasts(TARGET, day, day, model_version=version).num_rows == before
    assert load_settings(home=home.folder).home == home.folder
