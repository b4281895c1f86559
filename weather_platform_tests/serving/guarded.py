"""A small server behind the middleware, for tests: the work of a process of its own, which says its port.

`/open` asks for nothing, `/v1/token` gives tokens, `/admin` needs that scope, and every other path `predict`. Each
answers with who asks. What was refused and why goes to the standard output.
"""

import asyncio
import json
import socket
from multiprocessing.connection import Connection
from typing import Any

import uvicorn

from weather_platform.database import Database
from weather_platform.serving.auth import Authenticator, AuthError, AuthMiddleware, read_login
from weather_platform.settings import load_settings

OPEN = ("/open", "/v1/token")


def serve(pipe: Connection, url: str) -> None:
    """Serve until killed, with the users of this database."""
    authenticator = Authenticator.from_settings(load_settings(), Database(url))
    authenticator.start()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        status, headers, body = 200, {}, {"subject": getattr(scope["state"].get("subject"), "name", None)}
        if scope["path"] == "/v1/token":
            sent, more = b"", True
            while more:
                message = await receive()
                sent, more = sent + message["body"], message["more_body"]
            kind = dict(scope["headers"]).get(b"content-type", b"").decode()
            try:
                issued = await authenticator.login(read_login(kind, sent), scope["client"][0])
                body = issued.answer()
            except AuthError as error:
                status, headers, body = error.status, error.headers(), error.problem()
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    def needed(path: str, method: str) -> str | None:
        return None if path in OPEN else "admin" if path == "/admin" else "predict"

    def refused(reason: str) -> None:
        print("refused", reason, flush=True)  # noqa: T201

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        pipe.send(listening.getsockname()[1])
        app = AuthMiddleware(answer, authenticator, needed, refused)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="debug", proxy_headers=False))
        asyncio.run(server.serve(sockets=[listening]))
