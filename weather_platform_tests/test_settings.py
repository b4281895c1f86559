"""Settings: where each one comes from, every refusal firing and not firing, and secrets that are never shown."""

import os
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from dagster import DagsterInstance
from pydantic import SecretStr

from weather_platform.cli.home import dagster_home
from weather_platform.errors import SettingsError
from weather_platform.resources.mlflow_client import ensure_experiment, mlflow_client
from weather_platform.resources.reports import ReportStore
from weather_platform.settings import Settings, load_settings, remember_source, synthetic_days
from weather_platform.stores import application_database, lake_uri, mlflow_tracking_uri, open_lake

SECRET = "correct-horse"  # noqa: S105
STACK = {
    "WEATHER_PROFILE": "stack",
    "WEATHER_LAKE_URI": "s3://lake/weather",
    "WEATHER_REPORTS_URI": "s3://reports/weather",
    "WEATHER_S3_ACCESS_KEY_ID": f"id-{SECRET}",
    "WEATHER_S3_SECRET_ACCESS_KEY": f"key-{SECRET}",
    "WEATHER_MLFLOW_TRACKING_URI": f"http://weather:{SECRET}@127.0.0.1:5000",
    "WEATHER_DATABASE_URL": f"postgresql://weather:{SECRET}@127.0.0.1/weather",
}


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WEATHER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WEATHER_HOME", str(tmp_path / "home"))


