"""Every kind of answer that is no data, as a specification: whom it rejects, what follows, how many requests it costs.

Each answer is given to every request of two symbols and another interface, in this order.
"""

import asyncio
import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from marketdata_assets.concurrency_limit import ConcurrencyLimit
from marketdata_assets.errors import MarketDataError, is_outage
from marketdata_assets.reference.records import Days
from marketdata_assets.ticks.errors import (
    AccountBlocked,
    BadResponse,
    NoPermission,
    ProviderUnavailable,
    QuotaSpent,
    RequestRejected,
    TokenRejected,
    UnknownSymbol,
)
from marketdata_assets.ticks.provider_client import RateLimiter
from marketdata_assets.ticks.providers_file import Network, WebProvider
from marketdata_demo.servers.alpaca import KEYS
from marketdata_demo.servers.tushare import ADDRESSES, RATE, TOKEN, TushareServer
from marketdata_demo.servers.yahoo import YahooServer
from tests.examples import others_slow
from tests.ticks.tick_clients import FREE, HASTY, SYMBOL, Clients, alpaca_config, tushare_config, week, yahoo_config
from tests.ticks.tick_loads import Loader, assert_exact, codes, good_units, told, units

MINUTE, HOUR, TOMORROW, HALF_AN_HOUR = 60.0, 3600.0, 12 * 3600.0, 1800.0

EACH, RETRIED = (1, 1, 1), (3, 3, 3)
INTERFACE, ACCOUNT, ACCOUNT_AFTER_RETRIES = (1, 0, 1), (1, 0, 0), (3, 0, 0)
"""Requests of the first symbol, of the second, and of the other interface, with two retries."""

Requests = tuple[int, int, int]
Body = str | bytes | list[object] | dict[str, object]


class Rejection(NamedTuple):
    """An answer, the requests that it costs, the error, the pause for all processes, and a part of the message."""

    status: int
    body: Body
    requests: Requests
    error: type[MarketDataError]
    wait: float | None = None
    said: str = ""
    headers: dict[str, str] | None = None

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def said(code: int, text: str, *expected: object, part: str = "") -> Rejection:
    """An answer of Tushare's API; its text is in the message unless `part` is."""
    requests, error, *wait = expected
    body = {"code": code, "msg": text, "data": None}
    return Rejection(200, body, requests, error, wait[0] if wait else None, part or text)  # type: ignore[arg-type]


def door(
    status: int, body: Body, part: str, requests: Requests = ACCOUNT, headers: dict[str, str] | None = None
) -> Rejection:
    """Something before the provider that lets nobody of this machine in."""
    return Rejection(status, body, requests, AccountBlocked, HALF_AN_HOUR, part, headers)


def passing(status: int, body: Body, part: str, wait: float | None = None) -> Rejection:
    """Nothing that lasts: the request is sent again."""
    return Rejection(status, body, RETRIED, ProviderUnavailable, wait, part)


def each(status: int, body: Body, error: type[MarketDataError], part: str) -> Rejection:
    """Of one request."""
    return Rejection(status, body, EACH, error, None, part)


DETAILS = "权限的具体详情访问：https://tushare.pro/document/1?doc_id=108。"
PAGE = "<!DOCTYPE html><html><head><title>{}</title></head><body>...</body></html>"
BLOCKED = PAGE.format("405 访问被阻断")
CUT = b'{"code": 0, "msg": "", "data": {"fields": ["ts_code"], "items": [["6000'

