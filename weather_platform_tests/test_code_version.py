"""The code's own name: sources, not commits, decide; git is a remark that may be absent."""

import shutil
import subprocess
from pathlib import Path

import weather_platform
from weather_platform.code_version import code_version, commit_of, digest_of_sources


def test_the_digest_changes_with_a_line_and_with_a_name_and_with_nothing_else(tmp_path: Path) -> None:
    domain = Path(weather_platform.__file__).parent / "domain"
    copy = tmp_path / "domain"
    shutil.copytree(domain, copy)
    assert digest_of_sources(copy) == digest_of_sources(domain) == code_version().domain_sha256
    (copy / "notes.txt").write_text("no source")
    assert digest_of_sources(copy) == digest_of_sources(domain)
    (copy / "splits.py").write_text("EXAM = 1\n")
    changed = digest_of_sources(copy)
    assert changed != digest_of_sources(domain)
    (copy / "splits.py").rename(copy / "parts.py")
    assert digest_of_sources(copy) not in (changed, digest_of_sources(domain))


def test_the_commit_of_a_checkout_says_when_files_were_changed(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None
    (tmp_path / "a.py").write_text("a = 1\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    clean = commit_of(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "a.py").write_text("a = 2\n")
    assert commit_of(tmp_path) == f"{clean}-dirty"
