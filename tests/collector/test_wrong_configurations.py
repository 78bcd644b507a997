"""Configurations that cannot work: `collect check` refuses each, and names the key, the value and the remedy."""

import re
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.collector import assembly, config
from marketdata_assets.collector.config import Variables
from marketdata_assets.collector.connections import Shard
from marketdata_assets.collector.servers import Servers
from marketdata_assets.errors import MarketDataError
from marketdata_assets.exchanges.history_clients import HistoryHosts


def market(exchange: str, market_type: str, keys: str = "") -> str:
    return f"exchanges: {{{exchange}: {{markets: {{{market_type}: {{{keys}}}}}}}}}"


WHOLE = market("binance", "spot")

WRONG = {
    # Candle intervals, data types and markets that a venue lacks.
    market("deribit", "inverse", "kline_intervals: [4h]"): r"kline_intervals: Deribit inverse has no candles of 4h; use 1m, 3m",  # noqa: E501
    market("binance", "spot", "kline_intervals: [7m]"): r"kline_intervals: Binance spot has no candles of 7m; use 1s, 1m, 3m",  # noqa: E501
    market("binance", "linear", "kline_intervals: [1s]"): r"Binance linear has no candles of 1s; use 1m",
    market("okx", "spot", "kline_intervals: [1m, 8h]"): r"OKX spot has no candles of 8h; use .*6h, 12h",
    market("bybit", "linear", "kline_intervals: [10m]"): r"Bybit linear has no candles of 10m; use 1m",
    market("hyperliquid", "linear", "kline_intervals: [6h]"): r"Hyperliquid linear has no candles of 6h; use 1m",
    market("okx", "spot", "kline_intervals: [1H]"): r"OKX spot has no candles of 1H; use",
    market("okx", "spot", "kline_intervals: [1m, 1m]"): r"kline_intervals: 1m is given twice",
    market("okx", "spot", "kline_intervals: []"): r"kline_intervals: list should have at least 1 item",
    market("binance", "option", "symbols: [A], data_types: [orderbook, kline]"): r"Binance option has no orderbook, kline; use trade, ticker, open_interest",  # noqa: E501
    market("hyperliquid", "inverse", "symbols: [BTC]"): r"Hyperliquid inverse cannot be collected: the venue has no such market; use spot, linear",  # noqa: E501
    market("bybit", "option", "symbols: [BTC]"): r"Bybit option cannot be collected: .*use spot, linear, inverse",
    market("binance", "spot", "data_types: [trade, funding_rate]"): r"Binance spot has no funding_rate; use trade, orderbook, kline, ticker",  # noqa: E501
    market("okx", "spot", "data_types: [open_interest]"): r"OKX spot has no open_interest; use trade",
    market("okx", "option", "symbols: [A], data_types: [liquidation]"): r"OKX option has no liquidation; use",
    market("deribit", "option", "symbols: [A], data_types: [funding_rate]"): r"Deribit option has no funding_rate; use",
    market("hyperliquid", "linear", "data_types: [liquidation]"): r"Hyperliquid linear has no liquidation; use",
    market("binance", "spot", "data_types: [trades]"): r"data_types.*should be 'trade'",
    market("binance", "spot", "data_types: [trade, trade]"): r"data_types: trade is given twice",
    market("binance", "spot", "data_types: []"): r"data_types: list should have at least 1 item",
    # Channels.
    market("binance", "spot", "book_speed: 250ms"): r"book_speed: Binance spot has no 250ms; use 100ms, 1000ms",
    market("binance", "linear", "trade_channel: trade"): r"trade_channel: Binance linear cannot be collected with trade: .*; use aggTrade",  # noqa: E501
    market("okx", "linear", "book_channel: books-l2-tbt"): r"book_channel: .*with books-l2-tbt: it needs a login with VIP level 5.*; use books, books5",  # noqa: E501
    market("okx", "spot", "book_channel: bbo-tbt"): r"no book; add ticker to data_types",
    market("deribit", "inverse", "book_speed: raw"): r"with raw: it needs a login.*; use 100ms, agg2",
    market("bybit", "linear", "book_speed: 100ms"): r"book_speed: Bybit linear has no choice of it; omit it",
    market("bybit", "spot", "book_depth: 7"): r"book_depth: Bybit spot has no books of 7 levels; use 1, 50, 200, 1000",
    market("binance", "spot", "book_depth: 50"): r"book_depth: Binance spot has no books of 50 levels; use 1000, 500, 100",  # noqa: E501
    market("okx", "spot", "book_depth: 50"): r"book_depth: OKX spot has one depth of books; omit book_depth",
    # Symbols.
    market("okx", "option"): r"option\.symbols: is missing; add it",
    market("binance", "spot", "symbols: []"): r"symbols: list should have at least 1 item",
    market("binance", "spot", "symbols: BTCUSDT"): r"symbols: should be a valid list, was 'BTCUSDT'",
    market("binance", "spot", "symbols: ['BTC/USDT']"): r"symbols: 'BTC/USDT' is no symbol of Binance; write .* as BTCUSDT, or BASE-QUOTE",  # noqa: E501
    market("okx", "spot", "symbols: ['BTC-USDT ETH-USDT']"): r"symbols: 'BTC-USDT ETH-USDT' is no symbol of OKX; write .* as BTC-USDT",  # noqa: E501
    market("deribit", "option", "symbols: [BTC-PERPETUAL]"): r"BTC-PERPETUAL is no instrument of Deribit option; move it to exchanges.deribit.markets.inverse",  # noqa: E501
    market("deribit", "inverse", "symbols: [BTC-27DEC30-60000-C]"): r"BTC-27DEC30-60000-C is no instrument of Deribit inverse; move it to exchanges.deribit.markets.option",  # noqa: E501
    market("okx", "option", "symbols: [BTC-USDT-SWAP]"): r"BTC-USDT-SWAP is no instrument of OKX option; move it to exchanges.okx.markets.linear",  # noqa: E501
    market("okx", "spot", "symbols: [BTC-USDT-SWAP]"): r"BTC-USDT-SWAP is no instrument of OKX spot; move it to exchanges.okx.markets.linear",  # noqa: E501
    market("okx", "linear", "symbols: [BTC-USD-SWAP]"): r"BTC-USD-SWAP is no instrument of OKX linear; move it to exchanges.okx.markets.inverse",  # noqa: E501
    market("binance", "option", "symbols: [BTCUSDT]"): r"BTCUSDT is no instrument of Binance option; move it to exchanges.binance.markets.spot or exchanges.binance.markets.linear",  # noqa: E501
    market("binance", "linear", "symbols: [BTC-301227-60000-C]"): r"BTC-301227-60000-C is no instrument of Binance linear; move it to exchanges.binance.markets.option",  # noqa: E501
    market("binance", "spot", "symbols: [BTCUSD_PERP]"): r"BTCUSD_PERP is no instrument of Binance spot; move it to exchanges.binance.markets.inverse",  # noqa: E501
    market("hyperliquid", "spot", "symbols: [BTC]"): r"BTC is no instrument of Hyperliquid spot; move it to exchanges.hyperliquid.markets.linear",  # noqa: E501
    market("okx", "spot", "symbols: ['']"): r"symbols: '' is no symbol of OKX",
    market("deribit", "option", "symbols: ['BTC -*']"): r"symbols: 'BTC -\*' is no symbol of Deribit.*or a pattern, as BTC-\*",  # noqa: E501
    market("deribit", "option", "symbols: ['BTC-[CP']"): r"symbols: 'BTC-\[CP' is no symbol of Deribit",
    market("deribit", "option", "symbols: ['!*-P']"): r"symbols: has exclusions \(!\*-P\) only; add what they are taken from",  # noqa: E501
    market("deribit", "option", "symbols: ['*'], max_instruments: 0"): r"max_instruments: should be greater than 0",
    market("binance", "spot", "symbols: [BTCUSDT, BTCUSDT]"): r"symbols: BTCUSDT is given twice",
    # Names.
    market("binanse", "spot"): r"exchanges\.binanse: unknown key; did you mean 'binance'\?",
    market("okx", "swap"): r"markets\.swap: unknown key; did you mean 'spot'\?",
    market("okx", "spot", "symbol: [BTC-USDT]"): r"markets\.spot\.symbol: unknown key; did you mean 'symbols'\?",
    "exchanges: {binance: {enabeld: true}}": r"binance\.enabeld: unknown key; did you mean 'enabled'\?",
    "exchanges: {}": r"exchanges: .*at least 1 item",
    "exchanges: {binance: {enabled: false}}": r"no exchange is enabled.* Set enabled: true",
    # Addresses.
    market("okx", "spot", "ws_url: https://host"): r"ws_url: must be wss://host",
    market("okx", "spot", "ws_url: ws://host"): r"ws_url: must be wss://host",
    "exchanges: {kraken-testnet: {}}": r"my\.yaml:1: exchanges\.kraken-testnet: unknown key",
    "exchanges: {binanse: {}}": r"my\.yaml:1: exchanges\.binanse: unknown key; did you mean 'binance'\?$",
    market("okx", "spot", "ws_url: wss://host/ws/v5/public"): r"ws_url: must be wss://host",
    market("okx", "spot", "base_url: https://host/api"): r"base_url: must be https://host",
    market("okx", "spot", "base_url: 'https://'"): r"base_url: must be https://host",
    market("okx", "spot", "base_url: 'https://me:secret@host'"): r"base_url: must be https://host",
    market("okx", "spot", "base_url: 'https://ho st'"): r"base_url: must be https://host",
    # Sinks and limits.
    f"{WHOLE}\nredis: {{cache: true}}": r"redis\.cache: is enabled, but no server is set\. Set MARKETDATA_REDIS_URL",
    f"{WHOLE}\nclickhouse: {{direct_write: true}}": r"clickhouse\.direct_write: .* Set MARKETDATA_CLICKHOUSE_URL",
    f"{WHOLE}\njetstream: {{enabled: true}}": r"jetstream\.enabled: .* Set MARKETDATA_NATS_URL",
    f"{WHOLE}\ncapture: {{enabled: false}}": r"capture\.enabled: is disabled, and no other sink keeps the data\. Enable",  # noqa: E501
    f"{WHOLE}\njetstream: {{max_gigabytes: 0}}": r"jetstream\.max_gigabytes: should be greater than 0",
    f"{WHOLE}\nhttp: {{port: 70000}}": r"http\.port: should be less than or equal to 65535",
    f"{WHOLE}\nconnections: {{silence_seconds: {{trades: 5}}}}": r"silence_seconds\.trades: unknown key; did you mean 'trade'\?",  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_a_wrong_configuration_is_refused_with_the_remedy(text: str, message: str) -> None:
    found = refused(text)
    assert re.search(message, found), found
    assert "secret" not in found


def refused(text: str, **variables: Any) -> str:
    with pytest.raises(MarketDataError) as caught:
        assembly.check(config.parse(text, "my.yaml", Variables(**variables)), Servers())
    return str(caught.value)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"exchanges": "binance,bybitt"}, "EXCHANGES: exchange 'bybitt' is unknown; did you mean 'bybit'?"),
        ({"symbols": "BTC USDT"}, "SYMBOLS: 'BTC USDT' is no symbol of Binance"),
        ({"enable_binance": False}, "no exchange is enabled"),
    ],
)
def test_a_wrong_variable_is_refused_with_the_remedy(variables: dict[str, Any], message: str) -> None:
    assert message in refused(WHOLE, **variables)


