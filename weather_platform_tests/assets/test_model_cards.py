"""The card of a registered version is in its run, linked from the version, and shown with the decision."""

from pathlib import Path

import dagster as dg

from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import CARD_FILE
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.small_models import TARGET


def test_the_card_lies_beside_the_model_and_is_shown_where_people_look(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    client = mlflow_client(mlflow_tracking_uri(first.settings))
    uri = client.get_run(model.run_id).info.artifact_uri.removeprefix("file://")
    card = (Path(uri) / CARD_FILE).read_text(encoding="utf-8")
    assert card.startswith(f"# Rain tomorrow: version {model.version}\n")
    assert "Synthetic weather." in card
    assert model.digest in card
    for name in ("reliability", "importance"):
        assert f"](plots/{name}.png)" in card
    described = client.get_model_version(TARGET, str(model.version)).description
    assert f"/runs/{model.run_id}/artifacts/{CARD_FILE})" in described
    with first.dagster() as instance:
        asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey([TARGET, "promotion"]), asset_partitions=["2015"])
        [record] = instance.fetch_materializations(asked, limit=1).records
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["model_card"].value == card
    metrics = first.registry.reference(model.run_id).metrics
    states = card.partition("| state |")[2].partition("\n\n")[0].splitlines()[2:]
    assert sum(int(line.split("|")[2].replace(",", "")) for line in states) == metrics["rows_test"]
