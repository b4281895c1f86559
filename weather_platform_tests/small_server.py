"""A real server process on a free loopback port, around a small application of a test.

`python -m weather_platform_tests.small_server MODULE FUNCTION` serves what the function gives.
"""

import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import uvicorn


@dataclass(frozen=True)
class SmallServer:
    """Where it listens, and what it has written to its error output."""

    port: int
    process: subprocess.Popen[str]
    errors: IO[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> str:
        """End it as an operator would; gives its error output."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        self.errors.seek(0)
        return self.errors.read()


@contextmanager
def small_server(module: str, function: str, env: Mapping[str, str] | None = None) -> Iterator[SmallServer]:
    """The server, from its first answer on to the end of the block."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "weather_platform_tests.small_server", module, function],
            env=os.environ | (env or {}),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                errors.seek(0)
                raise AssertionError(errors.read())
            yield SmallServer(int(port), process, errors)
        finally:
            process.kill()
            process.communicate()


def main() -> None:
    """Serve until SIGTERM."""
    module, function = sys.argv[1:]
    app = getattr(importlib.import_module(module), function)()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(listening.getsockname()[1], flush=True)  # noqa: T201 - it is how the test learns the port
    uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on")).run(sockets=[listening])


if __name__ == "__main__":
    main()