def test_omitted_keys_have_the_defaults_of_the_venue() -> None:
    found = config.parse("exchanges: {bybit: {markets: {linear: }}, deribit: }", "my.yaml")
    assert found.exchanges["bybit"].markets["linear"].data_types == [
        *("trade", "orderbook", "kline", "ticker", "funding_rate", "open_interest", "liquidation", "instrument_state")
    ]
    assert found.exchanges["deribit"].markets["inverse"].symbols == ["BTC-PERPETUAL", "ETH-PERPETUAL"]


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("binance-spott", "'binance-spott' is no host of a history; did you mean 'binance-spot'?"),
        ("okx-swap", "'okx-swap' is no host of a history; did you mean 'okx-"),
        ("bibyt", "'bibyt' is no host of a history; did you mean 'bybit'?"),
    ],
)
def test_a_misspelled_host_of_a_history_is_refused(tmp_path: Path, host: str, message: str) -> None:
    with pytest.raises(MarketDataError, match=re.escape(message)):
        HistoryHosts(tmp_path, {host: "https://host"})
    HistoryHosts(tmp_path, {"binance": "https://host", "okx-spot": "http://127.0.0.1:1"})
    with pytest.raises(MarketDataError, match="MARKETDATA_EXCHANGE_HOSTS: okx: 'ftp://host'"):
        HistoryHosts(tmp_path, {"okx": "ftp://host"})


