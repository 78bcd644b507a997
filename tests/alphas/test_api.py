"""The client against a server with every fault: what is tried again, what is told, and what is never shown."""

import asyncio
import datetime as dt
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.api_requests import Page, check_url, decode_alpha
from marketdata_assets.alphas.errors import ApiUnavailable, BadOptions, RequestRejected, UnsafeId
from marketdata_assets.budget import Budget
from marketdata_assets.http_client import RetryPolicy, retry_after
from marketdata_demo.servers.brain import BrainServer, make, spread
from tests.alphas.brain_clients import EMAIL, NOVEMBER, PASSWORD, client, with_client

LIST = "GET /users"


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 150))
        yield server


def http_date(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


async def first_page(one: BrainClient) -> Page:
    return await one.page("regular", NOVEMBER)


def test_page_gives_the_bytes_that_came(server: BrainServer, tmp_path: Path) -> None:
    odd = make(7000, NOVEMBER.start, "super", note='é " , [1.50, 1e5]')
    server.add_alphas(EMAIL, [odd, make(7001, NOVEMBER.start, "super")])
    page = with_client(server, tmp_path, lambda one: one.page("super", NOVEMBER, 0, 1))
    assert (page.count, page.results, page.ids) == (2, [odd.body], [odd.id])
    assert page.created == [NOVEMBER.start]


def test_pages_go_by_offset_and_window_in_utc(server: BrainServer, tmp_path: Path) -> None:
    second = dt.timedelta(seconds=1)
    server.add_alphas(
        EMAIL, [make(9000, NOVEMBER.end - second), make(9001, NOVEMBER.end), make(9002, NOVEMBER.start - second)]
    )
    last = with_client(server, tmp_path, lambda one: one.page("regular", NOVEMBER, 100))
    assert (last.count, len(last.results), last.created[-1]) == (151, 51, NOVEMBER.end - second)


def test_one_alpha_and_an_unknown_one(server: BrainServer, tmp_path: Path) -> None:
    alpha = make(0, NOVEMBER.start)
    odd = [replace(alpha, id=name) for name in ("r_us", "r-da", "中文1", "a b?c=%2F#d")]
    server.add_alphas(EMAIL, odd)
    for name, found in ((alpha.id, alpha.body), ("nothere", None), *((one.id, one.body) for one in odd)):
        assert with_client(server, tmp_path, lambda one, name=name: one.alpha(name)) == found  # type: ignore[misc]
    assert server.log[-1] == "GET /alphas/a%20b%3Fc%3D%252F%23d"


@pytest.mark.parametrize("name", ["", ".", "..", "../authentication", "a/b", "a\\b", "a\nb", "\ud800"])
def test_an_id_that_leads_elsewhere_is_an_error_and_no_answer(server: BrainServer, tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeId, match="no request is sent"):
        with_client(server, tmp_path, lambda one: one.alpha(name))
    with pytest.raises(UnsafeId):
        with_client(server, tmp_path, lambda one: one.records(name, "pnl"))
    assert server.asked("/alphas/") == 0


@pytest.mark.parametrize("fault", ["500", "503", "drop", "cut", "garble", "stall"])
def test_passing_fault_is_tried_again(server: BrainServer, tmp_path: Path, fault: str) -> None:
    if fault == "stall":
        server.stall(0.6, 2, LIST)
    elif fault.isdigit():
        server.fail(int(fault), 3, LIST)
    else:
        getattr(server, fault)(3, LIST)
    policy = RetryPolicy(max_retries=3, backoff=0.01, max_backoff=0.02, timeout=0.3)
    page = with_client(server, tmp_path, first_page, policy=policy)
    assert page.count == 150
    assert server.asked(LIST) == (3 if fault == "stall" else 4)


@pytest.mark.parametrize("fault", ["500", "drop", "garble", "login"])
def test_lasting_fault_ends_in_a_named_error(server: BrainServer, tmp_path: Path, fault: str) -> None:
    if fault in ("drop", "garble"):
        getattr(server, fault)(99, LIST)
    else:
        server.fail(500, 99, "POST /auth" if fault == "login" else LIST)
    with pytest.raises(ApiUnavailable, match=r"failed after 4 attempts, last: ") as caught:
        with_client(server, tmp_path, first_page)
    assert caught.value.attempts == 4
    assert server.asked("POST /auth" if fault == "login" else LIST) == 4


def test_dead_server_ends_in_a_named_error(tmp_path: Path) -> None:
    with BrainServer() as server:
        pass
    with pytest.raises(ApiUnavailable, match=r"POST /authentication.*ConnectError"):
        with_client(server, tmp_path, first_page)


def test_pauses_double_with_full_jitter(server: BrainServer, tmp_path: Path) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    server.fail(500, 99, LIST)
    policy = RetryPolicy(max_retries=5, backoff=2.0, max_backoff=10.0, sleep=sleep, jitter=lambda: 0.5)
    with pytest.raises(ApiUnavailable):
        with_client(server, tmp_path, first_page, policy=policy)
    assert slept == [1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"detail": "Bad window."}, r"400 \(Bad window\.\)"),
        ({"limit": ["Too large.", "Really."], "type": "no"}, r"400 \(limit: Too large\., Really\.; type: no\)"),
        (["plain", "list"], r"400 \(plain, list\)"),
        ({}, r"400 \(no reason given\)"),
    ],
)
def test_bad_request_tells_the_reason_at_once(server: BrainServer, tmp_path: Path, body: object, told: str) -> None:
    server.fail(400, 9, LIST, body=body)
    with pytest.raises(RequestRejected, match=told):
        with_client(server, tmp_path, first_page)
    assert server.asked(LIST) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_stops_every_client_of_the_account(server: BrainServer, tmp_path: Path, form: str) -> None:
    budget = Budget(tmp_path, "lk", 1.0, 20)

    async def both(one: BrainClient) -> int:
        async with client(server, tmp_path, budget=budget) as other:
            await first_page(one)
            await first_page(other)
            server.fail(429, headers={"Retry-After": "3600" if form == "seconds" else http_date(3600)}, where=LIST)
            before = server.requests
            for each in (one, other):
                with pytest.raises(ApiUnavailable, match=r"requested a pause of (359\d|3600) s"):
                    await first_page(each)
            return before

    before = with_client(server, tmp_path, both, budget=budget)
    assert server.requests == before + 1


