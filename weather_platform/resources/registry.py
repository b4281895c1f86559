"""ModelRegistry: versions and aliases of the models, and the one way in which Production moves.

What belongs here: registering by digest, reading versions and aliases, loading verified models, and the
compare-and-swap. What does not: deciding (``domain.promotion``) and logging runs
(``io_managers.mlflow_models``).

An outage is never mistaken for "there is no champion", a file is never used before its SHA-256 is checked,
and `Production` moves last: a process killed at any point leaves a state that the next call completes.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from weather_platform.database import AliasChange, Database, TargetLedger
from weather_platform.domain.alias_moves import FOUND_SO, version_name
from weather_platform.domain.alias_moves import PRODUCTION as PRODUCTION
from weather_platform.domain.canary import GOLDEN_FILE, golden_from_bytes
from weather_platform.domain.features import FEATURE_VERSION, feature_names
from weather_platform.domain.model_card import PLOTS, with_pictures
from weather_platform.domain.reproduction import CodeVersion, Recipe
from weather_platform.domain.training import CONTRACT_FILE, Contract, GoldenSample, Predictor, sha256
from weather_platform.errors import DigestMismatchError, PromotionConflictError, RegistryError, RegistryUnreachableError
from weather_platform.resources.mlflow_client import answering, mlflow_client, prepare_mlflow, store_file
from weather_platform.resources.sqlite_files import MlflowFile
from weather_platform.settings import Settings
from weather_platform.stores import application_database, mlflow_tracking_uri

PREVIOUS = "Previous"
NOT_OURS = "not registered by this platform"
"""Recorded in place of a digest when an alias was found on a version that this platform did not register."""
DIGEST_TAG = "sha256"
GOLDEN_TAG = "golden_sha256"
REFIT_PARAM = "refit"
FIRST_FIT_TAG = "first_fit_sha256"
"""Of a model that was fitted again on training and validation rows: the SHA-256 of the first fit's model file."""
SOURCE_TAG = "source"
"""What the lake was filled from when the model was trained: csv or synthetic."""
_RECORDED = (
    DIGEST_TAG, GOLDEN_TAG, "target", "algorithm", "year", "model_id", "model_uri", "feature_version",
    "tuned_through", "tested_through",
)  # fmt: skip
"""Tags without which a run is no reference to a model."""
CARD_FILE, CARD_PAGE = "model_card.md", "model_card.html"
"""The card of a registered version, among the artifacts of its run: as text, and as a page with its pictures."""
BASE_TAG, BASE_TUNED_TAG, BASE_TESTED_TAG = "recalibrates", "base_tuned_through", "base_tested_through"
"""Of a version with another calibration: whose model file it has, and that version's days. Others lack them."""
CALIBRATED_TAGS = ("calibrated_from", "calibrated_through", "calibration_lake_version")
"""Of such a version: the days and the version of the features table that its calibration was fitted on."""
ORIGIN_TAG = "imported_from"
"""Of an imported version: which version of which home it was. Versions that were trained here lack it."""
REFERENCES_FILE, REFERENCES_TAG = "references.json", "references_sha256"
"""Of an imported version: climatology and persistence of its training rows, which are not here."""


_ORIGIN_TAGS = (ORIGIN_TAG, REFERENCES_TAG, BASE_TAG, BASE_TUNED_TAG, BASE_TESTED_TAG, *CALIBRATED_TAGS)


