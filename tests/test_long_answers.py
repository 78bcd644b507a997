"""An answer that unfolds to far more than any server has to say is not read to its end."""

import asyncio
import gzip

import httpx
import pytest
from aiohttp import web

from marketdata_assets.http_client import HttpClient, RetriesExhausted, RetryLater, RetryPolicy
from marketdata_assets.input_limits import MAX_RESPONSE_BYTES

MB = 1024 * 1024


async def serving(body: bytes) -> tuple[web.AppRunner, str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "X-Said": "1"})

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def asked(body: bytes) -> httpx.Response:
    async def ask() -> httpx.Response:
        runner, url = await serving(body)
        server = HttpClient(url, RetryPolicy(max_retries=0))
        try:
            return await server.call_with_retry(lambda: whole(server), lambda seconds: None)
        finally:
            await server.close()
            await runner.cleanup()

    async def whole(server: HttpClient) -> httpx.Response | RetryLater:
        return await server.send(lambda response: response, "GET", "/", {})

    return asyncio.run(ask())


def test_an_answer_that_unfolds_to_more_than_any_server_says_is_refused() -> None:
    bomb = gzip.compress(b"0" * (MAX_RESPONSE_BYTES + MB), 1)
    assert len(bomb) < MB
    with pytest.raises(RetriesExhausted, match="more than 128 MB"):
        asked(bomb)


def test_a_packed_answer_comes_unpacked_with_its_headers() -> None:
    answer = asked(gzip.compress(b'{"a": 1}'))
    assert (answer.json(), answer.headers["X-Said"]) == ({"a": 1}, "1")
