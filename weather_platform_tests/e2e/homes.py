"""Homes made by the real command: one small run that all workers share, and copies of it that may be spoiled."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, Definitions

from weather_platform.build import build_definitions
from weather_platform.cli import main
from weather_platform.cli.home import open_instance
from weather_platform.database import Database
from weather_platform.lake import Lake
from weather_platform.resources.registry import ModelRegistry
from weather_platform.settings import PROJECT_DIR, Settings, load_settings
from weather_platform.stores import application_database

SMALL: Mapping[str, str] = {
    "WEATHER_SYNTHETIC_STATIONS": "12",
    "WEATHER_SYNTHETIC_YEARS": "4",
    "WEATHER_SYNTHETIC_LAST_DAY": "2015-06-30",
    "WEATHER_THREADS": "1",
    "WEATHER_QUICK": "true",
}
"""Twelve stations from 2012 to the middle of 2015: enough for a model that beats both baselines."""

WEATHER = Path(sys.executable).parent / "weather"


@dataclass(frozen=True)
class Done:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines of the error output that are not progress of the stages."""
        return [line for line in self.err.splitlines() if line.strip()]


@dataclass(frozen=True)
class MadeHome:
    """A home folder, the environment its commands run in, and its stores."""

    folder: Path
    env: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        return load_settings(home=self.folder, threads=1)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    @property
    def database(self) -> Database:
        return application_database(self.settings)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry.from_settings(self.settings)

    @property
    def json(self) -> dict[str, Any]:
        """What the run wrote with `--json`."""
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    @property
    def first_output(self) -> Done:
        """What the run that made this home printed."""
        return Done(**json.loads((self.folder / "output.json").read_text()))

    @property
    def graph(self) -> Definitions:
        """The whole graph, as its code location would go on with it from run to run."""
        return _graph(self.settings)

    @contextmanager
    def dagster(self) -> Iterator[DagsterInstance]:
        """The Dagster instance of this home. Opening names it in the environment; later tests must not see that."""
        with environment(clean_environment()), open_instance(self.settings) as instance:
            yield instance

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start the real command and leave it running."""
        return subprocess.Popen(
            [str(WEATHER), *arguments], cwd=PROJECT_DIR, env=clean_environment() | dict(self.env) | env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments: str, **env: str) -> Done:
        """Run the real command to its end in a process of its own."""
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=500)
        return Done(process.returncode, out, err)

    def call(self, *arguments: str, **env: str) -> Done:
        """Run the command in this process: the same entry point without the seconds of its imports."""
        return self.pipe(b"", *arguments, **env)

    def pipe(self, sent: bytes, *arguments: str, **env: str) -> Done:
        """Run it in this process with this on its standard input."""
        out, err = io.StringIO(), io.StringIO()
        with ExitStack() as stack:
            stack.enter_context(environment(clean_environment() | dict(self.env) | env))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            # As Python makes it of a pipe: what is no UTF-8 becomes an error where it is used.
            given = io.TextIOWrapper(io.BytesIO(sent), encoding="utf-8")
            stdin, sys.stdin = sys.stdin, given
            stack.callback(os.umask, os.umask(0o022))  # the command sets its own
            argv, sys.argv = sys.argv, ["weather", *arguments]
            try:
                main()
                code: Any = 0
            except SystemExit as end:
                code = end.code or 0
            finally:
                sys.argv, sys.stdin = argv, stdin
        return Done(int(code), out.getvalue(), err.getvalue())


@lru_cache(maxsize=4)
def _graph(settings: Settings) -> Definitions:
    return build_definitions(settings)


def empty_home(folder: Path, **env: str) -> MadeHome:
    """A home in which nothing was run yet."""
    return MadeHome(folder, {**SMALL, "WEATHER_HOME": str(folder), **env})


def clean_environment() -> dict[str, str]:
    """The environment without settings of the platform and without a Dagster home; wide enough for tables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEATHER_", "DAGSTER_"))}
    return kept | {"COLUMNS": "200"}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Exactly this environment; whatever is set meanwhile is gone afterwards."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def shared_home(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """The small run that all tests share, made by the first worker that asks; nobody changes it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-home"
    home = empty_home(folder)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "output.json").exists():
            folder.mkdir()
            done = home.run("run", "--source", "synthetic", "--json", str(folder / "result.json"))
            (folder / "output.json").write_text(json.dumps({"code": done.code, "out": done.out, "err": done.err}))
    return home


def _copy(source: str, target: str) -> None:
    """One file. The journals of SQLite go when the last reader, of another worker, closes its database."""
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        if not source.endswith(("-wal", "-shm")):
            raise


def copied(home: MadeHome, folder: Path) -> MadeHome:
    """A copy of a home that may be spoiled."""
    shutil.copytree(home.folder, folder, copy_function=_copy)
    return empty_home(folder)


def files_of(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
