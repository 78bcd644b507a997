"""Testnets: the venue's messages from other hosts, whose records are never those of the main market."""

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from aiohttp import web
from clickhouse_connect.driver.client import Client

from marketdata_assets import read
from marketdata_assets.collector import config
from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.errors import BadCapture, ExchangesError, UnknownExchange
from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.records import DeadLetter, Gap, Record
from marketdata_assets.exchanges.replay import feed_of, outcomes
from marketdata_assets.exchanges.tables.gaps import numbered
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.http_client import RetryPolicy
from marketdata_demo.venues.captures import entries, voice
from marketdata_demo.venues.market import Plan
from marketdata_demo.venues.okx_venue import OkxVenue
from tests.collector.in_loop import in_loop

PLAN = Plan(dt.datetime(2026, 1, 5, tzinfo=dt.UTC), minutes=4)
OF_THE_MAIN_MARKET = [  # a URL, and what a capture that begins with it is of
    ("wss://stream.binance.com:9443/stream", ("binance", "spot")),
    ("wss://ws.okx.com:8443/ws/v5/public", ("okx", None)),
    ("wss://www.deribit.com/ws/api/v2", ("deribit", None)),
    ("wss://stream.bybit.com/v5/public/linear", ("bybit", "linear")),
    ("wss://api.hyperliquid.xyz/ws", ("hyperliquid", None)),
]
OF_TESTNETS = [
    ("wss://stream.testnet.binance.vision:9443/stream", ("binance-testnet", "spot")),
    ("wss://fstream.binancefuture.com/public/stream", ("binance-testnet", "linear")),
    ("wss://stream.binancefuture.com/stream", ("binance-testnet", "linear")),
    ("wss://dstream.binancefuture.com/stream", ("binance-testnet", "inverse")),
    ("https://testnet.binancefuture.com/dapi/v1/depth?symbol=BTCUSD_PERP", ("binance-testnet", "inverse")),
    ("wss://wspap.okx.com:8443/ws/v5/public", ("okx-testnet", None)),
    ("wss://test.deribit.com/ws/api/v2", ("deribit-testnet", None)),
    ("wss://stream-testnet.bybit.com/v5/public/spot", ("bybit-testnet", "spot")),
    ("wss://stream-demo.bybit.com/v5/public/spot", ("bybit-testnet", "spot")),
    ("wss://api.hyperliquid-testnet.xyz/ws", ("hyperliquid-testnet", None)),
]


def records(name: str) -> list[Record | Gap]:
    """What a feed makes of the messages of the sample, from their checkpoint on."""
    main = venues.main_of(name)
    feed = feed_of(name, voice(main).market_type, "sample")
    made = [one for entry in entries(main, PLAN) for one in outcomes(feed, entry)]
    assert not any(isinstance(one, DeadLetter) for one in made)
    return [one for one in made if isinstance(one, Record | Gap)]


WITH_TESTNET = [name for name in venues.OWN if venues.find(name).testnet]


@pytest.mark.parametrize("name", WITH_TESTNET)
def test_records_of_a_testnet_differ_from_the_venues_in_their_exchange_alone(name: str) -> None:
    main, tested = records(name), records(f"{name}-testnet")
    assert {one.exchange for one in tested} == {f"{name}-testnet"}
    assert [msgspec.structs.replace(one, exchange=name) for one in tested] == main
    assert len(main) > 100


@pytest.mark.parametrize("name", WITH_TESTNET)
def test_nothing_is_asked_of_the_main_market(name: str, tmp_path: Path) -> None:
    main, venue = venues.find(name), venues.find(f"{name}-testnet")
    assert main.testnet
    for market_type, market in venue.markets.items():
        adapters = [one.adapter(one, market_type) for one in (main, venue)]
        named = {"hyperliquid": ("BTC",)}.get(name) or main.markets[market_type].symbols
        for symbol in named if (name, market_type) != ("hyperliquid", "spot") else ("@107",):
            instrument = venue.feed(market_type, strict=False).instruments[symbol]
            urls = [{one.url for one in adapter.subscriptions(instrument, market.data_types)} for adapter in adapters]
            assert not urls[0] & urls[1]
            assert {urlsplit(url).path for url in urls[0]} == {urlsplit(url).path for url in urls[1]}
            assert not any(map(venue.why_not_at, urls[1]))
            assert all(map(venue.why_not_at, urls[0]))
            assert all(map(main.why_not_at, urls[1]))
        budgets = [one.limits(tmp_path, market_type).host.name for one in (main, venue)]
        shared = market.rest == main.markets[market_type].rest
        assert (budgets[0] == budgets[1]) == shared == bool(venue.headers)
        assert urlsplit(market.rest).path == urlsplit(main.markets[market_type].rest).path


