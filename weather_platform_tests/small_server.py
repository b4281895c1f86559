"""A real server process on a free loopback port, around a small application of a test."""

import importlib
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn

from weather_platform_tests.processes import Beside, beside


@dataclass(frozen=True)
class SmallServer:
    """Where it listens, and what it has written to its error output."""

    port: int
    process: Beside
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> str:
        """End it as an operator would; gives its output."""
        self.process.end()
        return self.output.read_text()


@contextmanager
def small_server(
    module: str, function: str, env: Mapping[str, str] | None = None, *, http: str | None = None
) -> Iterator[SmallServer]:
    """A server of what the function gives, from its first answer on to the end of the block.

    `http` is another function of the module, which gives the protocol of its connections.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        with beside(serve, module, function, http, env=env, output=output) as process:
            yield SmallServer(process.hear(), process, output)


def serve(pipe: Connection, module: str, function: str, http: str | None = None) -> None:
    """Serve until SIGTERM, and say on which port."""
    tested = importlib.import_module(module)
    app = getattr(tested, function)()
    protocol = "auto" if http is None else getattr(tested, http)()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    pipe.send(listening.getsockname()[1])
    uvicorn.Server(uvicorn.Config(app, http=protocol, log_config=None, lifespan="on")).run(sockets=[listening])
