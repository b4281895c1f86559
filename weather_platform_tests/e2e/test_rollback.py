"""Going back, by request and because of the canary: what moves, what is refused, what an outage does."""

import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from pathlib import Path
from socket import socket
from typing import Any, ClassVar

import dagster as dg
import pytest

from weather_platform.automation.rollback import REASON_MAX_CHARACTERS, REASON_MIN_CHARACTERS
from weather_platform.build import build_definitions
from weather_platform.cli.rollback import run_rollback
from weather_platform.cli.runs import failure_of
from weather_platform.database import AliasChange
from weather_platform.domain.canary import GOLDEN_FILE, golden_bytes, golden_from_bytes
from weather_platform.domain.training import CONTRACT_FILE, GOLDEN_ROWS, sha256
from weather_platform.errors import InvariantError, WeatherError
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import GOLDEN_TAG, PREVIOUS, PRODUCTION, Audit, ModelRegistry, RegisteredModel
from weather_platform.resources.rollback import roll_back, withdraw
from weather_platform.settings import PROJECT_DIR
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome, clean_environment, copied, environment
from weather_platform_tests.e2e.test_outages import (
    DECIDING,
    a_second_version,
    another_version,
    deploy,
    materialise_production,
    nothing_moves,
    part,
    turn_a_bit,
)
from weather_platform_tests.processes import exit_code, race
from weather_platform_tests.small_models import TARGET, Store, model_file, model_folder

REASON = "too many false alarms in Hobart"
PRODUCTION_KEY = dg.AssetKey([TARGET, "production"])


@pytest.fixture(scope="module")
def promoted(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """A home in which version 1 served and version 2 was promoted over it; nobody changes it."""
    home = copied(first, tmp_path_factory.mktemp("promoted") / "home")
    a_second_version(home)
    assert part(home, "learn", "2015", "production") == ""
    return home


@pytest.fixture
def home(promoted: MadeHome, tmp_path: Path) -> MadeHome:
    """A copy of that home for one test."""
    return copied(promoted, tmp_path / "home")


@pytest.fixture
def undecided(first: MadeHome, tmp_path: Path) -> MadeHome:
    """A copy of the home in which version 1 serves and nothing else is registered."""
    return copied(first, tmp_path / "home")


def go_back(home: MadeHome, *arguments: str) -> str:
    """What `weather rollback` printed; its line of failure when it failed."""
    done = home.call("rollback", TARGET, "--reason", REASON, *arguments)
    return done.out if done.code == 0 else done.err


def moves(home: MadeHome, alias: str = PRODUCTION) -> list[tuple[int | None, int | None]]:
    return [(move.from_version, move.to_version) for move in home.database.alias_changes(TARGET, alias)]


def data_version(home: MadeHome) -> str | None:
    """The data version of the alias as Dagster's lineage shows it."""
    with home.dagster() as instance:
        event = instance.get_latest_materialization_event(PRODUCTION_KEY)
        assert event is not None
        assert event.asset_materialization is not None
        return (event.asset_materialization.tags or {}).get("dagster/data_version")


def another_record(home: MadeHome, version: int) -> None:
    """Give a version the record of other predictions than it makes; every file verifies."""
    model = home.registry.version(TARGET, version)
    names = home.registry.load(model).contract.feature_names
    path = model_folder(model) / GOLDEN_FILE
    golden = golden_from_bytes(path.read_bytes(), names)
    expected = golden.expected.copy()
    expected[5] += 0.25
    data = golden_bytes(replace(golden, expected=expected), names)
    path.write_bytes(data)
    client = mlflow_client(mlflow_tracking_uri(home.settings))
    client.set_model_version_tag(TARGET, str(version), GOLDEN_TAG, sha256(data))


def altered(model: RegisteredModel, which: str) -> str:
    """Turn one bit in a file of the model; gives the file's name."""
    path = model_file(model) if which == "model" else model_folder(model) / which
    turn_a_bit(path)
    return path.name


# ---------------------------------------------------------------- by request


def test_the_version_before_serves_again_and_everything_says_so(home: MadeHome) -> None:
    said = go_back(home)
    assert said.startswith("rain_tomorrow: Production is version 1 (was 2; run ")
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}
    move = home.database.alias_changes(TARGET, PRODUCTION)[-1]
    assert (move.from_version, move.to_version, move.reason) == (2, 1, f"rollback: {REASON}")
    assert move.decision_id == home.database.decisions(TARGET)[-1].id, "every decision until now is overruled"
    assert move.digest == data_version(home) == home.registry.version(TARGET, 1).digest
    with home.dagster() as instance:
        run = instance.get_run_by_id(move.dagster_run_id)
    assert run is not None
    assert (run.job_name, run.is_success) == ("rollback", True)