TUSHARE = {
    # An interface for a time, by the period in the text.
    "new, minute": said(
        40203, f"抱歉，您访问接口(stk_mins)频率超限(1次/分钟)，{DETAILS}", INTERFACE, QuotaSpent, MINUTE
    ),
    "new, hour": said(40203, f"抱歉，您访问接口(stk_mins)频率超限(10次/小时)，{DETAILS}", INTERFACE, QuotaSpent, HOUR),
    "new, day": said(40203, "频率超限(10次/天)", INTERFACE, QuotaSpent, TOMORROW, part="2026-08-15 00:00 Beijing"),
    "new, -2002": said(-2002, "抱歉，您访问接口(daily)频率超限(500次/分钟)", INTERFACE, QuotaSpent, MINUTE),
    "new, spaces": said(40203, "频率超限 (30 次 / 小时)", INTERFACE, QuotaSpent, HOUR),
    "new, another word": said(40203, "频次超限(5次/日)", INTERFACE, QuotaSpent, TOMORROW),
    "old, minute": said(40203, f"抱歉，您每分钟最多访问该接口200次，{DETAILS}", INTERFACE, QuotaSpent, MINUTE),
    "old, hour": said(40203, f"抱歉，您每小时最多访问该接口1次，{DETAILS}", INTERFACE, QuotaSpent, HOUR),
    "old, day": said(40203, "抱歉，您每天最多访问该接口100000次", INTERFACE, QuotaSpent, TOMORROW),
    "old, -2001": said(-2001, "每分钟访问次数超限", INTERFACE, QuotaSpent, MINUTE),
    "new, minutes": said(40203, "频率超限(100次/5分钟)", INTERFACE, QuotaSpent, 5 * MINUTE),
    "new, wide": said(40203, "频率超限（2次／小时）", INTERFACE, QuotaSpent, HOUR),
    "each minute": said(-2002, "该接口每分钟限5次", INTERFACE, QuotaSpent, MINUTE),
    "within an hour": said(40203, "抱歉，24小时内最多访问该接口5次", INTERFACE, QuotaSpent, 24 * HOUR),
    "English": said(-2002, "rate limit exceeded", INTERFACE, QuotaSpent, MINUTE),
    "too fast": said(40203, "抱歉，您访问过于频繁，请稍后重试", INTERFACE, QuotaSpent, MINUTE),
    "unknown 40203": said(40203, "拒绝", INTERFACE, QuotaSpent, HOUR),
    # An interface that the account may not use.
    "no permission": said(40203, f"抱歉，您没有接口(stk_mins)访问权限，{DETAILS}", INTERFACE, NoPermission),
    "no permission, -2001": said(-2001, "抱歉，您没有接口(stk_mins)访问权限", INTERFACE, NoPermission),
    "no permission, -2002": said(-2002, "抱歉，您没有访问该接口的权限", INTERFACE, NoPermission),
    "no permission, ip": said(40203, "抱歉，您没有接口(ip_max)访问权限，封顶最大", INTERFACE, NoPermission),
    "no permission, status 500": Rejection(
        500, {"code": 40203, "msg": "抱歉，您没有访问该接口的权限"}, INTERFACE, NoPermission, None, "权限"
    ),
    "no points": said(40203, "抱歉，您积分不足", INTERFACE, NoPermission),
    "withdrawn": said(40001, "该接口已下线", INTERFACE, NoPermission),
    "unknown -2002": said(-2002, "no", INTERFACE, NoPermission),
    "unknown 2002": said(2002, "", INTERFACE, NoPermission, part="no reason given"),
    # The whole account.
    "addresses, 40203": said(40203, "您的IP数量超限，最大数量为2个！", ACCOUNT, AccountBlocked, HALF_AN_HOUR),
    "addresses, 40204": said(40204, "您的IP数量超限，最大数量为5个！", ACCOUNT, AccountBlocked, HALF_AN_HOUR),
    "addresses, online": said(
        40203, "在线Ip数量超限, 请联系管理员获取权限", ACCOUNT, AccountBlocked, HALF_AN_HOUR, part="VPNs and proxies"
    ),
    "addresses, list": said(40203, "当前IP不在白名单内", ACCOUNT, AccountBlocked, HALF_AN_HOUR),
    "addresses, named": said(-2001, "您的IP(203.0.113.7)数量已达到最大值", ACCOUNT, AccountBlocked, HALF_AN_HOUR),
    "unknown 40204": said(40204, "blocked", ACCOUNT, AccountBlocked, HALF_AN_HOUR),
    "a day of everything": said(40203, "您今日访问次数已达上限", ACCOUNT, AccountBlocked, TOMORROW, part="2026-08-15"),
    "token": said(40101, "您的token不对，请确认。", ACCOUNT, TokenRejected),
    "token, -2001": said(-2001, "token不对", ACCOUNT, TokenRejected, part="TUSHARE_TOKEN"),
    "token, 40001": said(40001, "token无效", ACCOUNT, TokenRejected),
    "token, expired": said(40203, "您的Token已过期", ACCOUNT, TokenRejected),
    "token, wanted": said(-2001, "请设置正确的token", ACCOUNT, TokenRejected),
    "unpaid": said(40203, "您的账户余额不足", ACCOUNT, NoPermission, part="every interface"),
    "unknown 40101": said(40101, "请登录", ACCOUNT, TokenRejected),
    "account": said(40203, "您的账号已被禁用", ACCOUNT, TokenRejected),
    "nothing allowed": said(40203, "抱歉，您没有任何接口的访问权限", ACCOUNT, NoPermission, part="every interface"),
    # One request.
    "parameter": said(-2001, "必填参数，ts_code", EACH, RequestRejected),
    "parameter, 40001": said(40001, "参数校验失败", EACH, RequestRejected),
    "unknown -2001": said(-2001, "text of tomorrow", EACH, RequestRejected),
    "unknown code": said(12345, "text of tomorrow", EACH, RequestRejected, part="12345 (text of tomorrow)"),
    "server": said(50101, "", RETRIED, ProviderUnavailable, part="50101 (no reason given)"),
    "server, busy": said(50101, "系统繁忙，请稍后再试", RETRIED, ProviderUnavailable),
    "server, no code": said(-1, "系统内部错误", RETRIED, ProviderUnavailable),
    "concurrency": passing(429, {"code": 429, "msg": "您当前使用该API的并发数过高，请降低并发"}, "并发数过高", 0.01),
    "too many": passing(429, "slow down", "429 (slow down)", 0.01),
    "no data": each(200, {"code": 0, "msg": "", "data": None}, BadResponse, "has no data"),
    "not found": each(404, "404 page not found", RequestRejected, "404 page not found"),
    # Doors before the API, and answers that are cut.
    "firewall": door(403, PAGE.format("Forbidden"), "a web page 'Forbidden'"),
    "firewall, 405": door(405, BLOCKED, "访问被阻断"),
    "firewall, text": door(403, "denied by policy", "403 (denied by policy)"),
    "firewall, 451": door(451, "", "451"),
    "proxy": door(407, "", "firewall or proxy"),
    "portal": door(200, PAGE.format("Log in"), "a web page 'Log in'"),
    "portal, redirect": door(302, "", "portal.example", headers={"Location": "http://portal.example/login"}),
    "gateway": passing(502, PAGE.format("502 Bad Gateway"), "502 Bad Gateway"),
    "unavailable": passing(503, "", "503"),
    "cut": passing(200, CUT, "cannot be parsed"),
    "empty": passing(200, "", "cannot be parsed"),
    "no object": passing(200, [], "cannot be parsed"),
    "no code": passing(200, {"error": "x"}, "cannot be parsed"),
}


