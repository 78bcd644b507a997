"""Alpaca against a server with its keys, its delay and its hours before and after the session."""

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tick_clients import FREE, HASTY, flag_names

from marketdata_assets.errors import MarketDataError
from marketdata_assets.reference.records import Days
from marketdata_assets.resources import Ticks
from marketdata_assets.ticks.alpaca import Alpaca
from marketdata_assets.ticks.errors import (
    AccountBlocked,
    BadResponse,
    NoPermission,
    NoToken,
    ProviderUnavailable,
    QuotaSpent,
    RequestRejected,
    TokenRejected,
    UnknownSymbol,
)
from marketdata_assets.ticks.provider_client import RateLimiter, rate_limiter
from marketdata_assets.ticks.providers_file import ALPACA_KEYS as VARIABLES
from marketdata_assets.ticks.providers_file import Network, shipped
from marketdata_assets.ticks.records import BARS, Delivery
from marketdata_demo.servers.alpaca import KEYS, AlpacaServer, bar

T = TypeVar("T")
NOW = dt.datetime(2025, 7, 1, 8, tzinfo=dt.UTC)
AAPL, JUNE = "AAPL.US", Days.month("2025-06")
MONDAY = Days(dt.date(2025, 6, 2), dt.date(2025, 6, 2))
NEW_YEAR = Days(dt.date(2025, 1, 6), dt.date(2025, 1, 6))

Asked = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    with AlpacaServer(now=NOW) as one:
        yield one


@pytest.fixture
def ask(server: AlpacaServer, tmp_path: Path) -> Asked:
    """What a client of the server returns; `keys`, `network` and others are its options."""
    section = shipped().alpaca
    assert section

    def asked(body: Callable[[Alpaca], Coroutine[Any, Any, T]], **options: Any) -> T:
        config = section.model_copy(update={"network": options.pop("network", HASTY), "rate_limits": FREE})
        limiter = options.pop("limiter", None) or rate_limiter("alpaca", config, tmp_path, "key")
        keys = options.pop("keys", KEYS)

        async def main() -> T:
            async with Alpaca(keys, config, limiter, url=server.url, clock=lambda: server.now, **options) as client:
                return await body(client)

        return asyncio.run(main())

    return asked


def bars(days: Days, symbol: str = AAPL) -> Callable[[Alpaca], Coroutine[Any, Any, Delivery]]:
    return lambda one: one.bars(symbol, days)


def test_a_class_of_shares_has_a_point_there(server: AlpacaServer, ask: Asked) -> None:
    server.symbols.append("BRK.B")
    found = ask(bars(MONDAY, "BRK-B.US"))
    assert (found.outcome, found.rows["symbol"].unique().to_list(), found.rows.height) == ("ok", ["BRK-B.US"], 390)
    assert "symbols=BRK.B&" in server.lines[-1]


def test_a_month_is_the_sessions_alone_in_utc_shares_and_dollars(server: AlpacaServer, ask: Asked) -> None:
    """One request a weekday. The holidays of June 2025 are left out by the load, which knows the calendar."""
    delivery = ask(bars(JUNE))
    found = delivery.rows
    assert (delivery.outcome, delivery.provider, delivery.label, delivery.currency) == ("ok", "alpaca", "start", "USD")
    assert (found.schema, found.height, server.requests) == (BARS, 21 * 390, 21)
    assert found["ts"].min() == dt.datetime(2025, 6, 2, 13, 30, tzinfo=dt.UTC)
    assert found["ts"].max() == dt.datetime(2025, 6, 30, 19, 59, tzinfo=dt.UTC)
    assert found["turnover"].null_count() == found.height
    assert not [flags for flags in found["flags"].unique() if "outside_session" in flag_names(flags)]
    first = found.row(0, named=True)
    assert (first["open"], first["high"], first["close"], first["volume"]) == (200.3, 200.8, 200.3, 3100)
    assert all("adjustment=raw" in line and "timeframe=1Min" in line for line in server.lines)


def test_winter_is_an_hour_later_in_utc(ask: Asked) -> None:
    winter = ask(bars(NEW_YEAR)).rows
    assert (winter["ts"].min(), winter.height) == (dt.datetime(2025, 1, 6, 14, 30, tzinfo=dt.UTC), 390)


def test_the_delay_of_a_free_account_is_kept(server: AlpacaServer, ask: Asked) -> None:
    server.now = dt.datetime(2025, 6, 2, 15, tzinfo=dt.UTC)  # 11:00 in New York
    found = ask(bars(MONDAY)).rows
    assert found["ts"].max() == dt.datetime(2025, 6, 2, 14, 43, tzinfo=dt.UTC)
    server.now = dt.datetime(2025, 6, 2, 13, 40, tzinfo=dt.UTC)
    assert (ask(bars(MONDAY)).outcome, server.requests) == ("empty", 1)


def test_no_bars_other_symbols_and_days_before_2016_are_told_apart(server: AlpacaServer, ask: Asked) -> None:
    server.holes = {*MONDAY}
    assert ask(bars(MONDAY)).outcome == "empty"
    with pytest.raises(UnknownSymbol, match="no rule of the symbol mapping fits"):
        ask(bars(MONDAY, "600000.SH"))
    old = ask(bars(Days.month("2015-12")))
    assert (old.outcome, old.reason, server.requests) == ("unsupported", "its bars begin on 2016-01-01", 1)
    with pytest.raises(UnknownSymbol, match="invalid symbol: A1"):
        ask(bars(MONDAY, "A1.US"))


