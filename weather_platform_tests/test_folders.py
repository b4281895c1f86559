"""Who may read a home, and what a process that is gone leaves in it."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from weather_platform.errors import SettingsError
from weather_platform.folders import abandoned, alone, in_progress, remove_abandoned, scratch_folder, take_home
from weather_platform_tests.e2e.homes import WEATHER, MadeHome, empty_home
from weather_platform_tests.processes import beside, exit_code

NOBODY = 65534


def open_to_others(folder: Path) -> list[str]:
    """Files and folders, the folder itself among them, that somebody but their owner may use."""
    return sorted(
        str(path) for path in (folder, *folder.rglob("*")) if stat.S_IMODE(path.lstat().st_mode) & 0o077
    )  # fmt: skip


def opened(folder: Path) -> None:
    """As a home of an older version, made with umask 022."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def home(tmp_path: Path) -> MadeHome:
    """One with its database, and a file where MLflow's would be."""
    made = empty_home(tmp_path / "home")
    assert made.call("env").code == 0
    with closing(made.database) as database:
        database.migrate()
    (made.folder / "mlflow.db").write_bytes(b"")
    take_home(made.folder)
    return made


def with_umask(mask: str, home: MadeHome, *arguments: str, sent: str = "") -> subprocess.CompletedProcess[str]:
    """The real command under this umask."""
    return subprocess.run(
        ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *arguments], env=os.environ | dict(home.env), input=sent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("mask", ["022", "000"])
def test_whatever_the_umask_a_home_is_its_owners_alone(tmp_path: Path, mask: str) -> None:
    home = empty_home(tmp_path / "home")
    for command in (["user", "add", "ada"], ["env"]):
        done = with_umask(mask, home, str(WEATHER), *command, sent="a password of 30 characters\n" * 2)
        assert done.returncode == 0, done.stderr
    assert (home.folder / "weather.db").exists()
    assert open_to_others(home.folder) == []


@pytest.mark.parametrize("mask", ["022", "000"])
def test_the_code_location_makes_private_files(home: MadeHome, tmp_path: Path, mask: str) -> None:
    """As Dagster's own processes load it."""
    script = f"import weather_platform.definitions; open({str(tmp_path / 'made')!r}, 'w').close()"
    done = with_umask(mask, home, sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o600


def test_an_old_home_is_closed_at_its_next_use_and_says_so_once(home: MadeHome) -> None:
    (home.folder / "lake" / "observations").mkdir(parents=True)
    (home.folder / "lake" / "observations" / "part.parquet").write_bytes(b"")
    (home.folder / "notes.txt").write_text("the user's own")
    opened(home.folder)
    done = home.call("env")
    assert done.code == 0
    assert done.lines == [f"weather: closed {home.folder} to other users of this machine"]
    assert open_to_others(home.folder) == [str(home.folder / "notes.txt")], "out of reach in a closed folder"
    assert home.call("env").err == ""


def test_a_closed_home_with_an_open_part_is_closed_again(home: MadeHome) -> None:
    (home.folder / "mlflow.db").chmod(0o644)
    assert home.call("env").err.startswith("weather: closed ")
    assert open_to_others(home.folder) == []


def test_links_in_a_home_are_not_followed_out_of_it(home: MadeHome, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "elsewhere").chmod(0o644)
    (home.folder / "reports").mkdir()
    (home.folder / "reports" / "link").symlink_to(tmp_path / "elsewhere")
    opened(home.folder / "reports")
    (tmp_path / "elsewhere").chmod(0o644)
    assert take_home(home.folder) is not None
    assert open_to_others(home.folder / "reports") == [str(home.folder / "reports" / "link")]
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o644


def test_a_folder_that_is_no_home_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "projects"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "others.txt").write_text("")
    (folder / "others.txt").chmod(0o644)
    assert take_home(folder) is None
    assert len(open_to_others(folder)) == 2
    assert take_home(tmp_path / "nowhere") is None


@pytest.mark.parametrize("mode", [0o1777, 0o755])
def test_a_shared_folder_used_as_a_home_stays_open_and_what_is_ours_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """A temporary folder, and a user's home directory."""
    if mode == 0o755:
        monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weather.env").write_text("")
    (tmp_path / "weather.env").chmod(0o644)
    (tmp_path / "public").mkdir()
    (tmp_path / "public").chmod(0o755)
    tmp_path.chmod(mode)
    assert take_home(tmp_path) is not None
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "weather.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o755
    tmp_path.chmod(0o700)


def as_nobody(folder: Path, told: Path) -> None:
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    try:
        line = str(take_home(folder))
    except SettingsError as error:
        line = str(error)
    told.write_text(line)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_home_of_another_user_is_refused_in_one_line() -> None:
    shared = Path("/tmp", f"weather-test-{os.getpid()}")  # noqa: S108 - where another user may go
    shared.mkdir(mode=0o777)
    try:
        shared.chmod(0o777)
        home = shared / "home"
        home.mkdir()
        (home / "weather.env").write_text("")
        for mode in (0o777, 0o700):
            home.chmod(mode)
            assert exit_code(as_nobody, home, shared / "told") == 0
            assert (shared / "told").read_text() in (
                f"the home {home} belongs to root, and this is nobody: run as its owner, or set WEATHER_HOME to a "
                "folder of your own",
            )
    finally:
        shutil.rmtree(shared)


# ---------------------------------------------------------------- what a killed process leaves


def hold_scratch(pipe: object, parent: Path) -> None:
    with scratch_folder(parent) as folder:
        (folder / "rows.parquet").write_bytes(b"rows")
        pipe.send(folder)  # type: ignore[attr-defined]
        pipe.recv()  # type: ignore[attr-defined]


def test_the_scratch_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    parent = tmp_path / "scratch"
    with beside(hold_scratch, parent) as living, beside(hold_scratch, parent) as killed:
        kept, left = living.hear(), killed.hear()
        killed.kill()
        (parent / "a file of somebody").write_text("")
        remove_abandoned(parent)
        assert kept.exists()
        assert not left.exists()
        assert (parent / "a file of somebody").exists()
        with scratch_folder(parent) as mine:
            remove_abandoned(parent)
            assert mine.exists()
            assert kept.exists()
        assert not mine.exists()


def test_the_next_scratch_folder_takes_the_place_of_one_that_was_left(tmp_path: Path) -> None:
    parent = tmp_path / "scratch"
    with beside(hold_scratch, parent) as killed:
        left = killed.hear()
        killed.kill()
    with scratch_folder(parent):
        assert not left.exists()


def hold_mark(pipe: object, mark: Path) -> None:
    with in_progress(mark):
        pipe.send("begun")  # type: ignore[attr-defined]
        pipe.recv()  # type: ignore[attr-defined]


def test_a_mark_is_abandoned_when_its_process_is_gone_and_not_before(tmp_path: Path) -> None:
    mark = tmp_path / "marks" / "run"
    with beside(hold_mark, mark) as process:
        process.hear()
        with alone(mark.parent):
            assert abandoned(mark.parent, "*") == []
        os.kill(process.process.pid or 0, signal.SIGKILL)
        process.process.join()
        with alone(mark.parent):
            assert abandoned(mark.parent, "*") == [mark]


def test_a_mark_is_gone_after_a_block_that_ended_well_and_left_by_one_that_did_not(tmp_path: Path) -> None:
    mark = tmp_path / "marks" / "run"
    with in_progress(mark):
        assert mark.exists()
    assert not mark.exists()
    with pytest.raises(ZeroDivisionError), in_progress(mark):
        _ = 1 / 0
    with alone(mark.parent):
        assert abandoned(mark.parent, "*") == [mark]