@pytest.mark.parametrize(
    ("exchange", "market", "symbols"),
    [
        ("okx", "linear", ["BTC-USDT", "BTCUSDT", "BTC-USDT-SWAP", "BTC-USDT-301227"]),
        ("okx", "option", ["BTC-USD-301227-60000-C", "BTC-*", "!*-P"]),
        ("deribit", "option", ["BTC-USD-301227-60000-C", "BTC-27DEC30-60000-P"]),
        ("deribit", "linear", ["BTC-USDC", "BTC_USDC-PERPETUAL"]),
        ("hyperliquid", "linear", ["BTC", "BTC-USDC", "xyz:TSLA", "flx:*"]),
        ("hyperliquid", "spot", ["PURR-USDC", "@107", "PURR/USDC"]),
        ("binance", "inverse", ["BTC-USD", "BTCUSD_PERP"]),
    ],
)
def test_our_names_and_those_of_the_venue_are_of_their_market(exchange: str, market: str, symbols: list[str]) -> None:
    names = ", ".join(f"'{symbol}'" for symbol in symbols)
    config.parse(f"exchanges: {{{exchange}: {{markets: {{{market}: {{symbols: [{names}]}}}}}}}}", "x.yaml")


def test_more_subscriptions_than_an_address_may_have_are_refused_with_the_numbers() -> None:
    symbols = ", ".join(f"C{number}" for number in range(150))
    pairs = ", ".join(f"'@{number}'" for number in range(1, 61))
    text = (
        f"exchanges: {{hyperliquid: {{markets: {{linear: {{symbols: [{symbols}]}}, spot: {{symbols: [{pairs}]}}}}}}}}"
    )
    found = config.parse(text, "x.yaml")
    with pytest.raises(MarketDataError) as caught:
        assembly.check(found, Servers())
    assert (
        "exchanges.hyperliquid.markets: 150 instruments of linear with 5 each and 60 instruments of spot with 5"
        " each are 1,050 subscriptions; 875 can be planned for an address. Name fewer symbols or data_types, or start"
        " shards on hosts with addresses of their own (--shard)."
    ) in str(caught.value)
    assembly.check(found, Servers(), Shard(1, 2))
