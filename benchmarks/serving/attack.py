"""The hostile side of `serving_attack.py`: a process of its own that opens connections on loopback and misuses them.

    python benchmarks/serving/attack.py KIND PORT CONNECTIONS SECONDS ADDRESSES

What belongs here: what hostile clients do. What does not: what the server makes of it. It opens CONNECTIONS once, from
127.0.0.2 and the next ADDRESSES - 1 (with 0: from 127.0.0.1, as the other clients), sends on those that are still open
until SECONDS are over, and reads nothing. It prints how many it opened and how many were open at the end.
"""

import resource
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

KINDS: Mapping[str, tuple[bytes, Callable[[], bytes], float]] = {
    "silent": (b"", lambda: b"", 1.0),
    "endless heads": (b"GET /livez HTTP/1.1\r\nX: ", lambda: b"x" * 4096, 0.05),
    "slow heads": (b"GET /livez HTTP/1.1\r\n", lambda: b"X: y\r\n", 1.0),
    "slow bodies": (b"POST /v1/token HTTP/1.1\r\nContent-Length: 8000\r\n\r\n", lambda: b"x", 1.0),
    "unread answers": (b"GET /openapi.json HTTP/1.1\r\n\r\n", lambda: b"GET /openapi.json HTTP/1.1\r\n\r\n", 0.5),
    "unread files": (b"", lambda: b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\n\r\n", 0.5),
    "requests ahead": (b"", lambda: b"GET /livez HTTP/1.1\r\n\r\n" * 500, 0.2),
}
"""What is sent first, what is sent again and again, and the seconds between."""


def main() -> None:
    """Attack."""
    kind, port, count, seconds, addresses = sys.argv[1], *map(int, sys.argv[2:6])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    first, piece, pause = KINDS[kind]
    end = time.monotonic() + seconds
    opened, connections = 0, []
    for number in range(count):
        if time.monotonic() > end:
            break
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        source = f"127.0.0.{2 + number % addresses}" if addresses else "127.0.0.1"
        try:
            connection.bind((source, 0))
            connection.settimeout(5)
            connection.connect(("127.0.0.1", port))
            connection.setblocking(False)
            connection.sendall(first)
        except OSError:
            connection.close()
            continue
        opened += 1
        connections.append(connection)
    while time.monotonic() < end and connections:
        began = time.monotonic()
        kept = []
        for connection in connections:
            try:
                with suppress(BlockingIOError):
                    connection.send(piece() or b"")
                if not piece() and connection.recv(1, socket.MSG_PEEK) == b"":
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except OSError:
                connection.close()
                continue
            kept.append(connection)
        connections = kept
        time.sleep(max(0.0, pause - (time.monotonic() - began)))
    print(opened, len(connections))


if __name__ == "__main__":
    main()