class Noting(OkxVenue):
    """Notes what a request says of the market that it is for."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.said: list[str | None] = []

    async def line(self, request: web.Request) -> str:
        self.said.append(request.headers.get("x-simulated-trading"))
        return await super().line(request)


@in_loop
async def test_requests_to_the_testnet_of_okx_say_so(tmp_path: Path) -> None:
    with Noting(["ABC-USDT-SWAP"]) as server:
        for name in ("okx", "okx-testnet"):
            async with venues.find(name).client("linear", tmp_path, RetryPolicy(), host=server.url) as rest:
                await rest.get("/api/v5/public/instruments", {"instType": "SWAP"}, lane="public/instruments")
        assert server.said == [None, "1"]


def recording(folder: Path, *urls: str) -> Path:
    """A capture of another recorder."""
    told = [
        {"recv": str(1_700_000_000 + at), "dir": "http" if url.startswith("http") else "open", "url": url, "data": {}}
        for at, url in enumerate(urls)
    ]
    (folder / "some.ndjson").write_text("".join(json.dumps(one) + "\n" for one in told))
    return folder / "some.ndjson"


@pytest.mark.parametrize(("url", "source"), [*OF_THE_MAIN_MARKET, *OF_TESTNETS])
def test_a_recording_is_of_the_market_that_its_address_shows(tmp_path: Path, url: str, source: Any) -> None:
    capture = open_capture(recording(tmp_path, url))
    assert capture.venue() == source
    main = venues.main_of(source[0])
    other = main if source[0] != main else f"{main}-testnet"
    if not url.startswith("https"):
        with pytest.raises(BadCapture, match=f"it is of {source[0]}, and not of {other}"):
            capture.venue(other, "spot")


def test_a_socket_shows_which_market_a_request_to_a_shared_host_is_of(tmp_path: Path) -> None:
    asked = "https://www.okx.com/api/v5/public/instruments?instType=SPOT"
    assert open_capture(recording(tmp_path, asked)).venue() == ("okx", None)
    both = recording(tmp_path, asked, "wss://wspap.okx.com:8443/ws/v5/public")
    assert open_capture(both).venue() == ("okx-testnet", None)


BYBIT, DATA = "wss://stream.bybit.com/v5/public/", "https://{}/api/v3/depth?symbol=BTCUSDT"


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("wss://ws.okx.com/ws/v5/public", "wss://wspap.okx.com/ws/v5/public", "okx-testnet, and the file is of okx:"),
        (f"{BYBIT}linear", f"{BYBIT}spot", "bybit-spot, and the file is of bybit-linear:"),
        ("wss://stream.binance.com/stream", DATA.format("testnet.binance.vision"), "binance-testnet-spot, and"),
        ("wss://stream.binance.com/stream", DATA.format("fapi.binance.com"), "binance-linear, and"),
    ],
)
@pytest.mark.parametrize("before", [1, 300])
def test_any_entry_of_another_market_fails_the_recording_at_its_line(
    tmp_path: Path, first: str, second: str, words: str, before: int
) -> None:
    """Whether the venue is detected or given."""
    path = recording(tmp_path, *[first] * before, second, first)
    path.write_text(path.read_text().replace('"dir": "open"', '"dir": "in"'))
    for exchange in (None, venues.main_of(open_capture(path).venue()[0])):
        capture = open_capture(path)
        market = capture.venue()[1]
        capture.venue(exchange, market if exchange else None)
        with pytest.raises(BadCapture, match=rf"some\.ndjson:{before + 1}: .* is of {words}.* file of its own"):
            list(capture.entries())


@pytest.mark.parametrize(
    ("exchange", "url"),
    [("okx", "wss://wspap.okx.com/ws/v5/public"), ("okx-testnet", "wss://ws.okx.com/ws/v5/public")],
)
def test_a_header_that_contradicts_a_socket_fails_the_file(tmp_path: Path, exchange: str, url: str) -> None:
    with CaptureWriter(tmp_path, exchange, "spot") as writer:
        writer.write(1_700_000_000 * 10**9, "open", b"", connection=1, url=url)
    with pytest.raises(BadCapture, match=f"entry 1: {url} is of .*, and the file is of {exchange}-spot"):
        list(open_capture(writer.paths[0]).entries())


def test_sockets_of_options_of_binance_are_where_those_of_futures_are(tmp_path: Path) -> None:
    url = "wss://fstream.binance.com/public/stream"
    with CaptureWriter(tmp_path, "binance", "option") as writer:
        writer.write(1_700_000_000 * 10**9, "open", b"", connection=1, url=url)
    assert len(list(open_capture(writer.paths[0]).entries())) == 1
    assert open_capture(recording(tmp_path, url)).venue("binance", "option") == ("binance", "option")


def test_a_recording_without_addresses_is_what_is_said(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "some.txt.gz", "wb") as file:
        file.write(b'1700000000000000005 {"jsonrpc":"2.0"}\n')
    assert open_capture(tmp_path / "some.txt.gz").venue("deribit-testnet") == ("deribit-testnet", None)


def test_the_name_of_an_exchange_is_the_one_setting() -> None:
    found = config.parse("exchanges: {binance-testnet: {}, okx: {}}", "my.yaml")
    markets = {(exchange, market_type): market for exchange, market_type, market in found.markets()}
    assert {name for name, _ in markets} == {"binance-testnet", "okx"}
    assert markets["binance-testnet", "spot"].symbols == ["BTCUSDT", "ETHUSDT"]
    only = config.read(None, config.Variables(exchanges="deribit-testnet"))
    assert {exchange for exchange, *_ in only.markets()} == {"deribit-testnet"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bybit: {markets: {spot: {ws_url: 'wss://stream-testnet.bybit.com'}}}", "stay apart; use bybit-testnet"),
        ("deribit: {markets: {inverse: {base_url: 'https://test.deribit.com'}}}", "stay apart; use deribit-testnet"),
        ("bybit-testnet: {markets: {spot: {ws_url: 'wss://stream.bybit.com'}}}", "not of the testnet; use bybit"),
        ("binance-testnet: {markets: {option: {symbols: ['*']}}}", "the venue has no such market"),
        ("okx-simulated: {markets: {spot: {}}}", "did you mean"),
        ("okx-test: {markets: {spot: {}}}", "did you mean 'okx-testnet'"),
    ],
)
def test_a_configuration_that_would_mix_them_is_an_error(text: str, words: str) -> None:
    with pytest.raises(InvalidConfigFile, match=words):
        config.parse(f"exchanges: {{{text}}}", "my.yaml")


def test_a_host_of_a_history_that_would_mix_them_is_an_error(tmp_path: Path) -> None:
    HistoryHosts(tmp_path, {"binance-testnet-spot": "https://testnet.binance.vision", "okx": "http://127.0.0.1:1"})
    for name, url in (("binance-spot", "https://testnet.binance.vision"), ("bybit-testnet", "https://api.bybit.com")):
        with pytest.raises(ExchangesError, match=f"MARKETDATA_EXCHANGE_HOSTS: {name}: .* use "):
            HistoryHosts(tmp_path, {name: url})


def test_rows_of_a_testnet_are_rows_of_an_exchange_of_their_own(client: Client) -> None:
    one = next(record for record in records("okx") if record.__struct_config__.tag == "trade")
    told = insert_records(client, [one, msgspec.structs.replace(one, exchange="okx-testnet")])  # type: ignore[arg-type]
    assert (told["trade"].rows, told["trade"].rejects) == (2, ())
    for exchange in ("okx", "okx-testnet"):
        assert read.trades(exchange, connection=client)["exchange"].to_list() == [exchange]


def test_an_exchange_without_a_testnet_is_unknown() -> None:
    with pytest.raises(UnknownExchange, match=r"'kraken-testnet' is unknown; did you mean '(?!kraken-testnet)"):
        venues.find("kraken-testnet")


def test_rules_of_a_venue_are_those_of_its_testnet() -> None:
    """Queries take them as lists of exchanges."""
    assert {"binance", "binance-testnet", "binance-simulated"} == set(numbered())
    for venue in map(venues.find, WITH_TESTNET):
        tested = venues.find(f"{venue.name}-testnet")
        assert (tested.trades, tested.ordered_trades) == (venue.trades, venue.ordered_trades)
