"""What differs between a recorded training and the present circumstances, as a truth table."""

from dataclasses import replace

import pytest

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.reproduction import (
    UNKNOWN,
    CodeVersion,
    Recipe,
    Reproduction,
    code_differences,
    differing_parts,
    library_differences,
    thread_difference,
)

CODE = CodeVersion(package="1.0", domain_sha256="a" * 64, commit="c" * 40)
RECIPE = Recipe(
    target="rain_tomorrow", algorithm="xgboost", year=2015, feature_version="3", seed=1, threads=2,
    params={}, refit=True, lake_versions={}, libraries={}, code=CODE,
)  # fmt: skip


def test_the_commit_is_a_remark_and_no_difference() -> None:
    elsewhere = CodeVersion(package="1.0", domain_sha256="a" * 64, commit=None)
    assert code_differences(RECIPE, elsewhere, "3", ["xgboost"]) == []


@pytest.mark.parametrize(
    ("present", "feature_version", "algorithms", "said"),
    [
        (CODE, "4", ["xgboost"], "features of version 3 then, this code makes version 4"),
        (CODE, "3", ["oracle"], "xgboost is an algorithm that this code does not have"),
        (
            CodeVersion(package="1.1", domain_sha256="a" * 64, commit=None),
            "3",
            ["xgboost"],
            "1.1, domain aaaaaaaaaaaa now",
        ),
        (
            CodeVersion(package="1.0", domain_sha256="b" * 64, commit=None),
            "3",
            ["xgboost"],
            "1.0, domain bbbbbbbbbbbb now",
        ),
    ],
)
def test_each_difference_of_the_code_is_told(
    present: CodeVersion, feature_version: str, algorithms: list[str], said: str
) -> None:
    [difference] = code_differences(RECIPE, present, feature_version, algorithms)
    assert str(difference).startswith("code: ")
    assert said in str(difference)


def test_the_code_comes_back_from_its_tags_and_its_absence_is_told() -> None:
    assert CodeVersion.from_tags(CODE.tags()) == CODE
    assert CodeVersion.from_tags({}) == CodeVersion(package=UNKNOWN, domain_sha256=UNKNOWN, commit=None)


def test_libraries_differ_by_version_by_absence_and_by_being_new() -> None:
    assert library_differences({"numpy": "2"}, {"numpy": "2"}) == []
    told = [str(each) for each in library_differences({"numpy": "2", "old": "1"}, {"numpy": "3", "new": "1"})]
    assert told == [
        "library: new not recorded then, 1 now",
        "library: numpy 2 then, 3 now",
        "library: old 1 then, not used now",
    ]


@pytest.mark.parametrize(("limit", "differs"), [(None, False), ("2", False), ("8", False), ("1", True), ("", False)])
def test_threads_differ_when_the_environment_grants_fewer(limit: str | None, differs: bool) -> None:
    assert bool(thread_difference(2, limit)) is differs


def test_the_files_that_differ_are_named() -> None:
    recorded, made = b'{"threshold": 1, "model_sha256": "a", "gone": 1}', b'{"threshold": 2, "model_sha256": "b"}'
    assert differing_parts(recorded, recorded) == []
    assert differing_parts(recorded, made) == ["threshold in the contract", "the model file", "gone in the contract"]


def test_only_the_digest_decides() -> None:
    difference = tuple(library_differences({"numpy": "2"}, {"numpy": "3"}))
    same = Reproduction(name="m", digest="d", made_digest="d", differences=difference)
    other = Reproduction(name="m", digest="d", made_digest="e", differences=(), parts=("the model file",))
    assert same.identical
    assert not other.identical
    assert "although not as recorded: library: numpy 2 then, 3 now" in same.verdict()
    assert (
        "the model file came out otherwise: data, code, libraries and threads are those of the record"
        in other.verdict()
    )


def test_another_first_fit_is_no_reproduction_although_what_serves_is_the_same() -> None:
    contract = b'{"model_sha256": "a"}'
    assert differing_parts(contract, contract, "b" * 64, "b" * 64) == []
    parts = tuple(differing_parts(contract, contract, "b" * 64, "c" * 64))
    digest = "d" * 64
    done = Reproduction(name="rain_tomorrow version 1", digest=digest, made_digest=digest, differences=(), parts=parts)
    assert not done.identical
    assert "is not reproduced, the first fit came out otherwise" in done.verdict()
    both = Reproduction(name="v", digest=digest, made_digest=digest, differences=(), first_fit_sha256="b" * 64)
    assert both.verdict() == f"v is reproduced: the same SHA-256 {digest}, and of its first fit {'b' * 64}"


def test_a_model_recorded_without_a_second_fit_is_made_without_one() -> None:
    algorithm = ALGORITHMS["decision_tree"]
    params = {name: str(value) for name, value in algorithm.defaults().items()}
    assert replace(RECIPE, params=params).config(algorithm).refit
    assert not replace(RECIPE, params=params, refit=False).config(algorithm).refit
