"""The asset and the checks of stage endpoint, firing and not firing, against a real service that follows its own home.

To fire, they are asked about another home, a copy in which the alias or a stored forecast differs.
"""

import math
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from weather_platform.build import build_definitions
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import SettingsError
from weather_platform.resources import endpoint as resource
from weather_platform.resources.registry import Audit, RegisteredModel
from weather_platform.settings import load_settings
from weather_platform_tests.e2e.homes import MadeHome, copied
from weather_platform_tests.serving.servers import PASSWORD, Server
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import evaluations, failing, made

KEY = dg.AssetKey([TARGET, "endpoint"])
NEWEST = date(2015, 6, 30)
AUDIT = Audit(decision_id=None, reason="for a test", dagster_run_id="run-1", changed_at=datetime.now(UTC))


@pytest.fixture
def other(first: MadeHome, tmp_path: Path) -> MadeHome:
    """A copy of the home that the service knows nothing of."""
    return copied(first, tmp_path / "home")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing will come that is worth waiting for."""
    monkeypatch.setattr(resource, "_CATCH_UP_SECONDS", 0.0)


def run(server: Server, home: MadeHome, targets: tuple[str, ...] = (TARGET,)) -> dg.ExecuteInProcessResult:
    """Run the job for some targets on a home, with this service as the one that runs."""
    settings = load_settings(home=home.folder, endpoint_url=server.url, user="ada", password=PASSWORD)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return (
        build_definitions(settings)
        .resolve_job_def("endpoint")
        .execute_in_process(
            instance=dg.DagsterInstance.ephemeral(),
            asset_selection=[dg.AssetKey([target, "endpoint"]) for target in targets],
            run_config=quiet,
            raise_on_error=False,
        )
    )


def promote_another(home: MadeHome) -> RegisteredModel:
    """Move the alias of a home to a second version."""
    current = home.registry.production(TARGET)
    board = home.database.leaderboard(TARGET, int(current.tags["year"]))
    run_id = next(entry.run_id for entry in board if entry.run_id and entry.run_id != current.run_id)
    second = home.registry.register(home.registry.reference(run_id))
    return home.registry.move_production(TARGET, second.version, current.version, AUDIT).production


def change_one_bit(home: MadeHome, target: str, column: str) -> tuple[str, float]:
    """Move the first stored forecast of the newest day by one bit; which station's, and what it was."""
    model = home.registry.production(target)
    stored = resource.newest_forecasts(home.database, model)
    station, was, day = stored["station"][0].as_py(), stored[column][0].as_py(), stored["day"][0].as_py()
    moved = pa.array([math.nextafter(was, 0.5), *stored[column].to_pylist()[1:]], pa.float64())
    changed = stored.set_column(stored.schema.get_field_index(column), column, moved)
    home.database.replace_forecasts(target, model.version, day, day, changed.cast(stored.schema))
    return station, was


def test_a_service_that_follows_the_alias_and_says_what_the_batch_says_has_no_fault(server: Server) -> None:
    done = run(server, server.home, tuple(TARGETS))
    assert done.success
    for target in TARGETS:
        key = dg.AssetKey([target, "endpoint"])
        assert key.to_user_string() in made(done)
        assert all(
            each.passed and each.blocking for each in done.get_asset_check_evaluations() if each.asset_key == key
        )
        [materialization] = done.asset_materializations_for_node(f"{target}__endpoint")
        said = {name: value.value for name, value in materialization.metadata.items()}
        model = server.home.registry.production(target)
        assert (said["served_version"], said["served_sha256"], said["alias_version"]) == (
            model.version, model.digest, model.version,
        )  # fmt: skip
        assert (said["day"], said["answers_unlike_the_batch"]) == ("2015-06-30", 0)
        assert said["rows"] == server.home.database.forecasts(target, NEWEST, NEWEST).num_rows


def test_an_alias_that_the_service_does_not_serve_is_a_fault(server: Server, other: MadeHome, impatient: None) -> None:
    served, promoted = other.registry.production(TARGET), promote_another(other)
    rows = other.database.forecasts(TARGET, NEWEST, NEWEST)
    for name, value in (("model_version", promoted.version), ("model_digest", promoted.digest)):
        field = rows.schema.field(name)
        column = pa.repeat(value, rows.num_rows).cast(field.type)
        rows = rows.set_column(rows.schema.get_field_index(name), field, column)
    other.database.replace_forecasts(TARGET, promoted.version, NEWEST, NEWEST, rows)

    done = run(server, other)

    assert not done.success
    told = evaluations(done)["serves_the_alias"]
    assert (told.passed, told.blocking) == (False, True)
    assert failing(told) == {
        "Production": f"the service serves version {served.version} ({served.digest[:12]}), "
        f"and the alias is on version {promoted.version} ({promoted.digest[:12]})"
    }


@pytest.mark.parametrize(("target", "column"), [("rain_tomorrow", "probability"), ("max_temp_tomorrow", "value_high")])
def test_an_answer_that_differs_from_the_batch_in_one_bit_is_a_fault(
    server: Server, other: MadeHome, target: str, column: str
) -> None:
    station, was = change_one_bit(other, target, column)
    done = run(server, other, (target,))
    assert not done.success
    told = evaluations(done)
    assert told["serves_the_alias"].passed
    assert (told["equals_the_batch_forecast"].passed, told["equals_the_batch_forecast"].blocking) == (False, True)
    found = failing(told["equals_the_batch_forecast"])
    assert set(found) == {f"{station}, /v1/predict", f"{station}, /v1/predict/batch"}
    assert all(f" {was}, batch " in said for said in found.values())


def test_without_a_service_the_asset_and_its_checks_say_what_to_set(other: MadeHome) -> None:
    job = build_definitions(load_settings(home=other.folder)).resolve_job_def("endpoint")
    done = job.execute_in_process(instance=dg.DagsterInstance.ephemeral(), asset_selection=[KEY])
    said = (
        "no endpoint is configured: set WEATHER_ENDPOINT_URL, and WEATHER_USER and WEATHER_PASSWORD of one of its users"
    )
    [event] = done.get_asset_materialization_events()
    assert event.materialization.metadata["reason"].value == said
    told = evaluations(done)
    assert set(told) == {"serves_the_alias", "equals_the_batch_forecast"}
    for check in told.values():
        assert (check.passed, check.severity, failing(check)) == (False, dg.AssetCheckSeverity.WARN, {"endpoint": said})


def test_a_service_without_a_user_to_ask_as_is_an_error(other: MadeHome) -> None:
    settings = load_settings(home=other.folder, endpoint_url="http://127.0.0.1:1")
    job = build_definitions(settings).resolve_job_def("endpoint")
    with pytest.raises(SettingsError, match=r"^no service to ask: set WEATHER_ENDPOINT_URL, and WEATHER_USER and W"):
        job.execute_in_process(instance=dg.DagsterInstance.ephemeral(), asset_selection=[KEY])


def test_no_stage_of_weather_run_asks_the_service(other: MadeHome) -> None:
    definitions = build_definitions(other.settings)
    for job in ("ingest", "process", "learn", "forecast", "watch"):
        assert KEY not in definitions.resolve_job_def(job).asset_layer.executable_asset_keys