def _remembered(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weather.env").write_text(text)


def _refusal(**overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None, "the cause would show the values that were given"
    return str(caught.value)


def test_without_any_setting_the_platform_is_embedded_synthetic_and_in_sydney(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WEATHER_HOME")
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.profile, settings.source, settings.timezone) == ("embedded", "synthetic", "Australia/Sydney")
    assert settings.home == tmp_path / ".weather"
    assert not settings.home.exists(), "loading settings writes nothing"


@pytest.mark.parametrize(
    ("name", "good", "bad", "said"),
    [
        ("PROFILE", "embedded", "cloud", "Input should be 'embedded' or 'stack'"),
        ("TIMEZONE", "Australia/Perth", "Australia/Atlantis", "not a time zone; use a name such as Australia/Sydney"),
        ("TIMEZONE", "UTC", "../etc/passwd", "not a time zone"),
        ("FIRST_MONTH", "2010-12", "2010-13", "should match pattern"),
        ("FIRST_MONTH", "2010-01", "2010-1", "should match pattern"),
        ("FIRST_MONTH", "1700-01", "1699-12", "too early; the first month is 1700-01 or later"),
        ("FIRST_MONTH", "1908-05", "0000-05", "'0000-05' is too early"),
        ("SEED", "0", "-1", "greater than or equal to 0"),
        ("SEED", str(2**31 - 1), str(2**31), "less than"),
        ("SEED", "7", "seven", "valid integer"),
        ("THREADS", "1", "0", "greater than or equal to 1"),
        ("THREADS", "256", "257", "less than or equal to 256"),
        ("SOURCE", "synthetic", "radar", "Input should be 'synthetic' or 'csv'"),
        ("SYNTHETIC_SEED", "1", "-1", "greater than or equal to 0"),
        ("SYNTHETIC_STATIONS", "1", "0", "greater than or equal to 1"),
        ("SYNTHETIC_STATIONS", "20000", "20001", "less than or equal to 20000"),
        ("SYNTHETIC_YEARS", "3", "2", "greater than or equal to 3"),
        ("SYNTHETIC_YEARS", "200", "201", "less than or equal to 200"),
        ("SYNTHETIC_LAST_DAY", "2015-06-30", "2015-06-31", "date"),
        ("SYNTHETIC_SHIFT_DAY", "2015-06-30", "soon", "date"),
        ("SYNTHETIC_SHIFT_TEMP_C", "-9", "-9.1", "greater than or equal to -9"),
        ("SYNTHETIC_SHIFT_TEMP_C", "9", "9.1", "less than or equal to 9"),
        ("SYNTHETIC_SHIFT_RAIN_FACTOR", "0.1", "0", "greater than or equal to 0.1"),
        ("SYNTHETIC_SHIFT_RAIN_FACTOR", "10", "11", "less than or equal to 10"),
        ("JWT_ISSUER", "us", "", "at least 1 character"),
        ("JWT_AUDIENCE", "them", "", "at least 1 character"),
        ("JWT_LIFETIME_SECONDS", "30", "29", "greater than or equal to 30"),
        ("JWT_LIFETIME_SECONDS", "900", "901", "less than or equal to 900"),
        ("RATE_LIMIT_PER_SECOND", "0.5", "0", "greater than 0"),
        ("RATE_LIMIT_PER_SECOND", "1000000", "1000001", "less than or equal to 1000000"),
    ],
)
def test_a_value_outside_its_bounds_is_refused_by_name_and_one_inside_is_taken(
    monkeypatch: pytest.MonkeyPatch, name: str, good: str, bad: str, said: str
) -> None:
    monkeypatch.setenv(f"WEATHER_{name}", good)
    load_settings()
    monkeypatch.setenv(f"WEATHER_{name}", bad)
    message = _refusal()
    assert message.startswith(f"WEATHER_{name}: ")
    assert said in message


def test_every_value_at_fault_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_SEED", "-1")
    monkeypatch.setenv("WEATHER_THREADS", "0")
    message = _refusal()
    assert "WEATHER_SEED: " in message
    assert "WEATHER_THREADS: " in message


@pytest.mark.parametrize(
    "name", ["WEATHER_THREAD", "WEATHER_HOMES", "WEATHER_", "weather_thread", "Weather_Homes", "weather_"]
)
def test_a_setting_that_does_not_exist_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert _refusal().startswith(f"{name}: no such setting")


def test_a_remembered_setting_that_does_not_exist_is_refused_too(tmp_path: Path) -> None:
    _remembered(tmp_path / "home", "WEATHER_SYNTHETIC_STATION=12\n")
    assert "SYNTHETIC_STATION" in _refusal().upper()


def test_the_case_of_a_name_is_nothing_to_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("weather_seed", "5")
    monkeypatch.setenv("weather_home", str(tmp_path / "other"))
    assert (load_settings().seed, load_settings().home) == (5, tmp_path / "home"), "WEATHER_HOME is set too, and wins"
    monkeypatch.delenv("WEATHER_HOME")
    assert load_settings().home == tmp_path / "other"


def test_other_programs_variables_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHERMAN", "1")
    monkeypatch.setenv("SEED", "not a number")
    load_settings()


def test_the_csv_source_needs_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_SOURCE", "csv")
    assert "the csv source needs WEATHER_CSV_PATH (or --path)" in _refusal()
    monkeypatch.setenv("WEATHER_CSV_PATH", "")
    assert "the csv source needs WEATHER_CSV_PATH (or --path)" in _refusal()
    monkeypatch.setenv("WEATHER_CSV_PATH", "rows.csv")
    assert load_settings().csv_path == Path.cwd() / "rows.csv"


def test_the_stack_needs_every_server_and_names_those_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STACK.items():
        monkeypatch.setenv(name, value)
    assert load_settings().profile == "stack"
    for name in STACK:
        if name == "WEATHER_PROFILE":
            continue
        with monkeypatch.context() as patched:
            patched.delenv(name)
            assert _refusal() == f"the stack profile needs {name}"
    for name in STACK:
        if name != "WEATHER_PROFILE":
            monkeypatch.delenv(name)
    message = _refusal()
    assert all(name in message for name in STACK if name != "WEATHER_PROFILE")


@pytest.mark.parametrize("empty", ["", "  "])
@pytest.mark.parametrize("name", [name for name in STACK if name != "WEATHER_PROFILE"])
def test_an_empty_server_setting_is_an_absent_one_for_both_profiles(
    monkeypatch: pytest.MonkeyPatch, name: str, empty: str
) -> None:
    with monkeypatch.context() as patched:
        for each, value in STACK.items():
            patched.setenv(each, value)
        patched.setenv(name, empty)
        assert _refusal() == f"the stack profile needs {name}"
    monkeypatch.setenv(name, empty)
    assert load_settings().profile == "embedded"


def test_an_empty_s3_endpoint_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STACK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEATHER_S3_ENDPOINT_URL", "")
    assert load_settings().s3_endpoint_url is None
    monkeypatch.setenv("WEATHER_S3_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert load_settings().s3_endpoint_url == "http://127.0.0.1:9000"


def test_a_store_of_the_stack_that_settings_let_through_empty_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path).model_copy(
        update={"lake_uri": "", "reports_uri": "", "mlflow_tracking_uri": SecretStr("")}
    )
    assert (lake_uri(settings), mlflow_tracking_uri(settings), ReportStore.from_settings(settings).uri) == ("", "", "")


@pytest.mark.parametrize("name", ["WEATHER_LAKE_URI", "WEATHER_REPORTS_URI"])
def test_the_address_of_a_store_is_a_bucket_or_a_folder_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    for each, value in STACK.items():
        monkeypatch.setenv(each, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    field = name.removeprefix("WEATHER_").lower()
    for given, taken in {
        "s3://lake": "s3://lake",
        "s3://lake.of-us/a/b c": "s3://lake.of-us/a/b c",
        "here/lake": str(tmp_path / "here" / "lake"),
        "~/lake": str(tmp_path / "me" / "lake"),
        "/srv/lake": "/srv/lake",
    }.items():
        monkeypatch.setenv(name, given)
        assert getattr(load_settings(), field) == taken
    for given, said in {
        f"s3a://id:{SECRET}@lake/weather": "s3a:// is not understood; write a folder or s3://bucket/prefix",
        "gs://lake/weather": "gs:// is not understood",
        "S3://lake": "S3:// is not understood",
        "file:///srv/lake": "file:// is not understood",
        "s3:/lake": "s3:// takes a bucket and a prefix alone",
        "s3:///weather": "s3:// takes a bucket and a prefix alone",
        f"s3://id:{SECRET}@lake/weather": "s3:// takes a bucket and a prefix alone",
        f"s3://lake/weather?key={SECRET}": "s3:// takes a bucket and a prefix alone, without ?, # and %",
        "lake#2": "has the character '#' in it",
    }.items():
        monkeypatch.setenv(name, given)
        message = _refusal()
        assert message.startswith(f"{name}: ")
        assert said in message
        assert SECRET not in message


@pytest.mark.parametrize("character", ["?", "#", "%", "\\", "\n"])
def test_a_home_that_stores_would_look_for_elsewhere_is_refused_by_its_character(
    tmp_path: Path, character: str
) -> None:
    message = _refusal(home=tmp_path / f"a{character}b")
    assert message.startswith("WEATHER_HOME: ")
    assert f"has the character {character!r} in it" in message
    assert "rename the folder or choose another, without ?, #, % and \\" in message


def test_a_home_of_other_odd_characters_holds_its_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)  # opening a home sets it for the whole process
    home = tmp_path / "a 'b' \"c\" [d] {e} & +@=:;,$~ü"
    settings = load_settings(home=home)
    open_lake(settings).replace_table("stations", pa.table({"id": ["Albury"]}))
    with closing(application_database(settings)) as database:
        database.migrate()
    client = mlflow_client(mlflow_tracking_uri(settings))
    run = client.create_run(ensure_experiment(client, mlflow_tracking_uri(settings), "weather"))
    client.log_text(run.info.run_id, "a card", "card.md")
    with DagsterInstance.local_temp(str(dagster_home(settings))) as instance:
        assert instance.get_runs_count() == 0
    assert open_lake(settings).read("stations")["id"].to_pylist() == ["Albury"]
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["card.md"]
    assert [path.name for path in tmp_path.iterdir()] == [home.name]
    assert {path.name for path in home.iterdir()} >= {"lake", "weather.db", "mlflow.db", "mlflow_artifacts", "dagster"}


def test_the_password_of_mlflow_is_refused_where_it_could_not_be_told_from_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in STACK.items():
        monkeypatch.setenv(name, value)
    for good in ("http://u:p%2Fw@h:5000/mlflow", "https://h/mlflow", "sqlite:////srv/me@work/mlflow.db"):
        monkeypatch.setenv("WEATHER_MLFLOW_TRACKING_URI", good)
        assert mlflow_tracking_uri(load_settings()) == good
    for sign in "/?#[":
        monkeypatch.setenv("WEATHER_MLFLOW_TRACKING_URI", f"http://u:{SECRET}{sign}w@h:5000")
        message = _refusal()
        assert message.startswith("WEATHER_MLFLOW_TRACKING_URI: ")
        assert "of a user name or password as %2F %3F %23" in message
        assert SECRET not in message


@pytest.mark.parametrize("name", [name for name in STACK if name != "WEATHER_PROFILE"])
def test_the_embedded_profile_refuses_each_setting_of_a_server(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, STACK[name])
    message = _refusal()
    assert message == f"{name} belong to WEATHER_PROFILE=stack, and the profile is embedded"


def test_secrets_show_in_no_text_of_the_settings_and_in_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STACK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEATHER_JWT_SECRET", f"signs-{SECRET}")
    monkeypatch.setenv("WEATHER_JWT_PREVIOUS_SECRETS", f"signed-{SECRET},before-{SECRET}")
    settings = load_settings()
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in text
    assert settings.database_url is not None
    assert SECRET in settings.database_url.get_secret_value()
    monkeypatch.setenv("WEATHER_PROFILE", "embedded")
    assert SECRET not in _refusal()
    monkeypatch.setenv("WEATHER_PROFILE", "stack")
    monkeypatch.setenv("WEATHER_SEED", "-1")
    assert SECRET not in _refusal()


def test_secrets_are_never_written_to_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STACK.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    remember_source(settings)
    assert SECRET not in (settings.home / "weather.env").read_text()


def test_paths_are_absolute_whatever_the_folder_they_were_given_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEATHER_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    settings = load_settings(source="csv", csv_path=Path("~/rows"))
    assert (settings.home, settings.csv_path) == (tmp_path / "here", tmp_path / "me" / "rows")


@pytest.mark.parametrize("name", ["HOME", "CSV_PATH", "JWT_KEY_FILE", "LAKE_URI"])
def test_a_path_in_the_home_of_nobody_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"WEATHER_{name}", "~nobody at all/here")
    assert _refusal() == (
        f"WEATHER_{name}: '~nobody at all/here' begins with the home of a user that does not exist; "
        "write the whole path"
    )


def test_a_remembered_choice_that_is_no_text_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    remembered = tmp_path / "home" / "weather.env"
    _remembered(remembered.parent, "")
    remembered.write_bytes(b"WEATHER_SOURCE=csv # caf\xe9\n")
    assert _refusal().startswith(f"{remembered} is no text in UTF-8 (byte 24); mend it, or delete it")
    remembered.unlink()
    assert " cannot be read: File name too long" in _refusal(home=tmp_path / ("x" * 300))


def test_the_source_is_remembered_for_the_next_process(tmp_path: Path) -> None:
    chosen = load_settings(
        source="csv", csv_path=tmp_path / "a folder, with 'odd' \"signs\", \\ and #1", synthetic_stations=12,
        synthetic_last_day=date(2015, 6, 30),
    )  # fmt: skip
    remember_source(chosen)
    again = load_settings()
    assert again == chosen
    remember_source(again)
    assert [path.name for path in chosen.home.iterdir()] == ["weather.env"], "no scratch file is left"


@pytest.mark.parametrize("name", ["${HOME}", "a${b:-c}d", "${", "${:-$}{HOME}", "${A:-${B}}", "$HOME"])
def test_a_path_that_reads_like_a_variable_is_remembered_as_it_is(tmp_path: Path, name: str) -> None:
    remember_source(load_settings(source="csv", csv_path=tmp_path / name))
    assert load_settings().csv_path == tmp_path / name


def test_input_inside_the_home_is_found_there_after_the_home_was_moved(tmp_path: Path) -> None:
    for place in ("rows.csv", "home/rows", "home"):
        remember_source(load_settings(source="csv", csv_path=tmp_path / place))
        assert load_settings().csv_path == tmp_path / place
    remember_source(load_settings(source="csv", csv_path=tmp_path / "home" / "rows"))
    (tmp_path / "home").rename(tmp_path / "moved")
    assert load_settings(home=tmp_path / "moved").csv_path == tmp_path / "moved" / "rows"


def test_a_remembered_choice_can_be_taken_back(tmp_path: Path) -> None:
    remember_source(load_settings(source="csv", csv_path=tmp_path / "rows.csv"))
    remember_source(load_settings(source="synthetic"))
    assert load_settings().source == "synthetic"


def test_the_environment_wins_over_what_was_remembered_and_the_command_line_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _remembered(tmp_path / "home", "WEATHER_SYNTHETIC_STATIONS=12\nWEATHER_SYNTHETIC_SEED=5\n")
    assert (load_settings().synthetic_stations, load_settings().synthetic_seed) == (12, 5)
    monkeypatch.setenv("WEATHER_SYNTHETIC_STATIONS", "20")
    assert (load_settings().synthetic_stations, load_settings().synthetic_seed) == (20, 5)
    assert load_settings(synthetic_stations=30).synthetic_stations == 30


def test_what_one_home_remembers_is_nothing_to_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _remembered(tmp_path / "home", "WEATHER_SYNTHETIC_STATIONS=12\n")
    monkeypatch.setenv("WEATHER_HOME", str(tmp_path / "other"))
    assert load_settings().synthetic_stations == 49


def test_only_the_source_is_remembered(tmp_path: Path) -> None:
    settings = load_settings(seed=5, threads=1, synthetic_seed=9)
    remember_source(settings)
    text = (settings.home / "weather.env").read_text()
    assert "WEATHER_SYNTHETIC_SEED='9'" in text
    assert not [line for line in text.splitlines() if not line.startswith(("WEATHER_SYNTHETIC_", "WEATHER_SOURCE"))]


def test_settings_cannot_be_changed_after_they_were_loaded() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "days"),
    [
        ({"synthetic_years": 4}, (date(2012, 1, 1), date(2015, 6, 30))),
        ({"synthetic_years": 4, "synthetic_last_day": date(2014, 12, 31)}, (date(2011, 1, 1), date(2014, 12, 31))),
        ({"synthetic_years": 200}, (date(2007, 11, 1), date(2015, 6, 30))),  # never before the first month
        ({"synthetic_years": 3, "first_month": "2014-03"}, (date(2014, 3, 1), date(2015, 6, 30))),
    ],
)
def test_the_synthetic_days_end_yesterday_and_begin_with_a_year(
    settings: dict[str, Any], days: tuple[date, date]
) -> None:
    fetched_at = datetime(2015, 7, 1, 0, 30, tzinfo=ZoneInfo("Australia/Sydney"))
    assert synthetic_days(load_settings(**settings), fetched_at) == days


