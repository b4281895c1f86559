"""The commands and their arguments. Each one loads settings, calls one function, prints, and ends."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from weather_platform.cli.home import ready_dagster_home, tidy
from weather_platform.cli.progress import doing
from weather_platform.domain.forecast_days import FORECAST_DAYS
from weather_platform.errors import SourceError, WeatherError
from weather_platform.folders import take_home
from weather_platform.regular_files import DEVICE, kind_of, replace_file
from weather_platform.settings import Settings, SourceName, home_folder, load_settings

START = "Begin"
READ = "Look at forecasts and models"
KEEP = "Keep an eye on it"
SERVE = "Serve over HTTP"
"""Panels of `weather --help`, in the order in which the commands below name them."""

app = typer.Typer(
    name="weather",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

user_app = typer.Typer(name="user", help="Who may ask the endpoint.", no_args_is_help=True)
app.add_typer(user_app, rich_help_panel=SERVE)

stations_app = typer.Typer(
    name="stations", help="List the catalogue with the days that each station has; mask broken sensors."
)
app.add_typer(stations_app, rich_help_panel=READ)

model_app = typer.Typer(name="model", help="Carry a model to another home.", no_args_is_help=True)
app.add_typer(model_app, rich_help_panel=KEEP)

automation_app = typer.Typer(name="automation", help="What runs by itself, and why.")
app.add_typer(automation_app, rich_help_panel=KEEP)

DEMO_YEARS = 4
"""Calendar years of the demo: two and a half to train on, one to validate, 90 days to test."""


"""Newest days that a run forecasts unless it is told otherwise."""


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"weather_platform {metadata.version('weather-platform')}")
        raise typer.Exit


@app.callback()
def options_of_all(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_say_version)
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from for which no words were foreseen.")
    ] = False,
) -> None:
    """Forecast tomorrow's weather for every station, from raw observations to a promoted model."""
    context.ensure_object(dict)["traceback"] = traceback
    home = home_folder()
    if (closed := take_home(home)) is not None:
        typer.echo(f"weather: {closed}", err=True)
    tidy(home)


@app.command(rich_help_panel=START)
def demo(
    json_file: Annotated[
        Path | None,
        typer.Option("--json", dir_okay=False, writable=True, help="Write the results there as one JSON object."),
    ] = None,
) -> None:
    """Run the whole graph on a few years of synthetic weather: offline, no account, about a minute."""
    _run(load_settings(source="synthetic", synthetic_years=DEMO_YEARS, quick=True), [], [], FORECAST_DAYS, json_file)


