"""*Materialize all* as a click in the UI launches it: a backfill through GraphQL and the daemon of `weather ui`."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from weather_platform_tests.e2e.homes import copied, shared_home
from weather_platform_tests.ui.test_user_interfaces import Interfaces, running

PATIENCE_SECONDS = 500
NODES = "{ assetNodes { assetKey { path } groupName partitionKeys } }"
LAUNCH = """mutation ($backfill: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $backfill) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
OUTCOME = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
  status error { message } runs(limit: 50) { runId status } } } }"""
REASONS = """query ($key: AssetKeyInput!, $partitions: [String!]) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    latestMaterializationByPartition(partitions: $partitions) {
      partition metadataEntries { label ... on TextMetadataEntry { text } } } } } }"""


@pytest.fixture(scope="module")
def interfaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interfaces]:
    with running(copied(shared_home(tmp_path_factory), tmp_path_factory.mktemp("backfills") / "home")) as found:
        yield found


def ask(interfaces: Interfaces, query: str, **variables: Any) -> dict[str, Any]:
    """What Dagster's GraphQL answers."""
    sent = {"query": query, "variables": variables}
    answer = httpx.post(f"http://{interfaces.dagster}/graphql", json=sent, timeout=120).raise_for_status().json()
    assert "errors" not in answer, answer
    found: dict[str, Any] = answer["data"]
    return found


def test_all_partitions_of_a_group_end_well_although_they_begin_before_the_data(interfaces: Interfaces) -> None:
    [features] = [node for node in ask(interfaces, NODES)["assetNodes"] if node["groupName"] == "features"]
    keys = features["partitionKeys"]
    selected = [{"assetKey": features["assetKey"], "partitions": {"range": {"start": keys[0], "end": keys[-1]}}}]
    launched = ask(interfaces, LAUNCH, backfill={"partitionsByAssets": selected})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    until = time.monotonic() + PATIENCE_SECONDS
    status = "REQUESTED"
    while status in ("REQUESTED", "IN_PROGRESS") and time.monotonic() < until:
        time.sleep(1)
        ended = ask(interfaces, OUTCOME, id=launched["backfillId"])["partitionBackfillOrError"]
        status = ended["status"]
    assert status == "COMPLETED_SUCCESS", ended
    assert [run["status"] for run in ended["runs"]] == ["SUCCESS"]

    told = ask(interfaces, REASONS, key=features["assetKey"], partitions=[keys[0], "2015"])
    reasons = {
        each["partition"]: [entry["text"] for entry in each["metadataEntries"] if entry["label"] == "reason"]
        for each in told["assetNodeOrError"]["latestMaterializationByPartition"]
    }
    assert reasons == {keys[0]: [f"{keys[0]} is passed over: observations holds 2012 to 2015"], "2015": []}
