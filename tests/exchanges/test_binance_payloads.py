"""Recorded payloads of Binance: each becomes the kind of record, control or error that it should."""

import json
from collections import Counter
from pathlib import Path

from binance_payloads import MARKETS, MS, RECV, feed_for, outcomes, payload

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    FundingRate,
    Gap,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Record,
    Ticker,
    Trade,
    VenueError,
)

NOT_ONE_PAYLOAD = {"capture", "instruments"}

BECOMES: dict[str, type] = {  # by folder
    "book": OrderBook,
    "book_rest": Control,  # a whole book waits for the first change
    "kline": Kline,
    "kline_rest": Kline,
    "trade": Trade,
    "trade_rest": Trade,
    "ticker": Ticker,
    "funding": FundingRate,
    "funding_rest": FundingRate,
    "open_interest": OpenInterest,
    "liquidation": Liquidation,
    "error": VenueError,
    "index": Control,
    "misc": Control,
}
BUT: dict[str, type] = {
    **dict.fromkeys(
        (
            "binance-spot/book/tardis_binance_4.json",
            "binance-spot/book/tardis_binance_8.json",
            "binance-coinm/book/tardis_binance-delivery_1.json",
        ),
        Control,  # whole books too
    ),
    "binance-usdm/book/tardis_binance-futures_5.json": Gap,  # of levels that somebody invented: they cross
    "binance-usdm/trade/tardis_binance-futures_0.json": DeadLetter,  # has no `a`
    "binance-usdm/funding/tardis_binance-futures_13.json": Ticker,  # dated futures pay no funding
    "binance-coinm/funding/tardis_binance-delivery_3.json": Ticker,
    "binance-options/funding/tardis_binance-european-options-v2_7.json": Ticker,
    "binance-options/funding/tardis_binance-european-options_4.json": Ticker,
    "binance-options/ticker/cmp_ticker_option_10.json": Control,
    "binance-options/ticker/tardis_binance-european-options-v2_0.json": Trade,
}


def paths(fixtures: Path) -> list[str]:
    return [
        str(path.relative_to(fixtures))
        for folder in MARKETS
        for path in sorted((fixtures / folder).rglob("*.*json"))
        if path.parent.name not in NOT_ONE_PAYLOAD
    ]


def test_every_payload_becomes_what_it_should(fixtures: Path) -> None:
    seen: Counter[str] = Counter()
    for path in paths(fixtures):
        folder, kind, _ = path.split("/")
        made = outcomes(feed_for(MARKETS[folder]), fixtures, path)
        assert made, path
        assert {type(one) for one in made} == {BUT.get(path, BECOMES[kind])}, path
        seen[folder] += 1
        for one in made:
            if isinstance(one, Record):
                assert (one.exchange, one.market_type, one.ts_recv) == ("binance", MARKETS[folder], RECV)
                assert one.symbol.split("-")[:2] == [*named(one.instrument, one.market_type)]
    assert seen.keys() == MARKETS.keys()


def named(name: str, market_type: str) -> tuple[str, str]:
    """Base and quote of the few instruments of the recorded payloads."""
    pair = name.replace("-", "_").split("_")[0]
    if market_type in ("option", "inverse"):
        return (pair, "USDT") if market_type == "option" else (pair.removesuffix("USD"), "USD")
    quote = next(quote for quote in ("USDT", "BUSD", "USDC", "BTC") if pair.endswith(quote))
    return pair.removesuffix(quote), quote


def test_an_empty_mark_price_is_none(fixtures: Path) -> None:
    path = "binance-usdm/funding_rest/live_fundingRate_2022_empty_markPrice.ndjson"
    made = outcomes(feed_for("linear"), fixtures, path)
    lines = [json.loads(line) for line in (fixtures / path).read_text().splitlines()]
    assert [one.mark_price for one in made if isinstance(one, FundingRate)] == [d["markPrice"] or None for d in lines]
    assert [one.funding_time for one in made if isinstance(one, FundingRate)] == [d["fundingTime"] * MS for d in lines]


def test_a_ban_asks_for_a_pause_and_a_wrong_symbol_does_not(fixtures: Path) -> None:
    for name in ("http400_-1121", "http418_-1003_ban"):
        path = f"binance-usdm/error/{name}.json"
        said = payload(fixtures, path)
        made = outcomes(feed_for("linear"), fixtures, path)
        banned = "ban" in name
        until = int("".join(filter(str.isdigit, said["msg"].partition("banned until")[2]))) if banned else None
        assert made == [VenueError(said["code"], said["msg"], rate_limited=banned, until_ms=until)]


def test_what_is_missing_is_named(fixtures: Path) -> None:
    path = "binance-usdm/trade/tardis_binance-futures_0.json"
    (letter,) = outcomes(feed_for("linear"), fixtures, path)
    assert isinstance(letter, DeadLetter)
    assert letter.raw == (fixtures / path).read_bytes()
    assert "`a`" in letter.cause


def test_books_of_single_diffs_wait_and_are_wanted(fixtures: Path) -> None:
    feed = BinanceFeed("linear", strict=False)
    (control,) = feed.push((fixtures / "binance-usdm/book/naut_depth_update_stream.json").read_bytes(), RECV)
    assert isinstance(control, Control)
    assert (control.kind, [*feed.resync_requests]) == ("notice", ["BTCUSDT"])