@app.command(rich_help_panel=START)
def run(
    source: Annotated[
        SourceName | None, typer.Option(help="Where raw rows come from; kept for later commands.")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="File or folder of the csv source.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="Only this target (repeatable).")] = None,
    year: Annotated[list[int] | None, typer.Option(help="Test year (repeatable); default: the newest.")] = None,
    forecast_days: Annotated[int, typer.Option(min=1, max=366, help="Newest days that are forecast.")] = FORECAST_DAYS,
    quick: Annotated[
        bool | None,
        typer.Option("--quick/--no-quick", help="Train as quickly as the demo, or in full; kept for later commands."),
    ] = None,
    let_go: Annotated[
        bool, typer.Option("--let-go", help="Let go of stored station-days that the source no longer has.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", dir_okay=False, writable=True, help="Write the results there as one JSON object."),
    ] = None,
) -> None:
    """Run the whole graph: observations to a promoted model and forecasts.

    With too few days to train on, everything else is done, and it says how many are needed. The exit code is 1 then,
    and 0 when a model serves already, such as one that was imported.
    """
    if path is not None and source != "csv":
        raise typer.BadParameter("--path goes with --source csv")
    if source == "csv" and path is None:
        raise typer.BadParameter("--source csv needs --path, a file or a folder")
    overrides: dict[str, object] = {}
    if source is not None:
        overrides["source"] = source
    if path is not None:
        overrides["csv_path"] = path
    if quick is not None:
        overrides["quick"] = quick
    _run(load_settings(**overrides), target or [], year or [], forecast_days, json_file, let_go=let_go)


@app.command(rich_help_panel=START)
def update(
    let_go: Annotated[
        bool, typer.Option("--let-go", help="Let go of stored station-days that the source no longer has.")
    ] = False,
) -> None:
    """Bring in what is new in the source: new or changed months, their years, skill and forecasts. Trains nothing."""
    with doing("loading Dagster and the asset graph"):
        from weather_platform.cli.update import update as bring_in

    with _sigterm_like_ctrl_c(), _whole_when_interrupted():
        bring_in(load_settings(), FORECAST_DAYS, let_go=let_go)


@app.command(rich_help_panel=START)
def replay(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day that arrives.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day that arrives.")],
    into: Annotated[Path, typer.Option(file_okay=False, help="Folder of the replay's own home; made if need be.")],
    training: Annotated[
        bool, typer.Option("--training/--without-training", help="Carry out decisions to retrain.")
    ] = True,
) -> None:
    """Let past days arrive one by one in a home of their own, through the real sensors, and report what came of it."""
    with doing("loading Dagster and the asset graph"):
        from weather_platform.cli.replay import replay as run_replay

    with _sigterm_like_ctrl_c(), _whole_when_interrupted():
        run_replay(load_settings(), first.date(), last.date(), into, training=training)


@app.command(rich_help_panel=READ)
def forecast(
    station: Annotated[
        list[str] | None, typer.Option(help="Only this station (repeatable); case and blanks do not matter.")
    ] = None,
    date: Annotated[str | None, typer.Option(help="Issue day D, YYYY-MM-DD; default: the newest observed day.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="Only this target (repeatable).")] = None,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", dir_okay=False, writable=True, help="Draw the first target on a map there, as PNG."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, a record a station and target.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the same records as CSV.")] = False,
) -> None:
    """Print the Production models' forecasts of one issue day; makes them first if need be."""
    from weather_platform.cli.forecast import draw_map, find_forecast, print_for_programs, show_forecast

    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if map_file is not None:
        if map_file.suffix.lower() != ".png":
            raise typer.BadParameter(f"--map draws a PNG; give {map_file.name} the ending .png")
        _require_place(map_file, "--map")
    settings = load_settings()
    found = find_forecast(settings, station or [], date, _known(target or []))
    if as_json or as_csv:
        print_for_programs(found, as_csv=as_csv)
    else:
        show_forecast(found)
    if map_file is not None:
        typer.echo(draw_map(settings, found, map_file), err=as_json or as_csv)


@app.command(rich_help_panel=SERVE)
def predict(
    station: Annotated[str, typer.Argument(help="Station, as in the service's catalogue.")],
    date: Annotated[str | None, typer.Option(help="Issue day D, YYYY-MM-DD; default: the newest observed day.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="Only this target (repeatable).")] = None,
    observed: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of an observed column, before what is stored (repeatable); empty: not observed."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of the service; default: WEATHER_ENDPOINT_URL.")] = None,
) -> None:
    """Ask a running service for a station-day. Signs in as WEATHER_USER with WEATHER_PASSWORD, or asks for both."""
    from weather_platform.cli.predict import show_prediction

    show_prediction(load_settings(), url, station, date, _known(target or []), observed or [])


@app.command(rich_help_panel=SERVE)
def loadtest(
    target: Annotated[str | None, typer.Option(help="What is asked for; default: the first that is served.")] = None,
    connections: Annotated[
        int, typer.Option(min=1, max=10_000, help="Connections, each with one request at a time.")
    ] = 8,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Requests per second; default: as fast as they are answered.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="How long.")] = 10.0,
    url: Annotated[str | None, typer.Option(help="Address of the service; default: WEATHER_ENDPOINT_URL.")] = None,
) -> None:
    """Ask a running service again and again: req/s, p50, p95, p99, errors. Exit code 1 if a request failed."""
    from weather_platform.cli.loadtest import Load, run_loadtest

    asked = _known([target])[0] if target else None
    run_loadtest(load_settings(), url, asked, Load(connections, seconds, rate))


@app.command(rich_help_panel=KEEP)
def rollback(
    target: Annotated[str, typer.Argument(help="The target whose Production alias goes back.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit, which cannot be changed.")],
    to: Annotated[
        int | None,
        typer.Option(min=1, help="A version that served before; default: the one before the present one."),
    ] = None,
    nowhere: Annotated[
        bool, typer.Option("--nowhere", help="Take Production away: nothing serves the target.")
    ] = False,
) -> None:
    """Take Production back to a version that served before. Only a newer DEPLOY moves it again."""
    from weather_platform.automation.rollback import REASON_MAX_CHARACTERS, REASON_MIN_CHARACTERS

    with doing("loading Dagster"):
        from weather_platform.cli.rollback import run_rollback

    [target] = _known([target])
    if not REASON_MIN_CHARACTERS <= len(reason.strip()) <= REASON_MAX_CHARACTERS:
        raise typer.BadParameter(f"--reason takes {REASON_MIN_CHARACTERS} to {REASON_MAX_CHARACTERS} characters")
    if nowhere and to is not None:
        raise typer.BadParameter("--to and --nowhere exclude each other")
    typer.echo(run_rollback(load_settings(), target, to, reason, nowhere=nowhere))


@app.command(rich_help_panel=KEEP)
def retrain(
    target: Annotated[str, typer.Argument(help="The target to train.")],
    why: Annotated[str, typer.Option(help="Why, for the record, which cannot be changed.")],
    veto: Annotated[
        bool, typer.Option("--veto", help="Do the opposite: let no monthly decision start a training for a while.")
    ] = False,
    months: Annotated[
        int | None, typer.Option(min=0, max=24, help="Monthly decisions that a veto holds back; 0 ends an earlier one.")
    ] = None,
) -> None:
    """Train a target now, whatever the monthly decisions say, or hold them back. Recorded as they are."""
    from weather_platform.automation.import_model import WHY_MAX_CHARACTERS, WHY_MIN_CHARACTERS

    with doing("loading Dagster and the asset graph"):
        from weather_platform.cli import retrain as asked

    [target] = _known([target])
    why = " ".join(why.split())
    if not WHY_MIN_CHARACTERS <= len(why) <= WHY_MAX_CHARACTERS:
        raise typer.BadParameter(f"--why takes {WHY_MIN_CHARACTERS} to {WHY_MAX_CHARACTERS} characters")
    if veto != (months is not None):
        raise typer.BadParameter("--veto and --months go together")
    if months is not None:
        typer.echo(asked.veto(load_settings(), target, months, why))
        return
    with _sigterm_like_ctrl_c():
        for line in asked.retrain(load_settings(), target, why):
            typer.echo(line)


@app.command(rich_help_panel=READ)
def decisions(
    target: Annotated[list[str] | None, typer.Argument(help="Only these targets.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, a record a decision.")] = False,
) -> None:
    """List what was decided about the models, with the reasons: promotions, imports, rollbacks, retrainings, vetoes."""
    from weather_platform.cli.decisions import show_decisions

    show_decisions(load_settings(), _known(target or []), as_json=as_json)


@app.command(rich_help_panel=READ)
def models() -> None:
    """List model versions with their aliases and test metrics."""
    from weather_platform.cli.show import show_models

    show_models(load_settings())


@model_app.command("export")
def model_export(
    target: Annotated[str, typer.Argument(help="Target of the version, e.g. rain_tomorrow.")],
    file: Annotated[Path, typer.Argument(help="New file to write, e.g. rain.model.", dir_okay=False)],
    version: Annotated[int | None, typer.Option(min=1, help="Registered version; default: Production's.")] = None,
) -> None:
    """Write a registered version to one file: model, contract, figures and decision; no code, no rows."""
    from weather_platform.cli.model import export_model

    _known([target])
    typer.echo(export_model(load_settings(), target, version, file))


@model_app.command("import")
def model_import(
    file: Annotated[Path, typer.Argument(help="A file that `weather model export` wrote in another home.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Let it take the place of the model that serves; needs --why.")
    ] = False,
    why: Annotated[str, typer.Option(help="Why, for the audit, which cannot be changed.")] = "",
) -> None:
    """Check a model of another home, register it here, and let it serve where no other model does."""
    from weather_platform.automation.import_model import WHY_MAX_CHARACTERS, WHY_MIN_CHARACTERS
    from weather_platform.cli.model import import_model

    least = WHY_MIN_CHARACTERS if replace or why else 0
    if not least <= len(why.strip()) <= WHY_MAX_CHARACTERS:
        raise typer.BadParameter(f"--why takes {WHY_MIN_CHARACTERS} to {WHY_MAX_CHARACTERS} characters")
    for line in import_model(load_settings(), file, replace=replace, why=why):
        typer.echo(line)


@app.command(rich_help_panel=KEEP)
def reproduce(
    target: Annotated[str, typer.Argument(help="Target of the version, e.g. rain_tomorrow.")],
    version: Annotated[int, typer.Argument(min=1, help="Registered version; `weather models` lists them.")],
) -> None:
    """Train a registered version again from what was recorded with it; 0 if the same bytes come out."""
    with doing("loading what trains models"):
        from weather_platform.cli.reproduce import show_reproduction

    [target] = _known([target])
    show_reproduction(load_settings(), target, version)


@app.command(rich_help_panel=READ)
def lineage(
    target: Annotated[str, typer.Argument(help="Target of the forecast, e.g. rain_tomorrow.")],
    station: Annotated[str, typer.Argument(help="Station of the forecast.")],
    date: Annotated[str, typer.Argument(help="Issue day D of the forecast, YYYY-MM-DD.")],
    version: Annotated[int | None, typer.Option(min=1, help="Model version; default: Production's.")] = None,
) -> None:
    """Print the way back of one forecast: model, decision, split, features, observation, line of the source file."""
    from weather_platform.cli.lineage import show_lineage

    [target] = _known([target])
    show_lineage(load_settings(), target, station, date, version)


@app.command(rich_help_panel=READ)
def skill(
    target: Annotated[list[str] | None, typer.Option(help="Only this target (repeatable).")] = None,
) -> None:
    """Say what models can do: by test year, and by version, state and season once the next day was there."""
    from weather_platform.cli.skill import show_skill

    show_skill(load_settings(), _known(target or []))


@app.command(rich_help_panel=KEEP)
def watch(
    month: Annotated[
        list[str] | None, typer.Option(help="Month, YYYY-MM (repeatable); default: the newest whole one.")
    ] = None,
) -> None:
    """Report drift of a month and what its forecasts were worth, and decide whether to train again."""
    with doing("loading Dagster and the asset graph"):
        from weather_platform.cli.watch import show_watch
    from weather_platform.partitions import month_partitions

    settings = load_settings()
    known = month_partitions(settings).get_partition_keys()
    if wrong := [key for key in month or [] if key not in known]:
        raise typer.BadParameter(f"no month {', '.join(wrong)}; months are {known[0]} to {known[-1]}")
    show_watch(settings, month or [])


@stations_app.callback(invoke_without_command=True)
def stations(
    context: typer.Context,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="What was met in rows and is not in the catalogue.")
    ] = False,
) -> None:
    """List the catalogue with the days that each station has; mask broken sensors."""
    if context.invoked_subcommand is not None:
        return
    from weather_platform.cli.stations import show_stations, show_unknown_stations

    (show_unknown_stations if unknown else show_stations)(load_settings())


