"""A stage run that is ended by a signal, wherever Dagster is at that moment."""

import signal
import sys
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from weather_platform.automation.plan import StageRun
from weather_platform.cli.home import open_instance
from weather_platform.cli.runs import COMMAND_TAG, console_of_errors, execute
from weather_platform.errors import WeatherError
from weather_platform.settings import Settings, load_settings
from weather_platform_tests.e2e.homes import clean_environment, environment

LABEL = ".dagster/repository"
"""By this tag Dagster's pages of jobs find their runs."""
LOCATED = "__repository__@weather_platform"
RUN = StageRun("watch", "2015-05", "2015-05")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of one home for all tests: making Dagster's files takes longer than they do."""
    with environment(clean_environment()):
        yield load_settings(home=tmp_path_factory.mktemp("home"))


def graph(sent: signal.Signals, where: str) -> dg.Definitions:
    """One asset and one resource; the signal comes while the one or the other is made, or nobody sends any."""

    @dg.resource
    def tool() -> None:
        if where == "resource":
            signal.raise_signal(sent)

    @dg.asset(required_resource_keys={"tool"})
    def thing() -> None:
        if where == "step":
            signal.raise_signal(sent)
        raise ValueError("the step fails by itself")

    return dg.Definitions([thing], jobs=[dg.define_asset_job("watch", [thing])], resources={"tool": tool})


@pytest.mark.parametrize("where", ["resource", "step"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_ctrl_c_whether_a_resource_or_a_step_is_at_work(
    settings: Settings, sent: signal.Signals, where: str
) -> None:
    with pytest.raises(KeyboardInterrupt), open_instance(settings) as instance:
        execute(graph(sent, where), instance, RUN, console_of_errors(), targets=[])


def test_a_step_that_fails_by_itself_is_no_interrupt(settings: Settings) -> None:
    said = "thing: the step fails by itself"
    with pytest.raises(WeatherError, match=said), open_instance(settings) as instance:
        execute(graph(signal.SIGINT, "nowhere"), instance, RUN, console_of_errors(), targets=[])


def test_what_dagster_raises_of_a_signal_outside_of_a_run_is_ctrl_c(settings: Settings) -> None:
    with pytest.raises(KeyboardInterrupt), open_instance(settings):
        raise DagsterExecutionInterruptedError


def test_a_run_belongs_to_the_code_location_of_the_ui_and_names_its_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/weather", "watch", "--month", "2015-05", "a b"])
    with open_instance(settings) as instance:
        with pytest.raises(WeatherError):
            execute(graph(signal.SIGINT, "nowhere"), instance, RUN, console_of_errors(), targets=[])
        [run] = instance.get_runs(
            dg.RunsFilter(
                tags={COMMAND_TAG: "weather watch --month 2015-05 'a b'", LABEL: "__repository__@weather_platform"}
            )
        )
    assert run.remote_job_origin is not None
    assert run.tags["dagster/max_retries"] == "0", "a command that was killed is not run again by the daemon"
    assert (run.remote_job_origin.job_name, run.remote_job_origin.location_name) == ("watch", "weather_platform")