def chart_error(code: str, description: str, root: str = "chart") -> Body:
    return {root: {"result": None, "error": {"code": code, "description": description}}}


CONSENT = {"Location": "https://guce.yahoo.com/consent?brandType=nonEu"}

YAHOO = {
    "unauthorized": door(401, chart_error("Unauthorized", "Invalid Crumb", "finance"), "Invalid Crumb"),
    "unauthorized, chart": door(401, chart_error("Unauthorized", "User is unable to access"), "unable"),
    "forbidden": door(403, "Forbidden", "403 (Forbidden)"),
    "forbidden, page": door(403, PAGE.format("Yahoo"), "web page 'Yahoo'"),
    "denied": door(999, PAGE.format("Request denied"), "999"),
    "too many": door(429, "Too Many Requests\r\n", "whatever their rate", ACCOUNT_AFTER_RETRIES),
    "too many, page": door(429, PAGE.format("Yahoo"), "429 (a web page", ACCOUNT_AFTER_RETRIES),
    "too many, an hour": Rejection(
        429, "Too Many Requests", ACCOUNT, QuotaSpent, HOUR, "429 (Too Many Requests)", {"Retry-After": "3600"}
    ),
    "consent, redirect": door(302, "", "to guce.yahoo.com", headers=CONSENT),
    "consent, 307": door(307, "", "to guce.yahoo.com", headers=CONSENT),
    "consent, page": door(200, PAGE.format("Consent"), "a web page 'Consent'"),
    "missing, page": door(404, PAGE.format("404"), "a web page '404'"),
    "unknown symbol": each(404, chart_error("Not Found", "No data found"), UnknownSymbol, "No data found"),
    "bad request": each(400, chart_error("Bad Request", "Invalid input"), RequestRejected, "Invalid input"),
    "window": each(422, chart_error("Unprocessable Entity", "1 day"), RequestRejected, "422 (1 day)"),
    "no result": each(200, chart_error("Strange", "news"), BadResponse, "news"),
    "server": passing(500, chart_error("Internal", "sad"), "500 (sad)"),
    "server, page": passing(502, PAGE.format("Be right back"), "Be right back"),
    "timeout": passing(504, "", "504"),
    "cut": passing(200, b'{"chart": {"result": [{"meta"', "cannot be parsed"),
    "empty": passing(200, "", "cannot be parsed"),
    "too many, 200": door(200, "Edge: Too Many Requests", "Edge: Too Many Requests", ACCOUNT_AFTER_RETRIES),
    "unauthorized, 200": door(200, chart_error("Unauthorized", "Invalid Cookie"), "Invalid Cookie"),
    "text": passing(200, "OK", "cannot be parsed (OK)"),
}