_MASKED_STATION = Annotated[str, typer.Argument(help="Id of the station, as `weather stations` lists it.")]
_MASKED_COLUMN = Annotated[str, typer.Argument(help="The observed column, as docs/reference/columns.md lists it.")]
_MASK_FROM = Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First masked day, YYYY-MM-DD.")]
_MASK_TO = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last masked day; without it there is no end.")
]
_MASK_WHY = Annotated[str, typer.Option(help="Why, for the record, which only grows.")]


@stations_app.command(name="mask")
def stations_mask(
    station: _MASKED_STATION, column: _MASKED_COLUMN, from_day: _MASK_FROM, why: _MASK_WHY, to_day: _MASK_TO = None
) -> None:
    """Count a column of a station as missing from a day on, because its sensor is broken. Observations stay."""
    from weather_platform.cli import masks
    from weather_platform.domain.masks import StationMask

    asked = StationMask(station, column, from_day.date(), to_day.date() if to_day else None)
    for line in masks.mask(load_settings(), asked, _reason(why)):
        typer.echo(line)


@stations_app.command(name="unmask")
def stations_unmask(
    station: _MASKED_STATION, column: _MASKED_COLUMN, from_day: _MASK_FROM, why: _MASK_WHY, to_day: _MASK_TO = None
) -> None:
    """End a mask, as if it had never been: the column counts again on all of its days."""
    from weather_platform.cli import masks
    from weather_platform.domain.masks import StationMask

    asked = StationMask(station, column, from_day.date(), to_day.date() if to_day else None)
    for line in masks.unmask(load_settings(), asked, _reason(why)):
        typer.echo(line)


