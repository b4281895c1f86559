"""Real servers of tests, on loopback: a webhook that answers as it is asked to, and a mail server.

What belongs here: receiving, answering and remembering. What does not: what is sent, which is of the tests.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Answer = int | Literal["silence", "half", "hang up", "drip"]
TOKEN = "t0ken-nobody-may-read"  # noqa: S105
"""Part of the address of every channel of the tests."""


@dataclass
class Webhook:
    """A server that remembers what it was sent. `answers` are used up one by one; the last one stays."""

    port: int
    answers: list[Answer] = field(default_factory=lambda: [204])
    received: list[dict[str, Any]] = field(default_factory=list)
    before_answer: Callable[[], None] = lambda: None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Its address as a channel, with a secret in path, query and header."""
        return f"json://user:{TOKEN}@127.0.0.1:{self.port}/{TOKEN}?+X-Token={TOKEN}&-key={TOKEN}&rto=1&cto=1"

    @property
    def titles(self) -> list[str]:
        """Titles of what it was sent, in order."""
        return [message["title"] for message in self.received]


@contextmanager
def webhook(*answers: Answer) -> Iterator[Webhook]:
    """A webhook that gives these answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.received.append(json.loads(body))
            hook.before_answer()
            answer = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
            if answer == "silence":
                hook.ended.wait(60)
            elif answer == "drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not hook.ended.wait(0.1):
                    self.wfile.write(b".")
            elif answer == "half":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it")
            elif answer != "hang up":
                self.send_response(int(answer))
                self.send_header("Content-Length", "0")
                self.end_headers()
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook = Webhook(server.server_address[1])
    if answers:
        hook.answers = list(answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Mail:
    """A mail server that remembers what it took. `refusals` are answers to the next messages, in order."""

    port: int
    received: list[Envelope] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002 - as aiosmtpd calls it
        """Take or refuse one message."""
        if self.refusals:
            return self.refusals.pop(0)
        self.received.append(envelope)
        return "250 OK"

    @property
    def url(self) -> str:
        """Its address as a channel."""
        return (
            f"mailto://user:{TOKEN}@127.0.0.1:{self.port}?mode=insecure&from=weather@example.org&to=people@example.org"
        )


@contextmanager
def mail_server(password: str = TOKEN) -> Iterator[Mail]:
    """A mail server that lets in whoever has this password."""

    def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _how: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and given.password == password.encode()
        return AuthResult(success=right, handled=False)

    mail = Mail(closed_port())
    controller = Controller(
        mail, hostname="127.0.0.1", port=mail.port, authenticator=authenticate, auth_require_tls=False,
        auth_required=True,
    )  # fmt: skip
    controller.start()
    try:
        yield mail
    finally:
        controller.stop()


def closed_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