KEYS_WANTED = "APCA_API_KEY_ID and APCA_API_SECRET_KEY"
NO_SIP = {"message": "subscription does not permit recent SIP data"}

ALPACA = {
    "keys": Rejection(401, {"message": "unauthorized."}, ACCOUNT, TokenRejected, None, KEYS_WANTED),
    "forbidden": Rejection(403, {"message": "forbidden."}, ACCOUNT, TokenRejected, None, "forbidden."),
    "subscription": Rejection(403, NO_SIP, ACCOUNT, NoPermission, None, "recent SIP"),
    "too many": Rejection(429, {"message": "too many requests."}, ACCOUNT, QuotaSpent, MINUTE, "too many requests."),
    "firewall": door(403, BLOCKED, "a web page '405 访问被阻断'"),
    "portal": door(200, PAGE.format("Log in"), "a web page 'Log in'"),
    "window": each(422, {"message": "invalid start"}, RequestRejected, "422 (invalid start)"),
    "not found": each(404, "not found", RequestRejected, "404 (not found)"),
    "server": passing(500, {"message": "internal error"}, "internal error"),
    "gateway": passing(502, PAGE.format("502"), "502"),
    "too many, text": passing(429, "slow down", "429 (slow down)", 0.01),
    "cut": passing(200, '{"bars": {"AAPL": [', "cannot be parsed"),
    "no time": passing(200, {"bars": {"AAPL": [{"t": "yesterday"}]}}, "cannot be parsed"),
}


