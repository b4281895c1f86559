"""The client and the commands that ask a service, against a real one."""

import re
import time
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.client import ServiceError, StationDay, WeatherClient
from weather_platform.domain.feature_table import OBSERVED
from weather_platform.domain.targets import TARGETS
from weather_platform.serving.auth import USERS_EVERY_SECONDS
from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.serving.homes import eventually
from weather_platform_tests.serving.servers import (
    PASSWORD,
    READY_SECONDS,
    Server,
    add_user,
    free_port,
    is_ready,
    one_worker,
)
from weather_platform_tests.small_models import TARGET

NEWEST = date(2015, 6, 30)
VALUES = "max_temp_tomorrow"


def batch(home: MadeHome, target: str = TARGET) -> dict[str, dict[str, Any]]:
    """The stored forecasts of the newest day by station."""
    return {row["station"]: row for row in home.database.forecasts(target, NEWEST, NEWEST).to_pylist()}


def observed(home: MadeHome) -> pa.Table:
    """What the stations reported for the newest day."""
    return home.lake.snapshot("observations").read(columns=[*OBSERVED], where=pc.field("day") == NEWEST)


def test_every_call_for_a_forecast_gives_the_forecast_of_the_batch(server: Server) -> None:
    expected, rows = batch(server.home), observed(server.home)
    days: list[StationDay] = rows.to_pylist()
    with server.typed_client() as client:
        for day in days[:3]:
            fields: Any = {name: value for name, value in day.items() if name not in ("station", "day")}
            single = client.predict(TARGET, day["station"], NEWEST, fields)
            assert (single.probability, single.label, single.threshold, single.kind) == tuple(
                expected[day["station"]][name] for name in ("probability", "label", "threshold", "kind")
            )
            assert client.explain(TARGET, day["station"], NEWEST, fields).probability == single.probability
        together = client.predict_batch(TARGET, days)
        assert [each.probability for each in together.forecasts] == [
            expected[day["station"]]["probability"] for day in days
        ]
        table = client.predict_table(TARGET, rows)
        assert table["probability"].to_pylist() == [each.probability for each in together.forecasts]
        stored = client.forecast(days[0]["station"], NEWEST)
        assert {each.target for each in stored.forecasts} == set(TARGETS)
        value = next(each for each in stored.forecasts if each.target == VALUES)
        row = batch(server.home, VALUES)[value.station]
        assert (value.value, value.low, value.high) == (row["value"], row["value_low"], row["value_high"])
        assert client.forecast(days[0]["station"], target=VALUES).forecasts == (value,)


def test_contributions_add_up_to_what_the_model_says(server: Server) -> None:
    with server.typed_client() as client:
        station = next(iter(batch(server.home)))
        explained = client.explain(VALUES, station, NEWEST)
    total = explained.base + sum(each.contribution for each in explained.contributions)
    assert total == pytest.approx(explained.raw_value, abs=1e-3)


def test_missing_values_are_sent_as_null_whether_they_are_none_or_nan(server: Server) -> None:
    with server.typed_client() as client:
        station = next(iter(batch(server.home)))
        answers = [
            client.predict(TARGET, station, NEWEST, {"humidity_3pm_pct": missing}).probability
            for missing in (None, float("nan"))
        ]
        assert answers[0] == answers[1]
        assert answers[0] != client.predict(TARGET, station, NEWEST).probability


def test_the_client_knows_what_is_served_and_for_which_stations(server: Server) -> None:
    with server.typed_client() as client:
        stations, models = client.stations(), client.models()
    assert stations.last_day == NEWEST
    assert {each.id for each in stations.stations} >= set(batch(server.home))
    assert {(each.target, each.alias, each.version) for each in models.models} == {
        (target, "Production", server.home.registry.production(target).version) for target in TARGETS
    }


def test_a_refusal_has_its_status_and_names_every_faulty_field(server: Server) -> None:
    with server.typed_client() as client, pytest.raises(ServiceError) as caught:
        client.predict(TARGET, "Sydney", NEWEST, {"humidity_9am_pct": 180.0, "rainfall_mm": -1.0})
    assert caught.value.status == 422
    assert {each.path for each in caught.value.errors} == {"observation.humidity_9am_pct", "observation.rainfall_mm"}
    assert "\n" not in str(caught.value)
    assert "observation.rainfall_mm: " in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_wrong_password_is_refused_and_is_in_no_message(server: Server) -> None:
    with server.typed_client("not the password at all") as client, pytest.raises(ServiceError) as caught:
        client.stations()
    assert caught.value.status == 401
    assert "not the password" not in str(caught.value) + repr(client)


def test_where_nothing_listens_the_error_has_no_status_and_says_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = rf"no answer from {url} .*`weather serve`"
    with WeatherClient(url, "ada", PASSWORD) as client, pytest.raises(ServiceError, match=said) as caught:
        client.stations()
    assert caught.value.status is None


