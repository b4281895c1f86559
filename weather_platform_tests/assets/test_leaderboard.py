"""The leaderboard as an asset: what it stores and shows, what it passes over, and that it is whole or not there."""

import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.splits import MANIFEST_SCHEMA
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import PartitionMissingError, RegistryError
from weather_platform_tests.mlflow_stores import empty_mlflow, store, tracking_uri
from weather_platform_tests.small_models import TARGET, Store, small_model
from weather_platform_tests.stages import MOMENT, Home, small_manifest

__all__ = ["empty_mlflow", "store", "tracking_uri"]

BOARD = dg.AssetKey([TARGET, "leaderboard"])
ALL = [name for name, algorithm in ALGORITHMS.items() if TARGETS[TARGET].task in algorithm.tasks]


@pytest.fixture
def trained(tmp_path: Path, store: Store) -> Home:
    """Every algorithm has a candidate of 2015."""
    home = Home(tmp_path)
    home.lake.replace_partition(f"{TARGET}__split", "year", "2015", small_manifest(2015))
    for seed, name in enumerate(ALL, start=1):
        home.claim_model("2015", store.log(2015, seed=seed, algorithm=name).run_id, name)
    return home


def rank(home: Home, first: str = "2015", last: str | None = None) -> dg.ExecuteInProcessResult:
    return home.run(dg.AssetSelection.assets(BOARD), first, last, raise_on_error=True)


def told(home: Home, year: str) -> dict[str, object]:
    asked = dg.AssetRecordsFilter(asset_key=BOARD, asset_partitions=[year])
    [record] = home.instance.fetch_materializations(asked, limit=1).records
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def test_the_board_is_stored_and_shown_as_table_and_picture(trained: Home, store: Store) -> None:
    rank(trained)
    board = store.database.leaderboard(TARGET, 2015)
    assert sorted(entry.name for entry in board if entry.rank) == sorted(ALL)
    assert [entry.name for entry in board if entry.rank is None] == ["climatology", "persistence"]
    best = max(board, key=lambda entry: entry.validation or 0)
    assert best.rank == 1
    metadata = told(trained, "2015")
    assert (metadata["challenger"], metadata["source"]) == (best.name, "synthetic")
    table, plot = str(metadata["leaderboard"]), str(metadata["plot"])
    assert f"| 1 | {best.name} |" in table
    assert "| climatology (baseline) |" in table
    assert plot.startswith("![leaderboard](data:image/png;base64,")
    assert len(plot) < 100_000, "the event log keeps it for ever"


def test_several_years_are_shown_in_one_picture_on_the_newest(trained: Home, store: Store) -> None:
    rank(trained)
    assert "skill_by_year" not in told(trained, "2015"), "one year is no course"
    board = store.database.leaderboard(TARGET, 2015)
    store.database.replace_leaderboard(TARGET, 2014, board, dagster_run_id="run-1", made_at=MOMENT)
    assert list(store.database.leaderboards(TARGET)) == [2014, 2015]
    rank(trained)
    assert str(told(trained, "2015")["skill_by_year"]).startswith("![skill by year](data:image/png;base64,")


def test_costs_are_those_that_were_measured_while_training(trained: Home, store: Store) -> None:
    rank(trained)
    first = next(entry for entry in store.database.leaderboard(TARGET, 2015) if entry.name == ALL[0])
    model = small_model(2015, 1, ALL[0])
    assert first.train_seconds == model.seconds["fit"] + model.seconds["refit"]
    assert first.predict_rows_per_second == model.rows["test"] / model.seconds["predict"]
    assert first.peak_memory_mb == 300.0
    assert (first.test, first.test_rows) == (model.metrics["f1"], model.rows["test"])


def test_a_year_that_is_not_split_has_no_board_and_says_why(trained: Home, store: Store) -> None:
    trained.lake.replace_partition(f"{TARGET}__split", "year", "2014", MANIFEST_SCHEMA.empty_table())
    for name in ALL:
        trained.instance.report_runless_asset_event(
            dg.AssetMaterialization([TARGET, name], partition="2014", metadata={"reason": "not split"})
        )
    rank(trained, "2014", "2015")
    assert store.database.leaderboard(TARGET, 2014) == []
    assert "2014 is not split" in str(told(trained, "2014")["reason"])
    assert store.database.leaderboard(TARGET, 2015) != []


def test_without_one_of_the_candidates_there_is_no_board(trained: Home, store: Store) -> None:
    trained.instance.report_runless_asset_event(
        dg.AssetMaterialization([TARGET, ALL[-1]], partition="2015", metadata={"reason": "not split then"})
    )
    with pytest.raises(PartitionMissingError, match=rf"no model of {ALL[-1]} for 2015; .* there is no partial board"):
        rank(trained)
    assert store.database.leaderboard(TARGET, 2015) == []


@pytest.mark.parametrize("metric", ["validation_f1", "test_f1_low", "train_peak_memory_mb", "climatology_f1"])
def test_a_metric_that_is_missing_leaves_the_board_that_was_there(
    trained: Home, store: Store, tmp_path: Path, metric: str
) -> None:
    rank(trained)
    before = store.database.leaderboard(TARGET, 2015)
    lacking = store.log(2015, seed=9, algorithm=ALL[0])
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as runs, runs:
        runs.execute("DELETE FROM latest_metrics WHERE run_uuid = ? AND key = ?", (lacking.run_id, metric))
    trained.claim_model("2015", lacking.run_id, ALL[0])
    with pytest.raises(RegistryError, match=f"has no metric {metric}"):
        rank(trained)
    assert store.database.leaderboard(TARGET, 2015) == before


def test_a_registry_that_cannot_be_read_leaves_the_board_that_was_there(
    trained: Home, store: Store, tmp_path: Path
) -> None:
    rank(trained)
    before = store.database.leaderboard(TARGET, 2015)
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 200)
    assert not trained.run(dg.AssetSelection.assets(BOARD), "2015").success
    assert store.database.leaderboard(TARGET, 2015) == before