def test_requests_go_on_after_a_short_retry_after(server: BrainServer, tmp_path: Path) -> None:
    async def together(one: BrainClient) -> None:
        server.fail(429, headers={"Retry-After": "0.2"}, where=LIST)
        await asyncio.gather(*(first_page(one) for _ in range(3)))

    with_client(server, tmp_path, together)
    assert server.asked(LIST) == 4


def test_redirects_and_next_are_never_followed(server: BrainServer, tmp_path: Path) -> None:
    with BrainServer() as elsewhere:
        server.fail(302, headers={"Location": f"{elsewhere.url}/authentication"}, where=LIST)
        with pytest.raises(RequestRejected, match="a redirect, which is not followed"):
            with_client(server, tmp_path, first_page)
        assert elsewhere.requests == 0


@pytest.mark.parametrize("url", ["http://api.example.com", "ftp://127.0.0.1", "https://me:canary@api.example.com"])
def test_url_that_would_show_the_login_is_refused(url: str) -> None:
    with pytest.raises(BadOptions, match="the URL of BRAIN must") as caught:
        check_url(url)
    assert "canary" not in str(caught.value)


@pytest.mark.usefixtures("all_log_lines")
def test_no_secret_is_ever_logged_or_told(
    server: BrainServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []

    async def all_ways(one: BrainClient) -> None:
        await first_page(one)
        cookies = json.loads((tmp_path / "brain" / "lk.session").read_bytes())["session"]["cookies"]
        said.append(cookies[0]["value"])
        echo = {"detail": f"{PASSWORD} {cookies[0]['value']}"}
        for status, times in ((400, 1), (500, 9)):
            server.fail(status, times, LIST, body=echo)
            with pytest.raises((RequestRejected, ApiUnavailable), match=r"\*\*\* \*\*\*") as caught:
                await first_page(one)
            said.append(str(caught.value))

    with_client(server, tmp_path, all_ways)
    token, *messages = said
    text = "\n".join([caplog.text, *messages])
    assert "GET" in text
    assert PASSWORD not in text
    assert token not in text
    assert "Basic " not in text


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.25"}, 0.25),
        ({"Retry-After": "Fri, 01 Nov 2024 00:00:30 GMT"}, 30),
        ({"Retry-After": "Fri, 01 Nov 2024 00:00:30 GMT", "Date": "Fri, 01 Nov 2024 00:00:10 GMT"}, 20),
        ({"Retry-After": "Thu, 31 Oct 2024 23:00:00 GMT"}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "-NaN"}, None),
        ({"Retry-After": "1e400"}, None),
        ({}, None),
    ],
)
def test_retry_after_reads_numbers_and_dates_and_survives_nonsense(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(httpx.Response(429, headers=headers), NOVEMBER.start) == seconds


@pytest.mark.parametrize("content", [b'{{}:"A"}', b'{"id":"A",[1]:2}', b'{"id":"A",1:2}'])
def test_an_answer_whose_member_has_no_text_as_its_name_is_no_alpha(content: bytes) -> None:
    with pytest.raises(ValueError, match="a member is named"):
        decode_alpha(content)
