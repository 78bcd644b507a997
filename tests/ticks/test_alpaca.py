"""Alpaca against a server with its keys, its delay and its hours before and after the session."""

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.reference.records import Days
from marketdata_assets.resources import Ticks
from marketdata_assets.ticks.alpaca import Alpaca
from marketdata_assets.ticks.errors import BadResponse, NoToken, UnknownSymbol
from marketdata_assets.ticks.providers_file import ALPACA_KEYS as VARIABLES
from marketdata_assets.ticks.records import BARS, Delivery
from marketdata_demo.servers.alpaca import KEYS, AlpacaServer, bar
from tests.ticks.tick_clients import Clients, flag_names

AAPL, JUNE = "AAPL.US", Days.month("2025-06")
MONDAY = Days(dt.date(2025, 6, 2), dt.date(2025, 6, 2))
NEW_YEAR = Days(dt.date(2025, 1, 6), dt.date(2025, 1, 6))

Asked = Callable[..., Any]


@pytest.fixture
def server(alpaca_server: AlpacaServer) -> AlpacaServer:
    return alpaca_server


@pytest.fixture
def ask(server: AlpacaServer, clients: Clients) -> Asked:
    """What a client of the server returns."""
    return lambda body, **options: clients.with_alpaca(server, body, **options)


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
