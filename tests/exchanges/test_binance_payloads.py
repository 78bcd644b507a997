"""Recorded payloads of Binance: each field of a record is read from its place in the message."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.binance.instruments import ExchangeInfo, Listed, instruments
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    FundingRate,
    Kline,
    Liquidation,
    MarketType,
    OpenInterest,
    OrderBook,
    Record,
    Ticker,
    Trade,
    VenueError,
)
from tests.exchanges.recorded_payloads import MARKETS, MS, RECV, outcomes, payload


def feed_for(market_type: MarketType, *names: tuple[str, str]) -> BinanceFeed:
    """A feed that knows what a contract is worth."""
    listed = [
        Listed(name, "USDT" if market_type == "option" else "USD", base, contractSize=100, unit=1)
        for name, base in names
    ]
    entries = [msgspec.Raw(msgspec.json.encode(one)) for one in listed]
    info = ExchangeInfo(entries, entries)
    found = Instruments("binance")
    if listed:
        found.add(instruments(market_type, info).instruments)
    return BinanceFeed(market_type, found, strict=False)


def test_an_empty_mark_price_is_none(fixtures: Path) -> None:
    path = "binance-usdm/funding_rest/live_fundingRate_2022_empty_markPrice.ndjson"
    made = outcomes(fixtures, path)
    lines = [json.loads(line) for line in (fixtures / path).read_text().splitlines()]
    assert [one.mark_price for one in made if isinstance(one, FundingRate)] == [d["markPrice"] or None for d in lines]
    assert [one.funding_time for one in made if isinstance(one, FundingRate)] == [d["fundingTime"] * MS for d in lines]


def test_a_ban_asks_for_a_pause_and_a_wrong_symbol_does_not(fixtures: Path) -> None:
    for name in ("http400_-1121", "http418_-1003_ban"):
        path = f"binance-usdm/error/{name}.json"
        said = payload(fixtures, path)
        made = outcomes(fixtures, path)
        banned = "ban" in name
        until = int("".join(filter(str.isdigit, said["msg"].partition("banned until")[2]))) if banned else None
        assert made == [VenueError(said["code"], said["msg"], rate_limited=banned, until_ms=until)]


def test_what_is_missing_is_named(fixtures: Path) -> None:
    path = "binance-usdm/trade/tardis_binance-futures_0.json"
    (letter,) = outcomes(fixtures, path)
    assert isinstance(letter, DeadLetter)
    assert letter.raw == (fixtures / path).read_bytes()
    assert "`a`" in letter.cause


def test_books_of_single_diffs_wait_and_are_wanted(fixtures: Path) -> None:
    feed = BinanceFeed("linear", strict=False)
    (control,) = feed.push((fixtures / "binance-usdm/book/naut_depth_update_stream.json").read_bytes(), RECV)
    assert isinstance(control, Control)
    assert (control.kind, [*feed.resync_requests]) == ("notice", ["BTCUSDT"])


# Field by field.


def made_of(
    d: Any, record: type[Record], about: str, time: str | None, pairs: str = "", instrument: str = "", **more: Any
) -> Record:
    """The record of a message: `about` is market and symbol, `time` the key of its milliseconds.

    `pairs` are fields that are taken as they are, such as `bid=b ask=a`.
    """
    market_type, symbol = about.split()
    moment = None if time is None else int(d[time]) * MS
    fields = {field: d[key] for field, key in (pair.split("=") for pair in pairs.split())}
    name = instrument or d.get("s") or d["symbol"]
    return record("binance", market_type, symbol, name, moment, RECV, **fields, **more)  # type: ignore[arg-type]


def traded(d: Any, about: str, side: str, pairs: str = "size=q", **more: Any) -> Record:
    ids = {"trade_id": str(d.get("t", d.get("a"))), "contracts": None, **more}
    return made_of(d, Trade, about, "T", f"price=p {pairs}", **ids, side=side)


def spot_trade(d: Any) -> Record:
    return traded(d, "spot BNB-BTC", "sell" if d["m"] else "buy")


def linear_agg_trade(d: Any) -> Record:
    ids = {"first_id": str(d["f"]), "last_id": str(d["l"])}
    return traded(d, "linear BTC-USDT-210625", "sell" if d["m"] else "buy", **ids)


def insured_trade(d: Any) -> Record:
    """Of futures, with a buyer who was the maker; the insurance fund took over a position."""
    assert (d["m"], d["X"]) == (True, "INSURANCE_FUND")
    return traded(d, "linear ETH-USDT", "sell", flags=("liquidation",))


def inverse_trade(d: Any) -> Record:
    coins = Decimal(d["q"]) * 100 / Decimal(d["p"])
    size = str(coins.quantize(Decimal("1e-18"))).rstrip("0")
    return traded(d, "inverse BTC-USD-200925", "buy", "", size=size, contracts=d["q"])


def option_trade(d: Any) -> Record:
    side = {"-1": "sell", "1": "buy"}[d["S"]]
    return traded(d, "option DOGE-USDT-231006-0.06-C", side, trade_id=d["t"], contracts=d["q"])


def levels(d: Any, bids: str = "b", asks: str = "a") -> dict[str, Any]:
    return {"bids": tuple(map(tuple, d[bids])), "asks": tuple(map(tuple, d[asks]))}


def spot_delta(d: Any) -> Record:
    ids = "first_id=U last_id=u"
    return made_of(d, OrderBook, "spot BTC-USDT", "E", ids, kind="delta", unit="base", **levels(d))


def inverse_delta(d: Any) -> Record:
    ids = "first_id=U last_id=u prev_id=pu"
    return made_of(d, OrderBook, "inverse BTC-USD", "T", ids, kind="delta", unit="contracts", **levels(d))


def is_partial_depth(d: Any) -> Record:
    more = {"kind": "snapshot", "unit": "base", "first_id": None, **levels(d, "bids", "asks")}
    return made_of(d, OrderBook, "spot ETH-USDT", None, "last_id=lastUpdateId", "ETHUSDT", **more)


CANDLE = "open=o high=h low=l close=c volume=v quote_volume=q trades=n taker_buy_volume=V taker_buy_quote_volume=Q"


def month(d: Any) -> Record:
    k = d["k"]
    times = {"open_time": k["t"] * MS, "close_time": (k["T"] + 1) * MS}
    more = {"interval": "1M", "contracts": None, "closed": k["x"], **times}
    return made_of({**d, **k, "E": d["E"]}, Kline, "linear BTC-USDT", "E", CANDLE, **more)


def listed_kline(row: Any) -> Record:
    d = dict(zip("tohlcvTqnVQ", row, strict=False))
    more = {"interval": "1m", "contracts": None, "closed": None}
    times = {"open_time": d["t"] * MS, "close_time": (d["T"] + 1) * MS}
    return made_of(d, Kline, "spot BTC-USDT", None, CANDLE, "BTCUSDT", **times, **more)


def spot_best(d: Any) -> Record:
    return made_of(d, Ticker, "spot BTC-USDT", None, "bid=b bid_size=B ask=a ask_size=A update_id=u", unit="base")


DAY = "last=c last_size=Q open=o high=h low=l trades=n"


def spot_day(d: Any) -> Record:
    pairs = f"{DAY} bid=b bid_size=B ask=a ask_size=A volume=v quote_volume=q weighted_average=w price_change=P"
    return made_of(d, Ticker, "spot ETH-USDT", "E", pairs, unit="base")


def inverse_day(d: Any) -> Record:
    more = {"unit": "contracts", "quote_volume": str(int(d["v"]) * 100)}
    return made_of(
        d,
        Ticker,
        "inverse BNB-USD-220624",
        "E",
        f"{DAY} volume=q contracts=v weighted_average=w price_change=P",
        **more,
    )


def option_day(d: Any) -> Record:
    pairs = (
        f"{DAY} bid=bo bid_size=bq ask=ao ask_size=aq volume=V contracts=V quote_volume=A mark_price=mp price_change=P"
        " delta=d gamma=g vega=v theta=t"
    )
    ivs = {"bid_iv": "b", "ask_iv": "a", "mark_iv": "vo"}
    percents = {field: str((Decimal(d[key]) * 100).normalize()) for field, key in ivs.items()}
    return made_of(d, Ticker, "option BTC-USDT-240927-25000-P", "E", pairs, unit="contracts", **percents)


def funding(d: Any) -> Record:
    pairs = "rate=r mark_price=p index_price=i"
    return made_of(d, FundingRate, "linear BTC-USDT", "E", pairs, funding_time=d["T"] * MS)


def dated(d: Any) -> Record:
    return made_of(d, Ticker, "linear BTC-BUSD-210129", "E", "mark_price=p index_price=i settlement_price=P")


def premium(d: Any) -> Record:
    pairs = "rate=lastFundingRate mark_price=markPrice index_price=indexPrice"
    return made_of(d, FundingRate, "linear BTC-USDT", "time", pairs, funding_time=d["nextFundingTime"] * MS)


def paid(d: Any) -> Record:
    pairs = "rate=fundingRate mark_price=markPrice"
    return made_of(d, FundingRate, "linear BTC-USDT", "fundingTime", pairs, funding_time=d["fundingTime"] * MS)


def past_interest(d: Any) -> Record:
    pairs = "size=sumOpenInterest value=sumOpenInterestValue"
    return made_of(d, OpenInterest, "linear BTC-USDT", "timestamp", pairs, contracts=None)


def inverse_interest(d: Any) -> Record:
    value = str(int(d["openInterest"]) * 100)
    return made_of(d, OpenInterest, "inverse BTC-USD", "time", "contracts=openInterest", size=None, value=value)


def forced(d: Any) -> Record:
    """At the average price and with what was filled, not at the limit and with what was ordered."""
    assert d["o"]["p"] != d["o"]["ap"]
    return made_of(d["o"], Liquidation, "linear BTC-USDT", "T", "price=ap size=z", side="sell", contracts=None)


FIELDS: list[tuple[str, Callable[[Any], Record]]] = [
    ("binance-spot/trade/tardis_binance_0.json", spot_trade),
    ("binance-usdm/trade/cmp_trade_linear_future_2.json", linear_agg_trade),
    ("binance-usdm/trade/tardis_binance-futures_10.json", insured_trade),
    ("binance-coinm/trade/tardis_binance-delivery_8.json", inverse_trade),
    ("binance-options/trade/tardis_binance-european-options_0.json", option_trade),
    ("binance-spot/book/cmp_l2_event_spot_0.json", spot_delta),
    ("binance-coinm/book/cmp_l2_event_inverse_swap_4.json", inverse_delta),
    ("binance-spot/book/cmp_l2_topk_spot_0.json", is_partial_depth),
    ("binance-usdm/kline/cmp_candlestick_linear_swap_4.json", month),
    ("binance-spot/kline_rest/naut_http_spot_market_klines.json", listed_kline),
    ("binance-spot/ticker/cmp_bbo_spot_0.json", spot_best),
    ("binance-spot/ticker/cmp_ticker_spot_0.json", spot_day),
    ("binance-coinm/ticker/cmp_ticker_inverse_future_2.json", inverse_day),
    ("binance-options/ticker/tardis_binance-european-options_5.json", option_day),
    ("binance-usdm/funding/cmp_funding_rate_linear_swap_2.json", funding),
    ("binance-usdm/funding/tardis_binance-futures_13.json", dated),
    ("binance-usdm/funding_rest/live_premiumIndex.json", premium),
    ("binance-usdm/funding_rest/live_fundingRate_2026-10.json", paid),
    ("binance-usdm/open_interest/live_openInterestHist.json", past_interest),
    ("binance-usdm/open_interest/naut_http_futures_market_open_interest_historical.json", past_interest),
    ("binance-coinm/open_interest/cmp_open_interest_inverse_swap_2.json", inverse_interest),
    ("binance-usdm/liquidation/live_forceOrder_arr_2026-10-09.json", forced),
]
WORTH = [("BTCUSD_200925", "BTC"), ("BTCUSD_PERP", "BTC"), ("BNBUSD_220624", "BNB")]
WORTH_OPTIONS = [("DOGE-231006-0.06-C", "DOGE"), ("BTC-240927-25000-P", "BTC")]


@pytest.mark.parametrize(("path", "expected"), FIELDS, ids=lambda one: getattr(one, "__name__", None))
def test_every_field_is_taken_from_where_it_stands(
    fixtures: Path, path: str, expected: Callable[[Any], Record]
) -> None:
    market_type = MARKETS[path.split("/")[0]][1]
    assert market_type
    known = {"inverse": WORTH, "option": WORTH_OPTIONS}.get(market_type, [])
    made = outcomes(fixtures, path, feed_for(market_type, *known))[0]
    assert isinstance(made, Record)
    assert made == expected(payload(fixtures, path))
