"""The way into MLflow: one client with an explicit address, short waits, and errors of one line.

What belongs here: importing MLflow (only when it is used), its environment, addresses, and turning what it
raises into RegistryUnreachableError. What does not: runs (``mlflow_tracking``), versions and aliases (``registry``).
MLflow's own global state (active run, tracking URI) is never relied on.
"""

import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from weather_platform.errors import MAKE_ROOM, RegistryUnreachableError, WeatherError, is_full
from weather_platform.folders import alone, unusable
from weather_platform.resources.mlflow_addresses import (
    artifact_root,
    follow_moved_home,
    place_default_experiment,
)

LOCAL_UI = "http://127.0.0.1:5000"
"""Where `weather ui` shows the runs of an SQLite store."""

# Given to MLflow before its import. A server that is down is known within seconds (MLflow's own waits add up
# to minutes); nothing is reported home; nothing is drawn or printed. A value already set in the environment
# wins.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def prepare_mlflow() -> None:
    """Set MLflow's environment. Called before each import of it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def mlflow_client(tracking_uri: str) -> Any:
    """A client of this address for runs and registry; the first one makes an SQLite store."""
    ensure_store(tracking_uri)
    prepare_mlflow()
    from mlflow import MlflowClient

    with answering(tracking_uri, "opening the store"):
        return MlflowClient(tracking_uri, tracking_uri)


def ensure_store(tracking_uri: str) -> None:
    """Make the SQLite store of this address unless its file is there; of several processes at once, one does the work.

    MLflow commits its migrations one by one and can neither go on with some of them nor do them in two processes, so
    they are done under another name, and the file gets its own when it is whole. A file that is there is changed only
    when it was moved: then it names the files beside it again.
    """
    path = store_file(tracking_uri)
    if path is None:
        return
    try:
        if path.exists():
            follow_moved_home(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryUnreachableError(str(unusable(path.parent, error))) from None
    with alone(path.parent), answering(tracking_uri, "making the store"):
        _remove_unfinished(path)  # a process that was killed; one that lives would hold the lock
        if not path.exists():
            try:
                _make_store(path)
            finally:
                _remove_unfinished(path)


def _make_store(path: Path) -> None:
    from mlflow import MlflowClient

    # Another name each time: MLflow remembers for as long as the process lives which stores it has opened.
    scratch = path.with_name(f"{path.name}.new-{uuid4().hex[:8]}")
    with _not_waiting_for_the_disk(scratch):
        made = MlflowClient(f"sqlite:///{scratch}", f"sqlite:///{scratch}")
    made._tracking_client.store.engine.dispose()  # closes the file: no journal is left, and nothing writes to it again
    place_default_experiment(scratch, artifact_root(path))
    with scratch.open("rb") as file:
        os.fsync(file)
    scratch.rename(path)


@contextmanager
def _not_waiting_for_the_disk(path: Path) -> Iterator[None]:
    """Let the commits to this SQLite file reach the disk whenever they do: after a power cut it is begun anew."""
    import sqlite3

    from sqlalchemy import Engine, event

    def connected(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            (_, _, name) = connection.execute("PRAGMA database_list").fetchone()
            if name == str(path.resolve()):
                connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)


def _remove_unfinished(path: Path) -> None:
    """Stores beside this one that were never finished, with their journals."""
    for unfinished in path.parent.glob(f"{glob.escape(path.name)}.new-*"):
        unfinished.unlink(missing_ok=True)


@contextmanager
def answering(tracking_uri: str, doing: str) -> Iterator[None]:
    """Turn whatever MLflow raises into one RegistryUnreachableError line that says what was going on."""
    prepare_mlflow()
    try:
        yield
    except WeatherError:
        raise
    except Exception as error:
        # Imported only now: reading the file of a home needs no MLflow.
        from mlflow.exceptions import MlflowException, RestException
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, (MlflowException, RequestException, SQLAlchemyError, OSError)):
            raise
        answered = isinstance(error, RestException)
        said = _one_line(error, tracking_uri)
        if answered:
            remedy = "nothing was changed by this call; see the server's log"
        elif is_full(said):
            remedy = MAKE_ROOM
        elif store_file(tracking_uri) is not None:
            remedy = "make sure that its file and folder can be read and written and that there is room, then run again"
        else:
            remedy = "check that it runs and that WEATHER_MLFLOW_TRACKING_URI names it, then run again"
        # From None: the text of the original is not cleaned, and Dagster stores the whole chain of an error.
        raise RegistryUnreachableError(
            f"MLflow at {place(tracking_uri)} {'refused' if answered else 'failed while'} {doing}: {said}; {remedy}"
        ) from None


def place(tracking_uri: str) -> str:
    """The address without user and password, and without the query, which may hold them too."""
    netloc = urlsplit(tracking_uri).netloc
    address = tracking_uri.partition("?")[0]
    return address.replace(netloc, netloc.rpartition("@")[2], 1) if netloc else address


def experiment_path(experiment_id: str) -> str:
    """The page of an experiment in MLflow's UI, after the address of the server."""
    # MLflow's UI opens for prompts and traces unless it is asked for another kind of work.
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def run_url(tracking_uri: str, experiment_id: str, run_id: str) -> str:
    """The page of a run: on the server, or on the local UI of an SQLite store."""
    base = place(tracking_uri).rstrip("/") if tracking_uri.startswith("http") else LOCAL_UI
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def ensure_experiment(client: Any, tracking_uri: str, name: str) -> str:
    """The id of the experiment, created if need be; files of an SQLite store lie beside it."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        store = store_file(tracking_uri)
        root = artifact_root(store) if store else None  # a server knows where it keeps files
        try:
            return str(client.create_experiment(name, artifact_location=root))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    return str(found.experiment_id)


def store_file(tracking_uri: str) -> Path | None:
    """The file of an SQLite store, None for any other address."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    from sqlalchemy import make_url

    database = make_url(tracking_uri).database
    return Path(database) if database and database != ":memory:" and not database.startswith("file:") else None


def _one_line(error: Exception, tracking_uri: str) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0].rstrip(".;")
    parts = urlsplit(tracking_uri)
    userinfo = parts.netloc.rpartition("@")[0]
    if userinfo:
        text = text.replace(f"{userinfo}@", "").replace(f"{unquote(userinfo)}@", "")
    queried = re.findall("password=([^&]+)", parts.query)
    for secret in filter(None, (parts.query, userinfo.partition(":")[2], *queried)):
        text = text.replace(secret, "***").replace(unquote(secret), "***")
    return text
