"""`weather reproduce`: the same bytes in another process, and what is said when something is not as it was."""

import sqlite3
from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from weather_platform.code_version import code_version
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.cli.test_exit_codes import failed
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.small_models import TARGET


def tag(home: MadeHome, name: str, text: str) -> None:
    """Write another tag into the run of version 1."""
    client = mlflow_client(mlflow_tracking_uri(home.settings))
    client.set_tag(home.registry.version(TARGET, 1).run_id, name, text)


def parameter(home: MadeHome, name: str, text: str) -> None:
    """Write another parameter into the run of version 1, which MLflow itself refuses to do."""
    run_id = home.registry.version(TARGET, 1).run_id
    with closing(sqlite3.connect(home.folder / "mlflow.db")) as store, store:
        changed = store.execute("UPDATE params SET value = ? WHERE key = ? AND run_uuid = ?", (text, name, run_id))
        assert changed.rowcount == 1


def write_warmer_features(home: MadeHome) -> None:
    """Replace a training year of the features by other values, as a corrected source would."""
    rows = home.lake.snapshot("features").read(keys=["2013"])
    at = rows.schema.get_field_index("temp_3pm_c")
    warmer = pc.add(rows["temp_3pm_c"], pa.scalar(1.0, pa.float32()))
    home.lake.replace_partition("features", "year", "2013", rows.set_column(at, rows.schema.field(at), warmer))


def test_a_version_trained_by_a_process_that_is_gone_comes_out_identical(first: MadeHome) -> None:
    done = first.run("reproduce", TARGET, "1")
    assert done.code == 0, done.err
    model = first.registry.version(TARGET, 1)
    recipe = first.registry.recipe(model.run_id)
    both = f"the same SHA-256 {model.digest}, and of its first fit {recipe.first_fit_sha256}"
    assert done.out.split() == f"{TARGET} version 1 is reproduced: {both}".split()
    assert (recipe.refit, model.tags["first_fit_sha256"]) == (True, recipe.first_fit_sha256)
    for said in (f"features v{recipe.lake_versions['features']}", f"seed {recipe.seed}", "threads 1", model.run_id):
        assert said in done.err
    assert recipe.code == code_version()
    assert [each.version for each in first.registry.versions(TARGET)] == [1], "nothing is registered by it"


def test_a_first_fit_of_other_bytes_is_named_although_what_serves_is_the_same(home: MadeHome) -> None:
    tag(home, "first_fit_sha256", "f" * 64)
    assert "is not reproduced, the first fit came out otherwise" in failed(home, "reproduce", TARGET, "1")


def test_a_version_of_before_the_second_fit_is_made_again_with_one_fit(home: MadeHome) -> None:
    run_id = home.registry.version(TARGET, 1).run_id
    with closing(sqlite3.connect(home.folder / "mlflow.db")) as store, store:
        store.execute("DELETE FROM params WHERE key = 'refit' AND run_uuid = ?", (run_id,))
        store.execute("DELETE FROM tags WHERE key = 'first_fit_sha256' AND run_uuid = ?", (run_id,))
    assert not home.registry.recipe(run_id).refit
    said = failed(home, "reproduce", TARGET, "1")
    assert "the model file came out otherwise" in said, "the recorded model is the refit"
    assert "threshold in the contract" not in said, "the first fit is the same"


def test_features_that_went_on_since_are_read_as_they_were_until_they_are_vacuumed(home: MadeHome) -> None:
    write_warmer_features(home)
    done = home.call("reproduce", TARGET, "1")
    assert done.code == 0, done.err
    DeltaTable(home.folder / "lake" / "features").vacuum(0, dry_run=False, enforce_retention_duration=False)
    said = failed(home, "reproduce", TARGET, "1")
    assert "cannot be trained again: data: table 'features' version" in said
    assert "was vacuumed: 1 of its files are gone, the first is year=2013/" in said
    assert "restore the table from a backup" in said


def test_a_version_of_a_table_that_this_lake_never_had_is_told(home: MadeHome) -> None:
    tag(home, "lake_version.features", "9999")
    said = failed(home, "reproduce", TARGET, "1")
    assert "data: table 'features' has no version 9999, its newest is" in said


def test_a_library_or_code_that_did_not_matter_is_told_beside_the_equal_digest(home: MadeHome) -> None:
    tag(home, "library.numpy", "0.1")
    tag(home, "code.domain_sha256", "f" * 64)
    done = home.call("reproduce", TARGET, "1")
    assert done.code == 0, done.err
    assert "is reproduced" in done.out
    assert "although not as recorded: code: " in done.out
    assert "domain ffffffffffff" in done.out
    assert "library: numpy 0.1 then, " in done.out


def test_another_digest_is_explained_by_what_differs_and_named_file_by_file(home: MadeHome) -> None:
    parameter(home, "max_depth", "2")
    said = failed(home, "reproduce", TARGET, "1")
    assert "is not reproduced, " in said
    assert "the model file came out otherwise" in said
    assert "threshold in the contract" in said
    assert "data, code, libraries and threads are those of the record" in said
    tag(home, "library.xgboost", "0.1")
    parameter(home, "threads", "2")
    said = failed(home, "reproduce", TARGET, "1", OMP_THREAD_LIMIT="1")
    assert "threads: 2 then, OMP_THREAD_LIMIT allows 1 now; library: xgboost 0.1 then, " in said
    assert "install the libraries of then" in said


def test_other_features_or_another_algorithm_than_this_code_has_are_told_before_training(home: MadeHome) -> None:
    tag(home, "feature_version", "0")
    assert "cannot be trained again: code: features of version 0 then, this code" in failed(
        home, "reproduce", TARGET, "1"
    )
    tag(home, "algorithm", "oracle")
    assert "code: oracle is an algorithm that this code does not have" in failed(home, "reproduce", TARGET, "1")


def test_a_parameter_that_this_code_does_not_have_is_told_before_training(home: MadeHome) -> None:
    run_id = home.registry.version(TARGET, 1).run_id
    mlflow_client(mlflow_tracking_uri(home.settings)).log_param(run_id, "luck", 7)
    assert "trained with other parameters than this code has (luck)" in failed(home, "reproduce", TARGET, "1")


def test_a_record_that_does_not_fit_the_stored_files_is_refused(home: MadeHome) -> None:
    client = mlflow_client(mlflow_tracking_uri(home.settings))
    client.set_model_version_tag(TARGET, "1", "sha256", "a" * 64)
    assert "contract.json has SHA-256" in failed(home, "reproduce", TARGET, "1")


def test_a_version_that_does_not_exist_is_named_with_those_that_do(first: MadeHome) -> None:
    said = f"{TARGET} has no version 99; there is 1 (`weather models` lists them)"
    assert said in failed(first, "reproduce", TARGET, "99")
