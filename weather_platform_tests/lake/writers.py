"""Other processes: writers of a lake, an S3 server. Importable, so that they can be spawned."""

import time
from multiprocessing import Queue
from multiprocessing.synchronize import Barrier

import pyarrow as pa
from moto.server import ThreadedMotoServer

from weather_platform.lake import Lake


def month(key: str, value: int, rows: int) -> pa.Table:
    return pa.table({"month": pa.array([key] * rows, pa.string()), "value": pa.array([value] * rows, pa.int64())})


def replace_months(
    uri: str, options: dict[str, str], keys: list[str], value: int, rows: int, start: Barrier | None = None
) -> None:
    """Replace these months one after the other, every row with this value."""
    lake = Lake(uri, options)
    if start is not None:
        start.wait()
    for key in keys:
        lake.replace_partition("raw", "month", key, month(key, value, rows))


def replace_slowly(uri: str, keys: list[str], value: int, rows: int) -> None:
    """A range that takes a while between its partitions, to be killed in the middle."""
    lake = Lake(uri)

    def tables() -> object:
        for key in keys:
            time.sleep(0.02)
            yield key, month(key, value, rows)

    list(lake.replace_partitions("raw", "month", tables()))  # type: ignore[arg-type]


def serve_s3(ports: "Queue[int]") -> None:
    """A real S3 server on a free port of this machine, until the process is ended."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    ports.put(server.get_host_and_port()[1])
    while True:
        time.sleep(60)
