"""What a model was made from, and what differs when it is made again: plain values and their comparison.

What belongs here: the recipe as it is recorded, the circumstances that may change a model's bytes, and the statement
about a second training. What does not: reading the record or the rows, and training (`training`).

The digest alone decides whether a model was reproduced. A circumstance that differs is named beside it: it explains
another digest, and beside an equal digest it says what turned out not to matter.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from weather_platform.domain.algorithms import Algorithm, Params
from weather_platform.domain.training import TrainingConfig
from weather_platform.errors import ReproductionError

Kind = Literal["data", "code", "library", "threads"]

UNKNOWN = "not recorded"

_REMEDIES: Mapping[Kind, str] = {
    "data": "restore the table from a backup",
    "code": "check out the code of then",
    "library": "install the libraries of then",
    "threads": "grant the threads of then",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeVersion:
    """Which code made a model. ``commit`` is a remark: it is None outside a checkout."""

    package: str
    domain_sha256: str
    commit: str | None

    def tags(self) -> dict[str, str]:
        """As tags of a run."""
        commit = {} if self.commit is None else {"code.commit": self.commit}
        return {"code.package": self.package, "code.domain_sha256": self.domain_sha256, **commit}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "CodeVersion":
        """From the tags of a run; a run that was recorded without them says so."""
        return cls(
            package=tags.get("code.package", UNKNOWN),
            domain_sha256=tags.get("code.domain_sha256", UNKNOWN),
            commit=tags.get("code.commit"),
        )

    def __str__(self) -> str:
        known = self.domain_sha256 if self.domain_sha256 == UNKNOWN else self.domain_sha256[:12]
        return f"{self.package}, domain {known}" + (f", commit {self.commit}" if self.commit else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that was recorded of a training: enough to do it again."""

    target: str
    algorithm: str
    year: int
    feature_version: str
    seed: int
    threads: int
    params: Mapping[str, str]
    refit: bool
    lake_versions: Mapping[str, int]
    libraries: Mapping[str, str]
    code: CodeVersion
    first_fit_sha256: str | None = None
    """Of the model file of the first fit, where what is served was fitted again."""

    def config(self, algorithm: Algorithm) -> TrainingConfig:
        """The recipe as training takes it; ReproductionError when this code's algorithm has other parameters."""
        known = {parameter.name: parameter for parameter in algorithm.parameters}
        if self.params.keys() != known.keys():
            others = ", ".join(sorted(self.params.keys() ^ known.keys()))
            raise ReproductionError(
                f"{self.algorithm} was trained with other parameters than this code has ({others}); "
                f"check out the code that trained it: {self.code}"
            )
        params: Params = {name: type(known[name].default)(text) for name, text in self.params.items()}
        return TrainingConfig(seed=self.seed, threads=self.threads, params=params, refit=self.refit)


@dataclass(frozen=True, slots=True)
class Difference:
    """One circumstance that is not as it was recorded."""

    kind: Kind
    said: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.said}"


def code_differences(
    recipe: Recipe, present: CodeVersion, feature_version: str, algorithms: Collection[str]
) -> list[Difference]:
    """What of the code is not what it was; known before anything is trained."""
    found = []
    if recipe.algorithm not in algorithms:
        found.append(Difference("code", f"{recipe.algorithm} is an algorithm that this code does not have"))
    if recipe.feature_version != feature_version:
        said = f"features of version {recipe.feature_version} then, this code makes version {feature_version}"
        found.append(Difference("code", said))
    if (recipe.code.package, recipe.code.domain_sha256) != (present.package, present.domain_sha256):
        found.append(Difference("code", f"{recipe.code} then, {present} now"))
    return found


def library_differences(recorded: Mapping[str, str], present: Mapping[str, str]) -> list[Difference]:
    """Every library of another version than it was recorded with."""
    names = sorted(name for name in recorded.keys() | present.keys() if recorded.get(name) != present.get(name))
    return [
        Difference("library", f"{name} {recorded.get(name, UNKNOWN)} then, {present.get(name, 'not used')} now")
        for name in names
    ]


def thread_difference(threads: int, limit: str | None) -> list[Difference]:
    """Threads that the environment (OMP_THREAD_LIMIT) does not grant; sums of floats may be split by threads."""
    if limit is None or not limit.isdigit() or int(limit) >= threads:
        return []
    return [Difference("threads", f"{threads} then, OMP_THREAD_LIMIT allows {limit} now")]


def differing_parts(
    recorded_contract: bytes, made_contract: bytes, recorded_first: str | None = None, made_first: str | None = None
) -> list[str]:
    """What is not the same: the first fit (by its SHA-256), the model file, and each field of the contract by name."""
    recorded: dict[str, Any] = json.loads(recorded_contract)
    made: dict[str, Any] = json.loads(made_contract)
    fields = [name for name in {**recorded, **made} if recorded.get(name) != made.get(name)]
    first = ["the first fit"] if recorded_first != made_first else []
    return first + ["the model file" if name == "model_sha256" else f"{name} in the contract" for name in fields]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The statement about one second training. ``made_digest`` is None when it could not be trained."""

    name: str
    digest: str
    made_digest: str | None
    differences: tuple[Difference, ...]
    parts: tuple[str, ...] = ()
    first_fit_sha256: str | None = None
    """Of the first fit, where what is served was fitted again; the record's and the made one are the same unless
    `parts` name it."""

    @property
    def identical(self) -> bool:
        """Whether the same model came out, bit for bit, and the same first fit."""
        return self.made_digest == self.digest and not self.parts

    def verdict(self) -> str:
        """The statement in one line."""
        reasons = "; ".join(map(str, self.differences))
        if self.identical:
            beside = f", although not as recorded: {reasons}" if reasons else ""
            first = f", and of its first fit {self.first_fit_sha256}" if self.first_fit_sha256 else ""
            return f"{self.name} is reproduced: the same SHA-256 {self.digest}{first}{beside}"
        remedies = ", ".join(dict.fromkeys(_REMEDIES[each.kind] for each in self.differences))
        if self.made_digest is None:
            return f"{self.name} cannot be trained again: {reasons}; {remedies} and try again"
        unlike = f"{self.name} is not reproduced, {' and '.join(self.parts)} came out otherwise"
        if not reasons:
            same = "data, code, libraries and threads are those of the record"
            return f"{unlike}: {same}; look for what this machine does differently"
        return f"{unlike}: {reasons}; {remedies} and try again"