def test_what_was_rolled_back_is_not_applied_again_and_a_newer_decision_is(home: MadeHome) -> None:
    go_back(home)
    assert part(home, "learn", "2015", "production") == ""
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}
    deploy(home, challenger=2, champion=1)
    assert part(home, "learn", "2015", "production") == ""
    assert home.registry.aliases(TARGET) == {PRODUCTION: 2, PREVIOUS: 1}
    assert moves(home) == [(None, 1), (1, 2), (2, 1), (1, 2)]


def test_a_way_back_can_be_undone_and_a_version_can_be_named(home: MadeHome) -> None:
    go_back(home, "--to", "1")
    assert "Production is version 2 (was 1" in go_back(home)
    assert home.registry.aliases(TARGET) == {PRODUCTION: 2, PREVIOUS: 1}


def test_a_version_that_was_taken_back_is_no_challenger_again_and_says_why(undecided: MadeHome) -> None:
    """The same data and recipe give the same version, so promotion would bring it back with the same evidence."""
    home = undecided
    assert "nothing serves now (was version 1; run " in go_back(home, "--nowhere")
    assert home.registry.aliases(TARGET) == {}
    assert part(home, "learn", "2015", "promotion") == ""
    decision = home.database.decisions(TARGET)[-1]
    assert (decision.decision, decision.challenger_version, decision.champion_version) == ("SKIP", 1, None)
    assert re.match(rf"version 1 was taken back on \d{{4}}-\d\d-\d\d \(rollback: {REASON}\)", decision.reasons[0])
    said = part(home, "learn", "2015", "production")
    assert f"has no Production model (rollback: {REASON})" in said
    assert "Production is version 1 (was nowhere" in go_back(home, "--to", "1")
    assert part(home, "learn", "2015", "promotion") == ""
    assert "the champion itself" in home.database.decisions(TARGET)[-1].reasons[0]


def test_a_model_whose_files_are_damaged_can_be_left_although_none_served_before(undecided: MadeHome) -> None:
    home = undecided
    altered(home.registry.production(TARGET), "model")
    assert "take it back with `weather rollback`" in part(home, "learn", "2015", "production")
    assert "or take Production away with --nowhere" in go_back(home)
    assert "nothing serves now" in go_back(home, "--nowhere")
    assert moves(home) == [(None, 1), (1, None)]
    with home.dagster() as instance:
        [seen] = instance.fetch_observations(PRODUCTION_KEY, limit=5).records
    assert seen.asset_observation is not None
    assert seen.asset_observation.metadata["left"].value == 1
    assert "nothing serves, so nothing is to be taken away" in go_back(home, "--nowhere")


def test_nowhere_and_a_version_exclude_each_other(home: MadeHome) -> None:
    with nothing_moves(home):
        assert home.call("rollback", TARGET, "--reason", REASON, "--nowhere", "--to", "1").code == 2


@pytest.mark.parametrize("assets", [("promotion",), DECIDING])
def test_an_alias_that_vanished_is_never_taken_for_no_champion(home: MadeHome, assets: tuple[str, ...]) -> None:
    client = mlflow_client(mlflow_tracking_uri(home.settings))
    client.delete_registered_model_alias(TARGET, PRODUCTION)
    with nothing_moves(home):
        said = part(home, "learn", "2015", *assets)
        assert "the audit has Production on version 2, and the registry knows no such alias" in said
    [remedy] = re.findall(r"set the alias again: weather (rollback [^\"]*\"[^\"]*\")", said)
    assert "Production is version 2 (was nowhere" in home.call(*shlex.split(remedy)).out
    assert part(home, "learn", "2015", *assets) == ""