@dataclass(frozen=True, kw_only=True)
class ModelReference:
    """A trained candidate as everything after training knows it: plain values, not the model."""

    target: str
    algorithm: str
    year: int
    run_id: str
    model_id: str
    model_uri: str
    digest: str
    golden_sha256: str
    threshold: float | None
    feature_version: str
    tuned_through: date
    tested_through: date
    metrics: Mapping[str, float] = field(repr=False)
    lake_versions: Mapping[str, int]
    source: str
    first_fit_sha256: str | None = None
    """Where what is served was fitted again; None where it is the first fit itself."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Tags that an imported candidate, or one with another calibration, has and others lack."""

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.target}/{self.algorithm} {self.year} (run {self.run_id})"

    def metric(self, name: str) -> float:
        """One logged metric; RegistryError when the run lacks it, so that nothing is decided on less."""
        if name not in self.metrics:
            raise RegistryError(f"{self.name} has no metric {name}; train it again")
        return self.metrics[name]


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """One version in the registry. `tags` hold what the run said of it."""

    target: str
    version: int
    run_id: str
    model_uri: str
    digest: str
    tags: Mapping[str, str] = field(repr=False)
    registered_at: datetime

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.target} version {self.version}"

    @property
    def facts(self) -> dict[str, str | int]:
        """What the materialisation of the alias says of it."""
        return {
            "version": self.version,
            "sha256": self.digest,
            "mlflow_run_id": self.run_id,
            "tuned_through": self.tuned_through.isoformat(),
        }

    @property
    def origin(self) -> str | None:
        """Of an imported version: which version of which home it was."""
        return self.tags.get(ORIGIN_TAG)

    @property
    def tuned_through(self) -> date:
        """The last day that had a say in the model."""
        return date.fromisoformat(self.tags["tuned_through"])

    @property
    def tested_through(self) -> date:
        """The last day of the test part: a forecast of that day or an earlier one is a hindcast."""
        return date.fromisoformat(self.tags["tested_through"])

    @property
    def base(self) -> int | None:
        """Of a version with another calibration: the version whose model file it has."""
        return int(self.tags[BASE_TAG]) if BASE_TAG in self.tags else None

    @property
    def trained_through(self) -> date:
        """The last day that had a say in the model file; calibration may have been fitted on later ones."""
        return date.fromisoformat(self.tags.get(BASE_TUNED_TAG, self.tags["tuned_through"]))

    @property
    def data_through(self) -> date:
        """The last day of the test part of the model file."""
        return date.fromisoformat(self.tags.get(BASE_TESTED_TAG, self.tags["tested_through"]))

    def lake_version(self, table: str) -> int:
        """The version of a lake table that the model was trained from; RegistryError when it is not recorded."""
        if (version := self.tags.get(f"lake_version.{table}")) is None:
            raise RegistryError(f"{self.name} does not say which version of '{table}' trained it; train another one")
        return int(version)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Why an alias moves, for the append-only record; `decision_id` as in AliasChange."""

    decision_id: int | None
    reason: str
    dagster_run_id: str
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """What a compare-and-swap did; `moved` is False when Production was there already."""

    moved: bool
    from_version: int | None
    production: RegisteredModel


class ModelRegistry:
    """The registry behind one MLflow address. MLflow is imported at first use."""

    def __init__(self, tracking_uri: str, database: Database, client: Any = None) -> None:
        """`client` takes the place of MLflow's own for reading."""
        self._uri = tracking_uri
        self._database = database
        self._given_client = client

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The registry of these settings; its lock is the application database's."""
        return cls(mlflow_tracking_uri(settings), application_database(settings))

    @classmethod
    def for_reading(cls, settings: Settings) -> Self:
        """The registry for commands that only list: makes no store, and asks an SQLite file without MLflow.

        MLflow's client reads a file of another layout, and a server.
        """
        uri = mlflow_tracking_uri(settings)
        path = store_file(uri)
        file = None if path is None else MlflowFile(path)
        return cls(uri, application_database(settings), file if file is not None and file.known else None)

    @cached_property
    def _client(self) -> Any:
        return mlflow_client(self._uri) if self._given_client is None else self._given_client

    def reference(self, run_id: str) -> ModelReference:
        """The candidate that a finished run logged."""
        with self._asking(f"reading run {run_id}"):
            run = self._client.get_run(run_id)
        tags, status = run.data.tags, run.info.status
        if status != "FINISHED":
            raise RegistryError(f"run {run_id} holds no finished model (status {status}); train it again")
        if lacking := [name for name in _RECORDED if name not in tags]:
            raise RegistryError(
                f"run {run_id} has no tag {', '.join(lacking)}, as an earlier version of this package did not record "
                "it; train it again"
            )
        return ModelReference(
            target=tags["target"],
            algorithm=tags["algorithm"],
            year=int(tags["year"]),
            run_id=run_id,
            model_id=tags["model_id"],
            model_uri=tags["model_uri"],
            digest=tags[DIGEST_TAG],
            golden_sha256=tags[GOLDEN_TAG],
            threshold=float(tags["threshold"]) if "threshold" in tags else None,
            feature_version=tags["feature_version"],
            tuned_through=date.fromisoformat(tags["tuned_through"]),
            tested_through=date.fromisoformat(tags["tested_through"]),
            metrics=dict(run.data.metrics),
            lake_versions={
                name.removeprefix("lake_version."): int(value)
                for name, value in tags.items()
                if name.startswith("lake_version.")
            },
            first_fit_sha256=tags.get(FIRST_FIT_TAG),
            source=tags.get(SOURCE_TAG, "unknown"),  # runs of the first versions of this package did not say
            origin={name: tags[name] for name in _ORIGIN_TAGS if name in tags},
        )

    def recorded(self, run_id: str) -> tuple[dict[str, str], dict[str, str], dict[str, float]]:
        """Tags, parameters and metrics of a run."""
        with self._asking(f"reading run {run_id}"):
            data = self._client.get_run(run_id).data
        return dict(data.tags), dict(data.params), dict(data.metrics)

    def recipe(self, run_id: str) -> Recipe:
        """What a run recorded of its training, enough to do it again."""
        with self._asking(f"reading run {run_id}"):
            data = self._client.get_run(run_id).data
        tags, params = dict(data.tags), dict(data.params)

        def named(prefix: str) -> dict[str, str]:
            return {name.removeprefix(prefix): text for name, text in tags.items() if name.startswith(prefix)}

        try:
            return Recipe(
                target=tags["target"],
                algorithm=tags["algorithm"],
                year=int(tags["year"]),
                feature_version=tags["feature_version"],
                seed=int(params.pop("seed")),
                threads=int(params.pop("threads")),
                refit=params.pop(REFIT_PARAM, "False") == "True",  # earlier versions of this package did not refit
                params=params,
                lake_versions={name: int(text) for name, text in named("lake_version.").items()},
                libraries=named("library."),
                code=CodeVersion.from_tags(tags),
                first_fit_sha256=tags.get(FIRST_FIT_TAG),
            )
        except (KeyError, ValueError) as error:
            raise RegistryError(
                f"run {run_id} does not say how its model was trained ({error!r}); "
                "only versions that were registered by this platform can be trained again"
            ) from error

    def pictures(self, run_id: str) -> dict[str, bytes]:
        """The plots that a run holds, as PNG, by name."""
        with self._asking(f"reading the plots of run {run_id}"), tempfile.TemporaryDirectory() as scratch:
            found = sorted(each.path for each in self._client.list_artifacts(run_id, PLOTS))
            files = [Path(self._client.download_artifacts(run_id, path, scratch)) for path in found]
            return {file.stem: file.read_bytes() for file in files}

    def keep_card(self, model: RegisteredModel, card: str, page: str, summary: str) -> None:
        """Put the card of a version into its run as text and as a page, and the summary on the version's page.

        Addresses in the summary are relative to MLflow's UI, wherever that is: a home has it on any port.
        """
        with self._asking(f"writing the card of {model.name}"):
            self._client.log_text(model.run_id, card, CARD_FILE)
            self._client.log_text(model.run_id, page, CARD_PAGE)
            experiment_id = self._client.get_run(model.run_id).info.experiment_id
            shown = with_pictures(summary, lambda name: f"get-artifact?run_uuid={model.run_id}&path={PLOTS}/{name}.png")
            link = f"[The whole model card](#/experiments/{experiment_id}/runs/{model.run_id}/artifacts/{CARD_PAGE})"
            self._client.update_model_version(model.target, str(model.version), description=f"{shown}\n\n{link}")

    def register(self, reference: ModelReference, tags: Mapping[str, str] | None = None) -> RegisteredModel:
        """The version with this candidate's digest, made if there is none. Moves no alias."""
        from mlflow.exceptions import MlflowException

        self.verified_files(reference)
        with self._database.locked(reference.target), self._asking(f"registering {reference.name}"):
            for version in self.versions(reference.target):
                if version.digest == reference.digest:
                    return version
            try:
                self._client.create_registered_model(reference.target)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            created = self._client.create_model_version(
                reference.target,
                source=reference.model_uri,
                run_id=reference.run_id,
                model_id=reference.model_id,  # without it a server refuses the address
                tags=_version_tags(reference) | dict(tags or {}),
                await_creation_for=30,
            )
            return _registered(created)

    def version(self, target: str, version: int) -> RegisteredModel:
        """One version; RegistryError when there is none of this number."""
        with self._asking(f"reading {target} version {version}"):
            return _registered(self._client.get_model_version(target, str(version)))

    def existing_version(self, target: str, version: int) -> RegisteredModel:
        """One version as a person named it; RegistryError that says which there are when there is none."""
        known = {each.version: each for each in self.versions(target)}
        if version not in known:
            there = ", ".join(map(str, known)) or "none yet"
            raise RegistryError(f"{target} has no version {version}; there is {there} (`weather models` lists them)")
        return known[version]

    def versions(self, target: str) -> list[RegisteredModel]:
        """All versions of the target, oldest first; none when nothing was registered."""
        found: list[RegisteredModel] = []
        token: str | None = None
        with self._asking(f"listing the versions of {target}"):
            while True:
                page = self._client.search_model_versions(f"name='{target}'", page_token=token)
                found += [_registered(version) for version in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda version: version.version)

    def aliases(self, target: str) -> dict[str, int]:
        """Alias -> version. Empty only when the registry answered that there is none."""
        with self._asking(f"reading the aliases of {target}"):
            # A search, because its "nothing found" is an answer; a 404 could come from anything on that
            # address.
            models = self._client.search_registered_models(f"name='{target}'")
        return {alias: int(version) for model in models for alias, version in model.aliases.items()}

    def alias(self, target: str, alias: str) -> RegisteredModel | None:
        """The version an alias names, or None when the registry answered that there is no such alias."""
        version = self.aliases(target).get(alias)
        return None if version is None else self.version(target, version)

    def production(self, target: str) -> RegisteredModel:
        """The version that the Production alias names; RegistryError when the registry knows of none."""
        model = self.alias(target, PRODUCTION)
        if model is None:
            raise RegistryError(f"{target} has no Production model; materialise {target}/production first")
        return model

    def load(self, model: RegisteredModel | ModelReference, *, threads: int = 1) -> Predictor:
        """The model, ready to forecast; DigestMismatchError unless its files are the registered ones."""
        contract, data = self.verified_files(model)
        return Predictor.load(contract, data, digest=model.digest, threads=threads)

    def golden(self, model: RegisteredModel, feature_names: tuple[str, ...]) -> GoldenSample:
        """The recorded test predictions of a version; DigestMismatchError unless the file is the registered one."""
        return golden_from_bytes(self.verified_golden(model), feature_names)

    def verified_references(self, model: RegisteredModel) -> bytes:
        """Climatology and persistence of an imported version; DigestMismatchError unless they came with it."""
        data = self._download(model, REFERENCES_FILE)
        _verify(model, REFERENCES_FILE, data, model.tags[REFERENCES_TAG])
        return data

    def verified_golden(self, model: RegisteredModel) -> bytes:
        """The golden sample as it is stored; DigestMismatchError unless it is the registered one."""
        if GOLDEN_TAG not in model.tags:
            raise RegistryError(
                f"{model.name} has no {GOLDEN_TAG} tag to verify its predictions by; promote another version"
            )
        data = self._download(model, GOLDEN_FILE)
        _verify(model, GOLDEN_FILE, data, model.tags[GOLDEN_TAG])
        return data

    def ready(self, model: RegisteredModel | ModelReference) -> Predictor:
        """The model, ready to forecast the features of today; InvariantError when it was trained on others."""
        predictor = self.load(model)
        predictor.require_features(FEATURE_VERSION, feature_names())
        return predictor

    def move_production(self, target: str, to_version: int, expected_champion: int | None, audit: Audit) -> AliasMove:
        """Compare and swap: Production goes to `to_version` if it is on `expected_champion` still.

        None expects that it is nowhere. Otherwise PromotionConflictError, and nothing moves. Of several
        processes one wins. Calling it again after a crash completes what was begun, its audit rows too.
        """
        challenger = self.version(target, to_version)
        self.verified_files(challenger)
        with self._database.locked(target) as ledger:
            present = self.aliases(target)
            champion = present.get(PRODUCTION)
            self._settle(ledger, present, challenger, audit)
            if champion not in (to_version, expected_champion):
                conflict = _conflict(target, champion, f"the move to version {to_version}", expected_champion)
            else:
                conflict = None
                left = self._known(target, champion) if champion is not None and champion != to_version else None
                if left is not None:
                    self._set_alias(ledger, PREVIOUS, (present.get(PREVIOUS), left), audit)
                if champion != to_version:
                    self._set_alias(ledger, PRODUCTION, (champion, challenger), audit)
        if conflict is not None:
            raise conflict  # outside the lock, so that what was settled stays recorded
        return AliasMove(moved=champion != to_version, from_version=champion, production=challenger)

    def record_found(self, target: str, found: int, audit: Audit) -> bool:
        """Record that Production was found on `found`; False, and nothing is recorded, when it is elsewhere by now."""
        with self._database.locked(target) as ledger:
            present = self.aliases(target)
            if present.get(PRODUCTION) != found:
                return False
            self._settle(ledger, present, None, audit)
        return True

    def withdraw_production(self, target: str, expected: int, audit: Audit) -> None:
        """Take the Production alias away if it is on `expected` still; nothing serves the target then.

        Otherwise PromotionConflictError, and nothing changes. The record comes first: an alias that is gone without
        one is never taken for a withdrawal. A process killed in between leaves the alias, and the next move records
        it as found so.
        """
        with self._database.locked(target) as ledger:
            present = self.aliases(target)
            champion = present.get(PRODUCTION)
            self._settle(ledger, present, None, audit)
            if champion == expected:
                ledger.record_alias_change(_change(target, PRODUCTION, expected, None, None, audit))
        if champion != expected:
            raise _conflict(target, champion, "its withdrawal", expected)
        with self._database.locked(target), self._asking(f"taking {PRODUCTION} of {target} from version {expected}"):
            if self.aliases(target).get(PRODUCTION) == expected:
                self._client.delete_registered_model_alias(target, PRODUCTION)

    def _set_alias(
        self, ledger: TargetLedger, alias: str, move: tuple[int | None, RegisteredModel], audit: Audit
    ) -> None:
        before, model = move
        if before == model.version:
            return
        with self._asking(f"moving {alias} of {model.target} to version {model.version}"):
            self._client.set_registered_model_alias(model.target, alias, str(model.version))
        ledger.record_alias_change(_change(model.target, alias, before, model.version, model.digest, audit))

    def _settle(
        self, ledger: TargetLedger, present: Mapping[str, int], challenger: RegisteredModel | None, audit: Audit
    ) -> None:
        """Record moves the audit does not know: of a process killed before its commit, or by hand."""
        for alias in (PREVIOUS, PRODUCTION):
            last = ledger.latest_alias_change(alias)
            recorded = last.to_version if last else None
            if alias not in present or present[alias] == recorded:
                continue
            if alias == PRODUCTION and challenger is not None and present[alias] == challenger.version:
                known = (challenger.version, challenger.digest)
                ledger.record_alias_change(_change(ledger.target, alias, recorded, *known, audit))
                continue
            found = Audit(
                decision_id=None,
                reason=f"{FOUND_SO}moved by hand or by an interrupted run; MLflow does not record who moved it",
                dagster_run_id=audit.dagster_run_id,
                changed_at=audit.changed_at,
            )
            model = self._known(ledger.target, present[alias])
            digest = model.digest if model else NOT_OURS
            ledger.record_alias_change(_change(ledger.target, alias, recorded, present[alias], digest, found))

    def _known(self, target: str, version: int) -> RegisteredModel | None:
        """The version; None when somebody else registered it. An outage raises."""
        try:
            return self.version(target, version)
        except RegistryUnreachableError:
            raise
        except RegistryError:
            return None

    def verified_files(self, model: RegisteredModel | ModelReference) -> tuple[bytes, bytes]:
        """Contract and model file as they are stored; DigestMismatchError unless they are the registered ones."""
        contract = self._download(model, CONTRACT_FILE)
        _verify(model, CONTRACT_FILE, contract, model.digest)
        terms = Contract.from_bytes(contract)
        data = self._download(model, terms.model_file)
        _verify(model, terms.model_file, data, terms.model_sha256)
        return contract, data

    def _download(self, model: RegisteredModel | ModelReference, file: str) -> bytes:
        prepare_mlflow()
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory() as folder, self._asking(f"downloading {file} of {model.name}"):
            uri = f"{model.model_uri.rstrip('/')}/{file}"
            return Path(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self._uri)).read_bytes()

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        with answering(self._uri, doing):
            yield


