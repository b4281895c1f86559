"""The lake on a real S3 server over http (moto), with conditional puts; and errors that keep secrets."""

import socket
import traceback
from collections.abc import Iterator

import boto3
import dagster as dg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from weather_platform.errors import LakeError
from weather_platform.lake import Lake, TablePartitions
from weather_platform.resources.lake import LakeResource
from weather_platform.stores import AccessKeys
from weather_platform_tests.lake.writers import month, replace_months, serve_s3
from weather_platform_tests.processes import FORKS

SECRET = "not-to-be-shown-5Kq"  # noqa: S105
KEY_ID = "AKIANOTTOBESHOWN"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    # A process of its own: delta-rs holds Python's lock while it waits for S3, so a thread could not answer.
    ports = FORKS.Queue()
    server = FORKS.Process(target=serve_s3, args=(ports,), daemon=True)
    server.start()
    address = f"http://127.0.0.1:{ports.get(timeout=60)}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="weather")
    yield address
    server.kill()
    server.join()


def _resource(endpoint: str, bucket: str = "weather") -> LakeResource:
    keys = AccessKeys(SecretStr(KEY_ID), SecretStr(SECRET))
    return LakeResource(uri=f"s3://{bucket}/lake", endpoint_url=endpoint, access_keys=keys)


def test_partitions_are_replaced_read_and_remembered_on_s3(endpoint: str) -> None:
    lake = _resource(endpoint).lake()
    assert not lake.exists("rain")
    lake.replace_partition("rain", "month", "2008-01", month("2008-01", 1, 3))
    lake.replace_partition("rain", "month", "2008-02", month("2008-02", 2, 0))
    assert lake.replace_partition("rain", "month", "2008-01", month("2008-01", 5, 2)) == 3
    assert lake.row_counts("rain", "month") == {"2008-01": 2, "2008-02": 0}
    assert TablePartitions.of(lake, "rain", ["2008-01"])["2008-01"]["value"].to_pylist() == [5, 5]
    assert lake.read("rain", version=1).num_rows == 3
    lake.replace_table("stations", pa.table({"id": ["Albury"]}))
    assert lake.read("stations")["id"].to_pylist() == ["Albury"]


def test_two_processes_replace_different_months_on_s3_without_loss(endpoint: str) -> None:
    lake = _resource(endpoint).lake()
    even, odd = ([f"2008-{number:02}" for number in range(first, 9, 2)] for first in (2, 1))
    start = FORKS.Barrier(2)
    writers = [
        FORKS.Process(target=replace_months, args=(lake.uri, lake._storage_options, keys, value, 2, start))
        for value, keys in ((1, odd), (2, even))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert lake.row_counts("raw", "month") == dict.fromkeys(sorted(even + odd), 2)


def test_a_bucket_that_does_not_exist_is_told_in_one_line_without_secrets(endpoint: str) -> None:
    with pytest.raises(LakeError, match="s3://nowhere/lake") as caught:
        _resource(endpoint, "nowhere").lake().replace_table("stations", pa.table({"id": ["Albury"]}))
    _assert_clean(caught.value)


def test_a_server_that_is_down_is_told_in_one_line_without_secrets() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    options = _resource(address).lake()._storage_options | {"max_retries": "0"}
    with pytest.raises(LakeError) as caught:
        Lake("s3://weather/lake", options).read("stations")
    _assert_clean(caught.value)


def test_a_secret_in_the_text_of_the_store_is_blotted_out() -> None:
    lake = Lake("s3://weather/lake", {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ACCESS_KEY_ID": KEY_ID})
    with pytest.raises(LakeError, match=r"\*\*\*") as caught, lake.speaking_clearly("raw"):
        raise OSError("\n".join(lake._storage_options.values()))
    _assert_clean(caught.value)


def _assert_clean(error: BaseException) -> None:
    printed = "".join(traceback.format_exception(error))
    assert SECRET not in printed
    assert KEY_ID not in printed
    assert "\n" not in str(error)


def test_the_keys_are_neither_in_the_config_nor_in_the_print_of_the_resource(endpoint: str) -> None:
    resource = _resource(endpoint)

    @dg.asset
    def uses(lake: LakeResource) -> None:
        assert lake.lake().exists("anything") is False

    definitions = dg.Definitions(assets=[uses], resources={"lake": resource})
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=dg.DagsterInstance.ephemeral()
    )
    assert result.success
    told = repr(resource) + repr(definitions.get_repository_def().get_top_level_resources()) + str(result.all_events)
    assert SECRET not in told
    assert KEY_ID not in told
