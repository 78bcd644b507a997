"""Requests whose parameters are a JSON body: they are sent as a POST, and the URL of the answer names them."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
from aiohttp import web

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.rest import Answer, Limits, Rest
from marketdata_demo.servers.loopback import ProviderServer
from tests.exchanges.history_pages import HASTY


class EchoServer(ProviderServer):
    """Answers with what it was sent."""

    async def line(self, request: web.Request) -> str:
        return f"{request.method} {request.raw_path} {request.content_type}"

    def too_many(self, limit: str) -> web.StreamResponse:
        return web.Response(status=429)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())


def body_of(params: Mapping[str, str | int]) -> bytes:
    return msgspec.json.encode({"request": params})


def test_parameters_are_sent_as_a_body_and_the_url_still_names_them(tmp_path: Path) -> None:
    async def asked(url: str) -> Answer:
        limits = Limits(Budget(tmp_path, "echo", 1.0, 1_000))
        async with Rest("okx", url, limits, lambda _: None, body_of=body_of, patience=HASTY) as rest:
            return await rest.get("/info", {"type": "candles", "start": 5})

    with EchoServer() as server:
        server.drop(1)  # the request is repeated whole
        answer = asyncio.run(asked(server.url))
        assert server.lines == ["POST /info application/json"] * 2
    assert answer.raw == b'{"request":{"type":"candles","start":5}}'
    assert answer.url == f"{server.url}/info?type=candles&start=5"