def test_a_token_that_the_service_refuses_before_its_time_is_replaced_by_another(server: Server) -> None:
    add_user(server.home, "eve", "predict")
    with WeatherClient(server.url, "eve", PASSWORD) as client, closing(server.home.database) as database:
        client.stations()
        before = client.token()
        assert client.token() == before, "a token is used as long as it is valid"
        database.set_user_disabled("eve", False)  # ends all tokens, and lets eve in again
        give_up = time.monotonic() + 4 * USERS_EVERY_SECONDS
        while client.token() == before and time.monotonic() < give_up:
            client.stations()
            time.sleep(0.2)
        assert client.token() != before


def test_a_prediction_from_stored_observations_is_printed_for_every_target(server: Server) -> None:
    station, row = next(iter(batch(server.home).items()))
    done = server.home.call("predict", station, **server.settings())
    assert done.code == 0, done.err
    assert f"{station}: issued 2015-06-30, for 2015-07-01" in done.out
    assert f"{row['probability']:.2f} probability" in done.out
    value = batch(server.home, VALUES)[station]
    assert f"90 %: {value['value_low']:.1f} to {value['value_high']:.1f}" in done.out


def test_an_observation_that_is_given_goes_before_the_stored_one(server: Server) -> None:
    station = next(iter(batch(server.home)))
    said = [
        server.home.call("predict", station, "--target", TARGET, *more, **server.settings())
        for more in ([], ["--observed", "humidity_3pm_pct=100"], ["--observed", "humidity_3pm_pct="])
    ]
    assert [done.code for done in said] == [0, 0, 0]
    assert said[0].out != said[1].out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["Atlantis"], r"weather: the service answered 4\d\d: .*Atlantis"),
        (["Sydney", "--observed", "humidity=3"], "weather: 'humidity=3' is no NAME=VALUE of an observed column"),
        (["Sydney", "--observed", "rain_today=wet"], "weather: rain_today takes true or false, not 'wet'"),
        (["Sydney", "--observed", "humidity_3pm_pct=wet"], "weather: humidity_3pm_pct takes a number, not 'wet'"),
    ],
)
def test_what_cannot_be_predicted_is_said_in_one_line(server: Server, arguments: list[str], line: str) -> None:
    done = server.home.call("predict", *arguments, **server.settings())
    assert done.code == 1
    assert len(done.lines) == 1
    assert re.match(line, done.lines[0]), done.lines


def test_a_day_that_is_none_is_a_wrong_use(server: Server) -> None:
    done = server.home.call("predict", "Sydney", "--date", "soon", **server.settings())
    assert done.code == 2
    assert "'soon' is not a day" in done.err


def test_without_a_terminal_nobody_is_asked_for_a_password(tmp_path: Path) -> None:
    done = empty_home(tmp_path / "home").call("predict", "Sydney")
    assert done.code == 1
    assert done.err == "weather: nobody to sign in as: set WEATHER_USER and WEATHER_PASSWORD, or run on a terminal\n"


@pytest.mark.parametrize("arguments", [["--connections", "4"], ["--rate", "20", "--target", VALUES]])
def test_a_load_test_of_a_sound_service_ends_well_with_its_figures(
    server: Server, tmp_path: Path, arguments: list[str]
) -> None:
    # However fast the machine: without --rate a user would meet the limit of the service.
    with one_worker(server.home, tmp_path, WEATHER_RATE_LIMIT_PER_SECOND="1000000") as unlimited:
        eventually(lambda: is_ready(unlimited), "the models", READY_SECONDS)
        done = server.home.call("loadtest", "--seconds", "1.5", "--url", unlimited, *arguments, **server.settings())
    assert done.code == 0, done.err
    assert re.search(r"^[\d,]+ req/s, p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms$", done.out, re.MULTILINE)
    assert re.search(r"^[\d,]+ requests in \d\.\d s over \d connections, 0 errors$", done.out, re.MULTILINE)


def test_a_load_test_keeps_to_its_rate(server: Server) -> None:
    done = server.home.call("loadtest", "--seconds", "3", "--rate", "10", **server.settings())
    found = re.search(r"^(\d+) requests in", done.out, re.MULTILINE)
    assert found
    assert 25 <= int(found[1]) <= 31


def test_a_load_test_with_errors_ends_with_code_1_and_says_which(server: Server, tmp_path: Path) -> None:
    with one_worker(server.home, tmp_path, WEATHER_RATE_LIMIT_PER_SECOND="5") as slow:
        eventually(lambda: is_ready(slow), "the models", READY_SECONDS)
        done = server.home.call("loadtest", "--seconds", "2", "--url", slow, **server.settings())
    assert done.code == 1
    assert re.search(r"weather: \d+ of \d+ requests failed: 429 .*; ask for less with --rate", done.lines[-1]), done.err


def test_a_load_test_of_nothing_ends_with_code_1(server: Server) -> None:
    done = server.home.call("loadtest", "--url", f"http://127.0.0.1:{free_port()}", **server.settings())
    assert done.code == 1
    assert "no answer from" in done.err
