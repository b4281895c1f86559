"""What becomes of a request on which the service fails: one answer, or a broken one that nobody takes for whole."""

import asyncio
import logging
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Message

from weather_platform.serving.http import Directory, router


def directory(before_head: bool) -> Directory:
    routes = router()

    async def fails() -> Any:
        yield b"the first half"
        raise RuntimeError("in the middle")

    @routes.get("/fails")
    async def answer(request: Request) -> Response:
        if before_head:
            raise RuntimeError("at once")
        return StreamingResponse(fails())

    api = FastAPI(openapi_url=None)
    api.router.routes.extend(routes.routes)
    return Directory(api)


async def asked(app: Directory, sent: list[Message]) -> None:
    async def receive() -> Message:
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/fails", "headers": [], "query_string": b"",
        "state": {"request_id": "mine"}, "asgi": {"spec_version": "2.3"},
    }  # fmt: skip
    await app(scope, receive, send)


def test_a_failure_before_the_answer_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Message] = []
    asyncio.run(asked(directory(before_head=True), sent))
    assert [message.get("status") for message in sent if message["type"] == "http.response.start"] == [500]
    assert b'"request_id":"mine"' in sent[-1]["body"]
    assert "GET /fails failed" in caplog.text


def test_a_failure_in_the_middle_of_an_answer_is_logged_and_left_broken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    sent: list[Message] = []
    with pytest.raises(RuntimeError, match="in the middle"):
        asyncio.run(asked(directory(before_head=False), sent))
    assert [message.get("status") for message in sent if message["type"] == "http.response.start"] == [200]
    assert [message["body"] for message in sent[1:]] == [b"the first half"], "no end that would make it whole"
    assert "GET /fails failed" in caplog.text
