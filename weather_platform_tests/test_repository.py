"""The repository checks itself: lock, documents, names of hosts and machines."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from weather_platform_tests.lock_digest import ROOT, digest_line

_PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)(\[[a-z0-9,-]+\])?==(?P<version>[^ \\;]+)", re.MULTILINE)


@cache
def locked() -> dict[str, set[Version]]:
    pins: dict[str, set[Version]] = {}
    for pin in _PIN.finditer((ROOT / "requirements.lock").read_text()):
        pins.setdefault(pin["name"], set()).add(Version(pin["version"]))
    return pins


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [Requirement(text) for text in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]]


def stale(requirements: list[Requirement], pins: dict[str, set[Version]]) -> list[str]:
    """The requirements that the pins do not meet."""
    return [
        str(requirement)
        for requirement in requirements
        if not pins.get(requirement.name.lower())
        or not all(requirement.specifier.contains(version) for version in pins[requirement.name.lower()])
    ]


def test_the_lock_meets_every_requirement_of_the_project() -> None:
    assert stale(declared(), locked()) == [], "requirements.lock is stale: run `make lock`"


@pytest.mark.parametrize("requirement", ["pandas>=3", "a-package-nobody-locked", "dagster<1"])
def test_a_requirement_that_the_lock_does_not_meet_is_found(requirement: str) -> None:
    assert stale([Requirement(requirement)], locked()) == [str(Requirement(requirement))]


def test_the_lock_was_made_from_the_dependencies_that_the_project_declares_now() -> None:
    written = (ROOT / "requirements.lock").read_text().splitlines()[0]
    assert written == digest_line((ROOT / "pyproject.toml").read_text()), "requirements.lock is stale: run `make lock`"


def test_a_dependency_that_is_added_removed_or_bounded_anew_makes_the_lock_stale() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    fresh = digest_line(text)
    for before, after in (('"rich>=14"', '"rich>=15"'), ('"rich>=14",', ""), ('"rich>=14"', '"rich>=14", "httpx"')):
        assert digest_line(text.replace(before, after)) != fresh
    assert digest_line(text.replace("line-length = 120", "line-length = 100")) == fresh


def test_every_pin_of_the_lock_has_a_hash_and_no_host_is_named() -> None:
    text = (ROOT / "requirements.lock").read_text()
    pins = re.split(r"\n(?=[a-z0-9])", text.partition("\n")[2].strip())
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert not re.search(r"https?://|--index|--extra-index|--find-links", text)


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


KEPT = {".py", ".md", ".sql", ".png", ".yml", ".yaml", ".json", ".toml", ".mako", ".lock", ""}
"""Kinds of files of the repository. Tables of data, pickles and packages are none of them."""


SHIPPED = {"weather_platform/reports/coastline.npz"}
"""What the product needs and has no other form: numbers that are read without executing anything."""


OLD_HOMES = ROOT / "weather_platform_tests" / "old_homes"
OLD_HOME_MAX_BYTES = 1_000_000


def strays(paths: list[Path]) -> list[str]:
    """Files of no kind that is kept here, and pictures that are not of the documents."""
    return [
        path.name
        for path in paths
        if str(path.relative_to(ROOT)) not in SHIPPED
        and not (path.parent == OLD_HOMES and path.name.endswith(".tar.xz"))
        and (path.suffix not in KEPT or (path.suffix == ".png" and not path.is_relative_to(ROOT / "docs" / "images")))
    ]


def test_no_tracked_file_is_a_table_of_data_a_pickle_or_a_package() -> None:
    assert strays(tracked()) == []


def test_the_home_kept_of_a_version_is_small() -> None:
    assert [path.name for path in OLD_HOMES.glob("*.tar.xz") if path.stat().st_size > OLD_HOME_MAX_BYTES] == []


@pytest.mark.parametrize(
    "name", ["model.pkl", "rows.csv.gz", "rows.parquet", "weather.db", "a-1.0.whl", "plot.png", "home.tar.xz"]
)
def test_a_file_that_does_not_belong_is_found(name: str) -> None:
    assert strays([ROOT / name]) == [name]


def test_the_reference_pages_are_what_the_code_says() -> None:
    from docs.generate import REFERENCE, pages

    for name, text in pages().items():
        assert (REFERENCE / name).read_text() == text, f"docs/reference/{name} is out of date: run `make docs`"


def test_every_decision_record_is_in_the_index_and_has_its_three_parts() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    assert records
    for record in records:
        assert record.name in index
        assert all(f"**{part}.**" in record.read_text() for part in ("Context", "Decision", "Consequences"))


def test_every_relative_link_of_the_documents_leads_somewhere() -> None:
    broken = []
    for page in [path for path in tracked() if path.suffix == ".md"]:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        broken += [f"{page.relative_to(ROOT)}: {link}" for link in links if not (page.parent / link).exists()]
    assert broken == []