def champion_of(registry: ModelRegistry, target: str, moves: Sequence[AliasChange]) -> RegisteredModel | None:
    """The version that serves; None when none ever did, or the last was taken away by the platform.

    `moves` are the recorded moves of Production. An alias that vanished otherwise (a registry that is empty, restored
    from long ago, another one) raises: without its champion a challenger would be compared with nothing.
    """
    champion = registry.alias(target, PRODUCTION)
    if champion is None and moves and (recorded := moves[-1].to_version) is not None:
        raise RegistryError(
            f"{target}: the audit has {PRODUCTION} on version {recorded}, and the registry knows no such alias; "
            f"restore the registry, or set the alias again: weather rollback {target} --to {recorded} "
            '--reason "the alias was lost"'
        )
    return champion


def _version_tags(reference: ModelReference) -> dict[str, str]:
    return {
        DIGEST_TAG: reference.digest,
        GOLDEN_TAG: reference.golden_sha256,
        "target": reference.target,
        "algorithm": reference.algorithm,
        "year": str(reference.year),
        SOURCE_TAG: reference.source,
        **({} if reference.threshold is None else {"threshold": repr(reference.threshold)}),
        "feature_version": reference.feature_version,
        "tuned_through": reference.tuned_through.isoformat(),
        "tested_through": reference.tested_through.isoformat(),
        **{f"lake_version.{name}": str(version) for name, version in reference.lake_versions.items()},
        **({} if reference.first_fit_sha256 is None else {FIRST_FIT_TAG: reference.first_fit_sha256}),
        **reference.origin,
    }