class RecordedLimiter(RateLimiter):
    """Notes what it blocks: interface, or nothing for the whole account, and seconds."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name, FREE, longest_wait=5.0)
        self.blocks: list[tuple[str, float]] = []

    def block(self, interface: str, seconds: float) -> None:
        self.blocks.append((interface, seconds))
        super().block(interface, seconds)


@dataclass
class Outcome:
    requests: list[int] = field(default_factory=list)
    errors: list[MarketDataError] = field(default_factory=list)
    blocks: list[tuple[str, float]] = field(default_factory=list)

    def check(self, rejection: Rejection, interface: str) -> None:
        assert tuple(self.requests) == rejection.requests
        assert {type(error) for error in self.errors} == {rejection.error}
        assert re.sub(r"\s+", " ", rejection.said) in str(self.errors[0])
        assert not [secret for secret in (TOKEN, *KEYS) for error in self.errors if secret in str(error)]
        whole = rejection.requests[1:] == (0, 0) and rejection.error is not QuotaSpent
        waits = {seconds for blocked, seconds in self.blocks if blocked == ("" if whole else interface)}
        assert waits - {HASTY.backoff} == ({rejection.wait} - {None, HASTY.backoff})
        if rejection.requests[1] == 0:  # not one symbol after the other, and not by a repetition of the run
            assert not any(map(is_outage, self.errors))


def asked(server: Any, calls: list[Callable[[], object]]) -> Outcome:
    """Awaits each call; the requests and the error of each."""
    outcome = Outcome()

    async def main() -> None:
        for call in calls:
            before = server.requests
            try:
                await call()  # type: ignore[misc]
            except MarketDataError as error:
                outcome.errors.append(error)
            outcome.requests.append(server.requests - before)

    asyncio.run(main())
    return outcome


NETWORK = Network(timeout=10.0, max_retries=2, backoff=HASTY.backoff)
CONFIGS: dict[str, Callable[..., WebProvider]] = {
    "tushare": tushare_config,
    "yahoo": yahoo_config,
    "alpaca": alpaca_config,
}


ANSWERS = {"tushare": TUSHARE, "yahoo": YAHOO, "alpaca": ALPACA}


@pytest.mark.parametrize(("provider", "name"), [(one, name) for one, table in ANSWERS.items() for name in table])
def test_an_answer_that_is_no_data(request: pytest.FixtureRequest, clients: Clients, provider: str, name: str) -> None:
    rejection, limiter = ANSWERS[provider][name], RecordedLimiter(clients.home, provider)
    server = request.getfixturevalue(f"{provider}_server")
    server.say(rejection.content, 99, status=rejection.status, headers=rejection.headers)
    config, days, symbols = CONFIGS[provider](network=NETWORK), week(), (SYMBOL, "600001.SH")
    client: Any
    if provider == "tushare":
        client = clients.tushare(server, limiter=limiter, config=config)
        other, interface = lambda: client.adjustments(days, SYMBOL), "stk_mins"
    elif provider == "yahoo":
        client = clients.yahoo(server, limiter=limiter, config=config)
        other, interface = lambda: client.actions(SYMBOL, days), "chart"
    else:
        client, symbols = clients.alpaca(server, limiter=limiter, config=config), ("AAPL.US", "MSFT.US")
        other, interface = lambda: client.bars("AAPL.US", days), "bars"
    outcome = asked(server, [*(lambda symbol=symbol: client.bars(symbol, days) for symbol in symbols), other])
    outcome.blocks = limiter.blocks
    outcome.check(rejection, interface)


SWITCHED = {
    kind: [name for name, rejection in TUSHARE.items() if rejection.requests == kind] for kind in (INTERFACE, ACCOUNT)
}


@pytest.mark.parametrize("name", [name for names in SWITCHED.values() for name in others_slow(names)])
def test_the_other_account_is_used_and_the_rejected_one_is_not_asked_again(
    tushare_server: TushareServer, clients: Clients, name: str
) -> None:
    """The first account gets the answer once; minutes are waited for, unless that is longer than a load waits."""
    tushare_server.tokens = ["rejected", "good"]
    rejection = TUSHARE[name]
    tushare_server.say(rejection.content, 1, status=rejection.status, headers=rejection.headers)
    limiters = [RecordedLimiter(clients.home, one) for one in ("rejected", "good")]
    client = clients.tushare(tushare_server, token=["rejected", "good"], limiter=None)
    for account, limiter in zip(client._clients, limiters, strict=True):
        account.calls._limiter = limiter
    outcome = asked(tushare_server, [lambda: client.bars(SYMBOL, week())] * 4)
    assert (outcome.requests, outcome.errors) == ([2, 1, 1, 1], [])
    assert limiters[1].blocks == []


def test_what_is_rejected_for_all_is_not_asked_again_by_the_next_process(
    tushare_server: TushareServer, clients: Clients
) -> None:
    tushare_server.rejected = {TOKEN: (40204, ADDRESSES.format(5))}
    for _ in range(3):
        with pytest.raises((AccountBlocked, QuotaSpent)):
            clients.with_tushare(tushare_server, lambda one: one.bars(SYMBOL, week()))
    assert tushare_server.requests == 1


def test_requests_that_wait_for_their_turn_are_not_sent_once_the_account_is_rejected(
    tushare_server: TushareServer, clients: Clients
) -> None:
    tushare_server.rejected = {TOKEN: (40101, "您的token不对，请确认。")}

    async def all_at_once() -> None:
        async with clients.tushare(tushare_server) as client:
            client.set_concurrency_limit(ConcurrencyLimit(8))  # which begins with one
            calls = (client.bars(SYMBOL, day) for day in Days.month("2025-06").slices(1))
            assert {type(result) for result in await asyncio.gather(*calls, return_exceptions=True)} == {TokenRejected}

    asyncio.run(all_at_once())
    assert tushare_server.requests == 1


@pytest.mark.parametrize("period", ["天", "小时"])
def test_a_spent_day_is_one_request_for_all_symbols_and_no_outage(loader: Loader, period: str) -> None:
    text = RATE.format("stk_mins", 10, period)
    loader.server.rejected = {TOKEN: (40203, text)}
    report = loader(units(codes(10)))
    assert (report.requests, set(told(report).values())) == (1, {"failed"})
    assert not any(unit.transient for unit in report.units)  # the run is not repeated after some minutes
    assert all(text[:30] in (unit.error or "") for unit in report.units)


def test_too_many_addresses_use_the_other_account_and_fail_no_symbol(loader: Loader) -> None:
    symbols = loader.server.symbols = codes(10)
    loader.server.tokens = ["x", "y"]
    loader.server.rejected = {"x": (40203, ADDRESSES.format(2))}
    report = loader(units(symbols), tushare={"token": ["x", "y"]})
    assert (report.failed, len(good_units(report))) == ((), 10)
    assert loader.server.by_token == {"x": 1, "y": 10}
    assert_exact(loader.client, symbols)


def test_too_many_addresses_of_both_accounts_are_one_request_each(loader: Loader) -> None:
    loader.server.rejected = dict.fromkeys("xy", (40203, ADDRESSES.format(2)))
    report = loader(units(codes(10)), tushare={"token": ["x", "y"]})
    assert loader.server.by_token == {"x": 1, "y": 1}
    assert set(told(report).values()) == {"failed"}
    assert all(
        "IP数量超限" in (unit.error or "") and "wait 30 to 60 minutes" in (unit.error or "") for unit in report.units
    )
    assert not any(unit.transient for unit in report.units)


def test_a_fallback_that_rejects_is_asked_once_and_is_no_fallback_that_worked(
    loader: Loader, clients: Clients, yahoo_server: YahooServer
) -> None:
    loader.server.rejected = {TOKEN: (40204, ADDRESSES.format(5))}
    yahoo_server.now = dt.datetime(2025, 7, 1, 1, tzinfo=dt.UTC)
    yahoo_server.say(b"Forbidden", 999, status=403)
    loader.others = [lambda: clients.yahoo(yahoo_server)]
    report = loader(units(codes(10)))
    assert (loader.server.requests, yahoo_server.requests) == (1, 1)
    assert (set(told(report).values()), report.providers()) == ({"failed"}, {})
    assert all("tushare failed" in (unit.error or "") and "yahoo failed" in (unit.error or "") for unit in report.units)


def test_an_empty_answer_counts_though_the_fallback_rejects(
    loader: Loader, clients: Clients, yahoo_server: YahooServer
) -> None:
    """A stock without trades is not a failure of every day on which Yahoo is closed to us; it stays provisional."""
    loader.server.suspended = {*Days.month("2025-06")}
    yahoo_server.say(b"Forbidden", 999, status=403)
    loader.others = [lambda: clients.yahoo(yahoo_server)]
    report = loader(units(codes(3)))
    assert set(told(report).values()) == {"provisional"}
    assert all("yahoo failed" in unit.note for unit in report.units)


@pytest.mark.parametrize("name", [name for name, rejection in YAHOO.items() if rejection.requests[1] != 1])
def test_yahoo_closed_is_told_by_one_request_whatever_was_blocked_before(
    yahoo_server: YahooServer, clients: Clients, name: str
) -> None:
    rejection = YAHOO[name]
    limiter = RecordedLimiter(clients.home, "yahoo")
    limiter.block("", 600.0)
    asked_for = (clients.with_yahoo(yahoo_server, lambda one: one.why_closed(), limiter=limiter) for _ in range(2))
    assert next(asked_for) == ""
    yahoo_server.say(rejection.content, 99, status=rejection.status, headers=rejection.headers)
    assert next(asked_for)
    assert yahoo_server.requests == 2
    assert limiter.blocks == [("", 600.0)]


def test_an_unknown_symbol_is_an_open_door(yahoo_server: YahooServer, clients: Clients) -> None:
    yahoo_server.symbols = []
    assert clients.with_yahoo(yahoo_server, lambda one: one.why_closed()) == ""
