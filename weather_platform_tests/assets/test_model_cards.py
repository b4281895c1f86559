"""The card of a registered version is in its run, on the version's page, and shown with the decision: with pictures."""

import base64
import re
from pathlib import Path

import dagster as dg

from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.registry import CARD_FILE, CARD_PAGE
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.small_models import TARGET

DESCRIPTION_CHARACTERS = 5_000
"""What MLflow's column holds on PostgreSQL."""


def test_the_card_is_beside_the_model_and_shown_where_people_look(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    client = mlflow_client(mlflow_tracking_uri(first.settings))
    folder = Path(client.get_run(model.run_id).info.artifact_uri.removeprefix("file://"))
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    assert card.startswith(f"# Rain tomorrow: version {model.version}\n")
    assert "Synthetic weather." in card
    assert model.digest in card
    for name in ("reliability", "importance"):
        assert f"](plots/{name}.png)" in card
    with first.dagster() as instance:
        asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey([TARGET, "promotion"]), asset_partitions=["2015"])
        [record] = instance.fetch_materializations(asked, limit=1).records
    assert record.asset_materialization is not None
    shown = str(record.asset_materialization.metadata["model_card"].value)
    assert _without_pictures(shown) == _without_pictures(card)
    assert len(_inlined(shown)) == len(list((folder / "plots").iterdir()))
    metrics = first.registry.reference(model.run_id).metrics
    states = card.partition("| state |")[2].partition("\n\n")[0].splitlines()[2:]
    assert sum(int(line.split("|")[2].replace(",", "")) for line in states) == metrics["rows_test"]


def test_the_page_of_a_card_carries_its_pictures_and_asks_for_nothing_else(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    client = mlflow_client(mlflow_tracking_uri(first.settings))
    folder = Path(client.get_run(model.run_id).info.artifact_uri.removeprefix("file://"))
    page = (folder / CARD_PAGE).read_text(encoding="utf-8")
    stored = {file.read_bytes() for file in (folder / "plots").iterdir()}
    assert set(_inlined(page)) == stored
    assert "<table>" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)


def test_the_page_of_a_version_shows_what_it_is_with_pictures_at_addresses_relative_to_mlflow(first: MadeHome) -> None:
    model = first.registry.production(TARGET)
    client = mlflow_client(mlflow_tracking_uri(first.settings))
    described = client.get_model_version(TARGET, str(model.version)).description
    experiment = client.get_run(model.run_id).info.experiment_id
    assert "Synthetic weather." in described
    assert f"![reliability](get-artifact?run_uuid={model.run_id}&path=plots/reliability.png)" in described
    assert described.endswith(f"(#/experiments/{experiment}/runs/{model.run_id}/artifacts/{CARD_PAGE})")
    assert "http" not in described
    assert len(described) < DESCRIPTION_CHARACTERS


def _inlined(text: str) -> list[bytes]:
    return [base64.b64decode(code) for code in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)]


def _without_pictures(card: str) -> str:
    return re.sub(r"!\[(\w+)\]\([^)]*\)", r"![\1]", card)