@stations_app.command(name="masks")
def stations_masks(
    every: Annotated[bool, typer.Option("--all", help="The whole record, with the masks that ended.")] = False,
) -> None:
    """List the columns that are masked, since when, by whom and why."""
    from weather_platform.cli.masks import show_masks

    show_masks(load_settings(), every=every)


def _reason(why: str) -> str:
    """A reason for a record: one line of 8 to 500 characters."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in why).split())
    if not 8 <= len(line) <= 500:
        raise typer.BadParameter("--why takes 8 to 500 characters")
    return line


@app.command(rich_help_panel=START)
def status() -> None:
    """Say where this home stands: source, lake, Production models, newest forecasts, last runs."""
    from weather_platform.cli.show import show_status

    show_status(load_settings())


@app.command(rich_help_panel=KEEP)
def notices(
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as one JSON list.")] = False,
    close: Annotated[
        int | None, typer.Option(min=1, help="Take the notice of this number as over, such as one of a retired step.")
    ] = None,
) -> None:
    """List what people were notified of and is not over yet: failed runs, drift, rejected rows."""
    from weather_platform.cli.notices import close_notice, show_notices

    if close is not None:
        if every or as_json:
            raise typer.BadParameter("--close goes with no other option")
        typer.echo(close_notice(load_settings(), close))
        return
    show_notices(load_settings(), every=every, as_json=as_json)


@app.command(rich_help_panel=KEEP)
def notify(
    test: Annotated[bool, typer.Option("--test", help="Send a test message to each channel instead.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what was given up, too.")] = False,
    expect_daemon: Annotated[
        bool, typer.Option("--expect-daemon", help="Notify of a daemon that does not run, too; for a job of cron.")
    ] = False,
) -> None:
    """Send the notices that are due now, as the daemon of `weather ui --automation` does each minute."""
    from weather_platform.cli.notices import send_now, test_channels

    if test and (retry or expect_daemon):
        raise typer.BadParameter("--test goes with no other option")
    if test:
        test_channels(load_settings())
    else:
        send_now(load_settings(), retry=retry, expect_daemon=expect_daemon)


@automation_app.callback(invoke_without_command=True)
def automation(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """List what runs by itself: sensors, schedules and conditions, with their last look and the next one."""
    if context.invoked_subcommand is None:
        from weather_platform.cli.automation import show_automation

        show_automation(load_settings(), as_json=as_json)


@automation_app.command("why")
def automation_why(
    asset: Annotated[str, typer.Argument(help="Asset, e.g. rain_tomorrow/forecasts.")],
    partition: Annotated[str | None, typer.Argument(help="Partition, e.g. 2015-06-30.")] = None,
) -> None:
    """Say why an asset, or one partition of it, was made or was not."""
    from weather_platform.cli.automation import show_why

    show_why(load_settings(), asset, partition)


@app.command(rich_help_panel=KEEP)
def env() -> None:
    """Print what `dagster` and `dg` need to use this home, and which days its source covers: eval "$(weather env)"."""
    import shlex

    from weather_platform.resources.source import open_source

    settings = load_settings()
    exports = {"WEATHER_HOME": str(settings.home), "DAGSTER_HOME": str(ready_dagster_home(settings))}
    try:
        with closing(open_source(settings, settings.now())) as source:
            coverage = source.coverage()
        exports |= {"FIRST_DAY": coverage.first_day.isoformat(), "LAST_DAY": coverage.last_day.isoformat()}
    except SourceError as error:
        typer.echo(f"FIRST_DAY and LAST_DAY are not known: {error}", err=True)
    for name, value in exports.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command(rich_help_panel=KEEP)
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on. Neither UI has a login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow UI.")] = 5000,
    automation: Annotated[
        bool | None,
        typer.Option(
            "--automation/--no-automation",
            help="Receive new months, retrain and send notices by itself; default: WEATHER_AUTOMATION, else not.",
        ),
    ] = None,
) -> None:
    """Open the Dagster UI with its daemon and the MLflow UI, behind a guard against pages from elsewhere."""
    with doing("loading Dagster and MLflow"):
        from weather_platform.cli.servers import serve_user_interfaces

    asked = {} if automation is None else {"automation": automation}
    serve_user_interfaces(load_settings(**asked), host, port, mlflow_port)


@user_app.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="1 to 64 of a-z, 0-9, '.', '_', '@' and '-'.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do (repeatable): predict (default), admin.")
    ] = None,
) -> None:
    """Add a user. The password, at least 12 characters, is asked for, or is the first line of the standard input."""
    from weather_platform.cli.users import add_user

    typer.echo(add_user(load_settings(), name, _known_scopes(scope or ["predict"])))


@user_app.command("list")
def user_list() -> None:
    """List the users, what they may do, and who is disabled."""
    from weather_platform.cli.users import show_users

    show_users(load_settings())


@user_app.command("password")
def user_password(name: Annotated[str, typer.Argument(help="The user.")]) -> None:
    """Give a user another password; its tokens end."""
    from weather_platform.cli.users import change_password

    typer.echo(change_password(load_settings(), name))


@user_app.command("scopes")
def user_scopes(
    name: Annotated[str, typer.Argument(help="The user.")],
    scope: Annotated[list[str], typer.Argument(help="What it may do: predict, admin.")],
) -> None:
    """Let a user do this and nothing else; its tokens end."""
    from weather_platform.cli.users import set_scopes

    typer.echo(set_scopes(load_settings(), name, _known_scopes(scope)))


@user_app.command("disable")
def user_disable(name: Annotated[str, typer.Argument(help="The user.")]) -> None:
    """Let a user log in no more; its tokens end."""
    from weather_platform.cli.users import set_disabled

    typer.echo(set_disabled(load_settings(), name, True))


@user_app.command("enable")
def user_enable(name: Annotated[str, typer.Argument(help="The user.")]) -> None:
    """Let a disabled user log in again."""
    from weather_platform.cli.users import set_disabled

    typer.echo(set_disabled(load_settings(), name, False))


@user_app.command("delete")
def user_delete(name: Annotated[str, typer.Argument(help="The user.")]) -> None:
    """Forget a user; its tokens end, and the name is free."""
    from weather_platform.cli.users import delete_user

    typer.echo(delete_user(load_settings(), name))


@user_app.command("unlock")
def user_unlock(
    name: Annotated[str, typer.Argument(help="The user.")],
    address: Annotated[str, typer.Option(help="Where it logs in from; the log of the service says it.")] = "127.0.0.1",
) -> None:
    """Forget wrong passwords of a user at an address, which is locked for up to 15 minutes after five of them."""
    from weather_platform.cli.users import unlock_user

    typer.echo(unlock_user(load_settings(), name, address))


@app.command(rich_help_panel=SERVE)
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes; default: WEATHER_SERVING_WORKERS, or 1.")
    ] = None,
) -> None:
    """Serve what is promoted over HTTP, until Ctrl-C. Needs WEATHER_JWT_SECRET (or _KEY_FILE) and a user."""
    from weather_platform.cli.serve import serve as run_service

    run_service(load_settings(**({} if workers is None else {"serving_workers": workers})), host, port)


def _require_place(file: Path, option: str) -> None:
    """A wrong use when the option cannot write there: said before anything is done."""
    if not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.absolute().parent} for {option}")
    kind = kind_of(file.stat().st_mode) if file.exists() else None
    if kind not in (None, DEVICE):
        raise typer.BadParameter(f"{file} is {kind}; {option} writes a regular file")


def _known_scopes(scopes: list[str]) -> list[str]:
    from weather_platform.serving.users import SCOPES

    if unknown := [name for name in scopes if name not in SCOPES]:
        raise typer.BadParameter(f"no scope {', '.join(unknown)}; there is {', '.join(SCOPES)}")
    return scopes


def _known(targets: list[str]) -> list[str]:
    """The targets of these names, however they are written; a wrong use when there is no such target."""
    from weather_platform.cli.names import did_you_mean, near, target_named
    from weather_platform.domain.targets import TARGETS

    if unknown := [name for name in targets if target_named(name) is None]:
        meant = list(dict.fromkeys(each for name in unknown for each in near(name, TARGETS)))
        raise typer.BadParameter(f"no target {', '.join(unknown)}; there is {', '.join(TARGETS)}{did_you_mean(meant)}")
    return [found for name in targets if (found := target_named(name)) is not None]


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: end the block, whatever becomes of the interrupt in there.

    Dagster gives SIGTERM the handler of SIGINT, which is ignored in the background of a script; and here and there it
    takes an interrupt for an error of its own.
    """
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except WeatherError:
        raise
    except Exception:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _whole_when_interrupted() -> Iterator[None]:
    """Say what an interrupted run leaves."""
    try:
        yield
    except KeyboardInterrupt:
        raise WeatherError("interrupted; every partition is as it was or as it should be, run again to go on") from None


@_sigterm_like_ctrl_c()
def _run(
    settings: Settings,
    targets: list[str],
    years: list[int],
    forecast_days: int,
    json_file: Path | None,
    *,
    let_go: bool = False,
) -> None:
    targets = _known(targets)
    if json_file is not None:
        _require_place(json_file, "--json")
    if settings.csv_path is not None and settings.source == "csv":
        from weather_platform.sources.input_files import find_files

        find_files(settings.csv_path)  # a wrong path is named before anything heavy is loaded
    with doing("loading Dagster and the asset graph"):
        from weather_platform.cli.pipeline import run_pipeline
        from weather_platform.cli.show import show_outcome
    with _whole_when_interrupted():
        outcome = run_pipeline(settings, targets, years, forecast_days, let_go)
    show_outcome(settings, outcome)
    if json_file is not None:
        try:
            replace_file(json_file, (json.dumps(outcome.as_json(), indent=2) + "\n").encode())
        except OSError as error:
            raise WeatherError(f"the run is done, but {json_file} cannot be written: {error.strerror}") from error
    if outcome.untrained:
        if not outcome.forecast:
            raise WeatherError(f"observations and features are stored, and no model: {outcome.untrained}")
        typer.echo(f"nothing was trained: {outcome.untrained}")