def test_bad_rows_are_rejected_one_by_one(server: AlpacaServer, ask: Asked) -> None:
    half = bar(dt.datetime(2025, 6, 2, 14, 0, 30, tzinfo=dt.UTC))
    half["t"] = "2025-06-02T14:00:30Z"
    server.extra = [half, bar(dt.datetime(2025, 6, 2, 14, 0, tzinfo=dt.UTC)) | {"v": 0.5}]
    delivery = ask(bars(MONDAY))
    assert [reject.reason for reject in delivery.rejected] == [
        "not on a whole minute",
        "volume is not a whole number of shares",
    ]
    assert delivery.rejected[0].raw.startswith("AAPL,2025-06-02 14:00:30")
    assert delivery.rows.height == 390


def said(**document: object) -> bytes:
    return json.dumps({"bars": {}, "next_page_token": None, "currency": "USD", **document}).encode()


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (said(bars={"MSFT": []}), "it is about MSFT in USD"),
        (said(currency="EUR"), "in EUR"),
        (said(next_page_token="x"), "more than 10000 bars"),
        (said(bars={"AAPL": [bar(dt.datetime(2025, 6, 3, 14, tzinfo=dt.UTC))]}), "it has a bar of 2025-06-03"),
    ],
)
def test_an_answer_that_does_not_fit_is_named(server: AlpacaServer, ask: Asked, body: bytes, cause: str) -> None:
    server.say(body)
    with pytest.raises(BadResponse, match=cause):
        ask(bars(MONDAY))


PAGE = "<html><head><title>Blocked</title></head></html>"
EACH, RETRIED, ONCE = (1, 1), (3, 3), (1, 0)


@pytest.mark.parametrize(
    ("status", "body", "requests", "error", "part"),
    [
        (401, {"message": "unauthorized."}, ONCE, TokenRejected, "APCA_API_KEY_ID and APCA_API_SECRET_KEY"),
        (403, {"message": "forbidden."}, ONCE, TokenRejected, "forbidden."),
        (403, {"message": "subscription does not permit querying recent SIP data"}, ONCE, NoPermission, "SIP"),
        (429, {"message": "too many requests."}, ONCE, QuotaSpent, "too many requests."),
        (403, PAGE, ONCE, AccountBlocked, "a web page 'Blocked'"),
        (200, PAGE, ONCE, AccountBlocked, "a web page 'Blocked'"),
        (422, {"message": "invalid start"}, EACH, RequestRejected, "422 (invalid start)"),
        (404, "not found", EACH, RequestRejected, "404 (not found)"),
        (500, {"message": "internal server error occurred"}, RETRIED, ProviderUnavailable, "internal server error"),
        (502, PAGE, RETRIED, ProviderUnavailable, "502"),
        (429, "slow down", RETRIED, ProviderUnavailable, "429 (slow down)"),
        (200, '{"bars": {"AAPL": [', RETRIED, ProviderUnavailable, "cannot be parsed"),
        (200, {"bars": {"AAPL": [{"t": "yesterday"}]}}, RETRIED, ProviderUnavailable, "cannot be parsed"),
    ],
)
def test_answers_that_are_no_data(
    server: AlpacaServer,
    ask: Asked,
    tmp_path: Path,
    status: int,
    body: object,
    requests: tuple[int, int],
    error: type[MarketDataError],
    part: str,
) -> None:
    server.say((body if isinstance(body, str) else json.dumps(body)).encode(), 99, status=status)
    counted: list[int] = []

    async def both(client: Alpaca) -> None:
        for symbol in (AAPL, "MSFT.US"):
            before = server.requests
            with pytest.raises(error) as caught:
                await client.bars(symbol, MONDAY)
            assert part in str(caught.value)
            assert not [key for key in KEYS if key in str(caught.value)]
            counted.append(server.requests - before)

    network = Network(timeout=10.0, max_retries=2, backoff=0.01)
    ask(both, network=network, limiter=RateLimiter(tmp_path, "impatient", FREE, longest_wait=5.0))
    assert tuple(counted) == requests


def test_without_keys_nothing_is_sent(server: AlpacaServer, ask: Asked) -> None:
    with pytest.raises(NoToken, match="Set APCA_API_KEY_ID and APCA_API_SECRET_KEY, or disable alpaca"):
        ask(bars(MONDAY), keys=None)
    assert server.requests == 0


def test_the_keys_of_the_environment_are_used_and_in_no_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: AlpacaServer
) -> None:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path))
    monkeypatch.setenv("MARKETDATA_ALPACA_URL", server.url)
    monkeypatch.delenv("TUSHARE_TOKEN", raising=False)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert not Ticks().network
    for name, value in zip(VARIABLES, KEYS, strict=True):
        monkeypatch.setenv(name, value)
    assert Ticks().network
    [client] = [one for one in Ticks().providers() if isinstance(one, Alpaca)]
    assert client.configured
    assert asyncio.run(client.bars(AAPL, MONDAY)).rows.height == 390
    assert not [key for key in KEYS if key in repr(client) + str(Ticks().model_dump())]