def test_a_champion_of_other_features_is_replaced_by_a_model_of_todays(
    home: MadeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that changes the features finds a champion that can neither serve nor be compared."""
    ready = ModelRegistry.ready

    def of_today(self: ModelRegistry, model: RegisteredModel) -> Any:
        if model == home.registry.production(TARGET):
            raise InvariantError("the model of rain_tomorrow was trained on features 0-former, these are others")
        return ready(self, model)

    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "ready", of_today)
        assert part(home, "learn", "2015", "promotion") == ""
    decision = home.database.decisions(TARGET)[-1]
    assert (decision.challenger_version, decision.champion_version) == (1, 2)
    assert decision.decision == "DEPLOY"
    assert "the champion cannot serve (version 2: the model of rain_tomorrow was trained on" in decision.reasons[0]
    assert decision.evidence["evidence"] == decision.evidence["evidence"] | {"fresh": None, "standing": None}  # type: ignore[operator]


def test_the_commands_of_the_how_to_page_do_what_it_says(home: MadeHome) -> None:
    page = (PROJECT_DIR / "docs" / "how-to" / "rollback.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    for line in block.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "weather"
        done = home.call(*arguments)
        assert done.code == 0, done.err
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}
    assert f"{REASON_MIN_CHARACTERS} to {REASON_MAX_CHARACTERS} characters" in page
    assert f"{GOLDEN_ROWS} of its\ntest rows" in page


def test_the_job_of_the_ui_does_the_same(home: MadeHome) -> None:
    with home.dagster() as instance:
        result = home.graph.resolve_job_def("rollback").execute_in_process(
            instance=instance,
            run_config={"ops": {"roll_back": {"config": {"target": TARGET, "to_version": 1, "reason": REASON}}}},
        )  # fmt: skip
    assert result.success
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}


@pytest.mark.parametrize(
    "config",
    [{"target": TARGET}, {"target": TARGET, "reason": "bad"}, {"target": TARGET, "reason": "x" * 501},
     {"target": TARGET, "reason": REASON, "to_version": 0}, {"target": "snow_tomorrow", "reason": REASON}],
)  # fmt: skip
def test_a_request_without_a_reason_or_out_of_bounds_moves_nothing(home: MadeHome, config: dict[str, object]) -> None:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    job = home.graph.resolve_job_def("rollback")
    with nothing_moves(home), dg.DagsterInstance.ephemeral() as instance:
        try:
            result = job.execute_in_process(
                instance=instance, run_config=quiet | {"ops": {"roll_back": {"config": config}}}, raise_on_error=False
            )
        except dg.DagsterInvalidConfigError:
            return
        assert not result.success


@pytest.mark.parametrize("which", ["model", CONTRACT_FILE, GOLDEN_FILE])
def test_a_version_whose_files_were_altered_is_refused(home: MadeHome, which: str) -> None:
    file = altered(home.registry.version(TARGET, 1), which)
    with nothing_moves(home):
        assert f"{file} has SHA-256" in go_back(home)


def test_a_version_that_does_not_give_its_recorded_predictions_is_refused(home: MadeHome) -> None:
    another_record(home, 1)
    with nothing_moves(home):
        said = go_back(home)
        assert "does not reproduce its recorded test predictions (1 of 64 rows differ, by up to 0.25)" in said
        assert "nothing moved, name another version with --to" in said


def test_a_version_of_other_features_is_refused(home: MadeHome) -> None:
    other = Store(mlflow_tracking_uri(home.settings), f"sqlite:///{home.folder}/weather.db").register()
    with home.database.locked(TARGET) as ledger:
        for before, after in ((2, other.version), (other.version, 2)):
            ledger.record_alias_change(
                AliasChange(
                    target=TARGET, alias=PRODUCTION, from_version=before, to_version=after, digest="d" * 64,
                    decision_id=None, reason="served once", dagster_run_id="r", changed_at=datetime.now(UTC),
                )
            )  # fmt: skip
    with nothing_moves(home):
        assert "was trained on features test-1" in go_back(home, "--to", str(other.version))


@pytest.mark.parametrize(
    ("to", "said"),
    [("2", "Production is on version 2 already"), ("7", "version 7 never served (those that did: 1, 2)")],
)
def test_where_production_is_or_never_was_it_does_not_go(home: MadeHome, to: str, said: str) -> None:
    with nothing_moves(home):
        assert said in go_back(home, "--to", to)


def test_without_a_version_before_there_is_no_way_back(undecided: MadeHome) -> None:
    with nothing_moves(undecided):
        assert "no version served before version 1; nothing moved" in go_back(undecided)


# ---------------------------------------------------------------- the canary


def test_a_promoted_model_that_fails_its_canary_goes_back_by_itself_and_the_asset_fails(home: MadeHome) -> None:
    another_record(home, 2)
    said = part(home, "learn", "2015", "production")
    assert "rain_tomorrow version 2 does not reproduce its recorded test predictions (1 of 64 rows" in said
    assert "; Production is back on version 1 (run " in said
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}
    move = home.database.alias_changes(TARGET, PRODUCTION)[-1]
    assert (move.from_version, move.to_version) == (2, 1)
    assert move.reason.startswith("canary: rain_tomorrow version 2 does not reproduce")
    assert part(home, "learn", "2015", "production") == "", "the version before serves, and the decision is settled"
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}


def test_a_process_that_died_between_the_move_and_the_canary_leaves_nothing_untried(undecided: MadeHome) -> None:
    home = undecided
    a_second_version(home)
    another_record(home, 2)
    due = home.database.decisions(TARGET)[-1]
    moved = Audit(decision_id=due.id, reason="DEPLOY", dagster_run_id="killed", changed_at=datetime.now(UTC))
    home.registry.move_production(TARGET, 2, 1, moved)
    assert "Production is back on version 1" in part(home, "learn", "2015", "production")
    assert moves(home) == [(None, 1), (1, 2), (2, 1)]


def test_a_first_model_that_fails_its_canary_serves_no_longer(undecided: MadeHome) -> None:
    home = undecided
    another_record(home, 1)
    said = part(home, "learn", "2015", "production")
    assert "nothing serves rain_tomorrow now, because no other version served before" in said
    assert home.registry.aliases(TARGET) == {}
    assert moves(home) == [(None, 1), (1, None)]
    assert "has no Production model (canary: rain_tomorrow version 1" in part(home, "learn", "2015", "production")
    assert home.call("forecast", "--date", "2015-03-01").code == 1


def test_when_neither_version_gives_its_predictions_nothing_serves(home: MadeHome) -> None:
    another_record(home, 1)
    another_record(home, 2)
    assert "nothing serves rain_tomorrow now, because rain_tomorrow version 1 does" in part(
        home, "learn", "2015", "production"
    )
    assert home.registry.aliases(TARGET) == {PREVIOUS: 1}


def test_a_version_that_was_left_for_a_reason_does_not_come_back_by_itself(home: MadeHome) -> None:
    go_back(home)
    another_record(home, 1)
    assert "because no other version served before" in part(home, "learn", "2015", "production")
    assert home.registry.aliases(TARGET) == {PREVIOUS: 2}


def test_an_outage_while_the_way_back_is_tried_takes_nothing_away(home: MadeHome) -> None:
    """The version below cannot be asked: that says nothing of it, and nothing may be served worse for it."""
    another_record(home, 2)
    file = model_folder(home.registry.version(TARGET, 1)) / CONTRACT_FILE
    away = file.rename(file.with_suffix(".away"))
    with nothing_moves(home):
        assert f"downloading {CONTRACT_FILE} of rain_tomorrow version 1" in part(home, "learn", "2015", "production")
    away.rename(file)
    assert "Production is back on version 1" in part(home, "learn", "2015", "production")


def test_a_withdrawal_that_is_killed_on_its_way_is_completed_by_the_next_request(undecided: MadeHome) -> None:
    home = undecided
    another_record(home, 1)
    assert exit_code(withdraw_and_die, home) == -signal.SIGKILL
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1}
    assert moves(home) == [(None, 1), (1, None)]
    assert "nothing serves rain_tomorrow now" in part(home, "learn", "2015", "production")
    assert home.registry.aliases(TARGET) == {}
    assert moves(home) == [(None, 1), (1, None), (None, 1), (1, None)]


@pytest.mark.parametrize("which", ["model", CONTRACT_FILE, GOLDEN_FILE])
def test_an_altered_file_fails_the_asset_and_moves_nothing(home: MadeHome, which: str) -> None:
    file = altered(home.registry.production(TARGET), which)
    with nothing_moves(home):
        assert f"{file} has SHA-256" in part(home, "learn", "2015", "production")


def test_a_canary_that_cannot_be_tried_is_no_success_and_is_tried_again(home: MadeHome) -> None:
    another_record(home, 2)
    file = model_folder(home.registry.production(TARGET)) / GOLDEN_FILE
    away = file.rename(file.with_suffix(".away"))
    with nothing_moves(home):
        assert f"downloading {GOLDEN_FILE} of rain_tomorrow version 2" in part(home, "learn", "2015", "production")
    away.rename(file)
    assert "Production is back on version 1" in part(home, "learn", "2015", "production")


# ---------------------------------------------------------------- outages, kills, several at once


@contextmanager
def unreachable(home: MadeHome) -> Iterator[dict[str, object]]:
    """The registry on a port of this machine where nobody listens."""
    with closing(socket()) as held:
        held.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{held.getsockname()[1]}"
        yield {"registry": ModelRegistry(uri, home.database)}


@pytest.mark.parametrize("assets", [DECIDING, ("production",)])
def test_while_the_registry_cannot_be_reached_nothing_is_decided_or_moved(
    home: MadeHome, assets: tuple[str, ...]
) -> None:
    deploy(home, challenger=1, champion=2)
    definitions = build_definitions
    with (
        nothing_moves(home),
        unreachable(home) as resources,
        home.dagster() as instance,
    ):
        result = definitions(home.settings, resource_overrides=resources).resolve_job_def("learn").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey([TARGET, name]) for name in assets],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={"dagster/asset_partition_range_start": "2015", "dagster/asset_partition_range_end": "2015"},
            raise_on_error=False,
        )  # fmt: skip
        assert "MLflow at http://127.0.0.1:" in failure_of(result, result.run_id)
    assert part(home, "learn", "2015", "production") == "", "after the outage the same request works"
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}


class Dying(ModelRegistry):
    """A registry whose process is killed when it has set an alias."""

    last: ClassVar[str]

    def _set_alias(self, ledger: Any, alias: str, move: Any, audit: Audit) -> None:
        super()._set_alias(ledger, alias, move, audit)
        if alias == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def withdraw_and_die(home: MadeHome) -> None:
    registry = ModelRegistry(mlflow_tracking_uri(home.settings), home.database)
    registry._client.delete_registered_model_alias = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    audit = Audit(decision_id=None, reason="canary: killed", dagster_run_id="killed", changed_at=datetime.now(UTC))
    withdraw(registry, home.database, TARGET, audit)


def roll_back_and_die(home: MadeHome, alias: str) -> None:
    Dying.last = alias
    audit = Audit(decision_id=None, reason="rollback: killed", dagster_run_id="killed", changed_at=datetime.now(UTC))
    registry = Dying(mlflow_tracking_uri(home.settings), home.database)
    roll_back(registry, home.database, TARGET, None, audit)


def _again(home: MadeHome) -> None:
    go_back(home)


def _materialised(home: MadeHome) -> None:
    assert part(home, "learn", "2015", "production") == ""


@pytest.mark.parametrize(
    ("alias", "after", "left"),
    [
        (PREVIOUS, _again, {PRODUCTION: 2, PREVIOUS: 2}),
        (PRODUCTION, _again, {PRODUCTION: 1, PREVIOUS: 2}),
        (PRODUCTION, _materialised, {PRODUCTION: 1, PREVIOUS: 2}),
    ],
)
def test_a_rollback_that_is_killed_on_its_way_is_completed_by_the_next_request(
    home: MadeHome, alias: str, after: Callable[[MadeHome], None], left: dict[str, int]
) -> None:
    assert exit_code(roll_back_and_die, home, alias) == -signal.SIGKILL
    assert home.registry.aliases(TARGET) == left
    after(home)
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}
    assert moves(home) == [(None, 1), (1, 2), (2, 1)]
    assert part(home, "learn", "2015", "production") == ""
    assert home.registry.aliases(TARGET) == {PRODUCTION: 1, PREVIOUS: 2}


def request_rollback(start: Barrier, home: MadeHome) -> str:
    start.wait(60)
    try:
        with environment(clean_environment()):
            run_rollback(home.settings, TARGET, None, "at the same time as a promotion")
    except WeatherError as error:
        return f"failed: {error}"
    return "moved"


def test_a_rollback_and_a_promotion_at_once_end_in_one_alias_that_the_audit_explains(home: MadeHome) -> None:
    assert another_version(home, trees=10, seed=9) == 3
    deploy(home, challenger=3, champion=2)
    ends = race((materialise_production, home), (request_rollback, home))
    assert "moved" in ends
    aliases, history = home.registry.aliases(TARGET), home.database.alias_changes(TARGET, PRODUCTION)
    assert history[-1].to_version == aliases[PRODUCTION]
    assert history[-1].from_version == aliases[PREVIOUS]
    for earlier, later in pairwise(history):
        assert earlier.to_version == later.from_version
