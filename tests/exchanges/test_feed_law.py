"""The law of feeds, for the messages above the parsers of each venue: what may be missing, and what changes nothing.

Binance's events of one name differ by market: they are in the tests of its own feed.
"""

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from bench.fuzzing import examples
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.records import Control, DeadLetter, Outcome
from marketdata_demo.venues.deribit_messages import MESSAGES

BEGIN = {
    "okx": b'{"arg"',
    "bybit": b'{"topic"',
    "deribit": b'{"jsonrpc":"2.0","method":"subscription"',
    "hyperliquid": b'{"channel"',
    "kraken": b'{"channel"',
    "coinbase": b'{"channel"',
}
UNREAD = {  # what no record needs
    "okx": "arg.instFamily arg.instType instType posSide fillVol delta details.posSide instId arg.instId checksum"
    " prevSeqId high24h low24h open24h",
    "bybit": "seq BT RPI L cs type cts symbol interval s",
    "deribit": "method tick_direction type jsonrpc index_price state funding_8h mark_price",
    "hyperliquid": "ctx.circulatingSupply bbo.n users ctx.coin ctx.impactPxs levels.n hash ctx.totalSupply ctx.midPx",
    "kraken": "ord_type change vwap",
    "coinbase": "client_id events.type events.tickers.type events.tickers.low_52_w events.tickers.high_52_w"
    " events.updates.event_time",
}
OPTIONAL = {  # what is null then
    "okx": "seqId count source nextFundingRate thetaBS vegaBS deltaBS gammaBS nextFundingTime ts oiUsd fwdPx",
    "bybit": "bid1Size bid1Price ask1Price ask1Size openInterest fundingRate markPrice lastPrice fundingIntervalHour"
    " openInterestValue prevPrice24h volume24h turnover24h nextFundingTime highPrice24h lowPrice24h indexPrice",
    "deribit": "stats.price_change settlement_price contracts liquidation stats.volume_usd stats.volume_notional"
    " current_funding",
    "hyperliquid": "ctx.premium ctx.dayBaseVlm subscription.coin",
    "kraken": "timestamp",
    "coinbase": "events.subscriptions.level2 events.subscriptions.market_trades events.tickers.best_bid"
    " events.tickers.best_bid_quantity events.tickers.best_ask events.tickers.best_ask_quantity",
}
ANY_TEXT = {  # names and ids, which a feed cannot judge
    "okx": "tradeId instId",
    "bybit": "i fundingIntervalHour",
    "deribit": "channel trade_id instrument_name",
    "hyperliquid": "coin s subscription.type subscription.coin data",
    "kraken": "symbol",
    "coinbase": "events.product_id",
}
MALFORMED: tuple[Any, ...] = ("1_0", "nan", " 1", "-", 5.5, True, [[]], {})
every_venue = pytest.mark.parametrize("name", BEGIN)


def feed(name: str) -> Feed:
    return venues.find(name).feed("linear", strict=False)


def push(name: str, message: Any, **layout: Any) -> list[Outcome]:
    return feed(name).push(json.dumps(message, **{"separators": (",", ":"), **layout}).encode(), 7)


def messages(name: str) -> list[Any]:
    found = [
        raw for raw in examples(import_module(f"marketdata_assets.exchanges.{name}")) if raw.startswith(BEGIN[name])
    ]
    return [json.loads(raw) for raw in (*found, *(MESSAGES.values() if name == "deribit" else ()))]


def places(told: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ():
        if isinstance(told, dict):
            yield (*at, key)
        yield from places(value, (*at, key))


@every_venue
def test_an_example_is_the_same_whatever_else_it_says_and_however_it_is_written(name: str) -> None:
    told = messages(name)
    assert len(told) >= 6
    for message in told:
        wanted = push(name, message)
        assert not any(isinstance(one, DeadLetter) for one in wanted), message
        more = json.loads(json.dumps(message), object_hook=lambda one: {**one, "brand_new": {"deep": [1, None, "ü"]}})
        turned = json.loads(json.dumps(message), object_hook=lambda one: dict(reversed(one.items())))
        for again in (push(name, more), push(name, message, indent=2), push(name, turned)):
            assert again == wanted
        known = feed(name)  # the second time the parser is remembered
        for _ in range(2):
            known.push(json.dumps({**message, "data": []} if "data" in message else {}).encode(), 7)
        assert known.push(json.dumps(more, separators=(",", ":")).encode(), 7) == wanted


def field_of(path: tuple[Any, ...]) -> str:
    return ".".join(key for key in path if isinstance(key, str)).removeprefix("params.").removeprefix("data.")


@every_venue
def test_a_field_that_is_missing_makes_a_dead_letter_or_is_known_to_be_optional(name: str) -> None:
    missed = set()
    for message in messages(name):
        wanted = push(name, message)
        for path in places(message):
            without = json.loads(json.dumps(message))
            at = without
            for key in path[:-1]:
                at = at[key]
            del at[path[-1]]
            made = push(name, without)
            if not any(isinstance(one, DeadLetter) for one in made):
                field = field_of(path)
                missed.add(field)
                assert made == wanted or field in OPTIONAL[name].split() or not path[0].startswith("data"), field
    assert missed <= {*UNREAD[name].split(), *OPTIONAL[name].split()}


@every_venue
def test_a_field_that_is_malformed_makes_a_dead_letter_or_changes_nothing(name: str) -> None:
    for message in messages(name):
        wanted = push(name, message)
        for path in places(message):
            wrong = json.loads(json.dumps(message))
            at = wrong
            for key in path[:-1]:
                at = at[key]
            value = at[path[-1]]
            if isinstance(value, dict | list) or field_of(path) in ANY_TEXT[name].split():
                continue
            for malformed in MALFORMED:
                if isinstance(malformed, bool | float) and isinstance(value, bool | int | float):
                    continue
                at[path[-1]] = malformed
                made = push(name, wrong)
                assert made == wanted or any(isinstance(one, DeadLetter) for one in made), (path, malformed)


@pytest.mark.parametrize("name", venues.names())
@pytest.mark.parametrize("raw", [b"", b"null", b"7", b'"x"', b"{}", b"{", b"\xff\xfe", b"<html>", b'{"a":' * 20_000])
def test_bytes_that_are_no_message_are_dead_letters(name: str, raw: bytes) -> None:
    (letter,) = feed(name).push(raw, 7)
    assert isinstance(letter, DeadLetter)
    assert (letter.raw, letter.ts_recv) == (raw, 7)
    assert letter.cause
    assert feed(name).stream_of(raw) in ("unknown", "answer")
    assert not any(isinstance(one, Control) and one.kind == "ack" for one in feed(name).answer("https://x/y", raw, 7))