def _registered(version: Any) -> RegisteredModel:
    tags = dict(version.tags)
    if DIGEST_TAG not in tags or "tuned_through" not in tags:
        raise RegistryError(
            f"{version.name} version {version.version} has no {DIGEST_TAG} tag, so it was not registered by "
            "this platform; delete that version, or register the model through the promotion asset"
        )
    return RegisteredModel(
        target=version.name,
        version=int(version.version),
        run_id=version.run_id,
        model_uri=version.source,
        digest=tags[DIGEST_TAG],
        tags=tags,
        registered_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
    )


def _conflict(target: str, champion: int | None, move: str, expected: int | None) -> PromotionConflictError:
    return PromotionConflictError(
        f"{target}: Production is on {version_name(champion)}, and {move} was decided when it was on "
        f"{version_name(expected)}; nothing moved, decide again"
    )


def _change(
    target: str, alias: str, before: int | None, version: int | None, digest: str | None, audit: Audit
) -> AliasChange:
    return AliasChange(
        target=target,
        alias=alias,
        from_version=before,
        to_version=version,
        digest=digest,
        decision_id=audit.decision_id,
        reason=audit.reason,
        dagster_run_id=audit.dagster_run_id,
        changed_at=audit.changed_at,
    )


def _verify(model: RegisteredModel | ModelReference, file: str, data: bytes, expected: str) -> None:
    if (found := sha256(data)) != expected:
        otherwise = "take it back with `weather rollback`" if isinstance(model, RegisteredModel) else "train it again"
        raise DigestMismatchError(
            f"{model.name}: {file} has SHA-256 {found[:12]}, and {expected[:12]} was registered; "
            f"restore the file from a backup, or {otherwise}"
        )