def test_now_is_told_in_the_platforms_time_zone() -> None:
    settings = Settings(timezone="Australia/Perth")
    assert settings.now().tzinfo == ZoneInfo("Australia/Perth")


HOOK = f"https://discord.com/api/webhooks/1/{SECRET}"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f'[{{"name": "team", "url": "{HOOK}"', ": this is no JSON, character "),
        (f'{{"name": "team", "url": "{HOOK}"}}', ": Input should be a valid tuple"),
        (f'[{{"name": "team", "url": "file:///etc/{SECRET}"}}]', "[0].url: write the webhook address"),
        (f'[{{"name": "team", "url": "https://example.org/{SECRET}"}}]', "[0].url: write the webhook address"),
        (f'[{{"name": "team", "url": "{HOOK}", "kind": ["drift"]}}]', "[0].kind: Extra inputs are not permitted"),
        (f'[{{"name": "team", "url": "{HOOK}", "kinds": ["weather"]}}]', "[0].kinds[0]: Input should be 'run_failed'"),
        (f'[{{"name": "team", "url": "{HOOK}", "at_least": "high"}}]', "[0].at_least: Input should be 'info', 'warni"),
        (f'[{{"name": "a team", "url": "{HOOK}"}}]', "[0].name: String should match pattern"),
        (f'[{{"url": "{HOOK}"}}]', "[0].name: Field required"),
        (f'[{{"name": "a", "url": "{HOOK}"}}, {{"name": "a", "url": "{HOOK}"}}]', ": two channels have the name a"),
    ],
)
def test_a_channel_that_cannot_be_understood_is_named_without_its_address(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("WEATHER_NOTIFY_CHANNELS", value)
    message = _refusal()
    assert message.startswith(f"WEATHER_NOTIFY_CHANNELS{said}")
    assert SECRET not in message
    assert "\n" not in message


def test_channels_are_read_from_the_file_of_the_home_and_shown_in_no_text(tmp_path: Path) -> None:
    _remembered(
        tmp_path / "home",
        f"""WEATHER_NOTIFY_CHANNELS='[{{"name": "team", "url": "{HOOK}", "kinds": ["drift"]}}]'\n"""
        "WEATHER_NOTIFY_QUIET_HOURS=22:00-07:00\nWEATHER_NOTIFY_DIGEST_AT=07:30\n",
    )
    settings = load_settings()
    [channel] = settings.notify_channels
    assert (channel.name, channel.url.get_secret_value()) == ("team", HOOK)
    for text in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in text


@pytest.mark.parametrize("hours", ["22-7", "22:00-24:00", "22:00", "night"])
def test_quiet_hours_are_two_times_of_the_day(monkeypatch: pytest.MonkeyPatch, hours: str) -> None:
    monkeypatch.setenv("WEATHER_NOTIFY_QUIET_HOURS", hours)
    assert _refusal().startswith("WEATHER_NOTIFY_QUIET_HOURS: String should match pattern")


def test_what_a_person_wrote_to_the_file_of_the_home_stays_when_the_source_is_remembered(tmp_path: Path) -> None:
    by_hand = (
        "# our channels\n"
        f"""WEATHER_NOTIFY_CHANNELS='[{{"name": "team",\n "url": "{HOOK}"}}]'\n\nexport weather_seed=5"""
    )
    _remembered(tmp_path / "home", f"WEATHER_QUICK=True\nWEATHER_SYNTHETIC_STATIONS='12'\n{by_hand}")
    remember_source(load_settings(synthetic_stations=13, quick=False))
    text = (tmp_path / "home" / "weather.env").read_text()
    assert by_hand in text
    assert "QUICK" not in text
    again = load_settings()
    assert (again.seed, again.synthetic_stations, len(again.notify_channels)) == (5, 13, 1)
    remember_source(again)
    assert (tmp_path / "home" / "weather.env").read_text() == text, "and nothing grows"
