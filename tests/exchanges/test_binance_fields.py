"""Recorded payloads of Binance: each field of a record is taken from where it stands."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from binance_payloads import MARKETS, MS, RECV, feed_for, outcomes, payload

from marketdata_assets.exchanges.records import (
    FundingRate,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Record,
    Ticker,
    Trade,
)


def head(one: Any, symbol: str, moment_ms: int | None, market_type: str) -> dict[str, Any]:
    return {
        "exchange": "binance",
        "market_type": market_type,
        "symbol": symbol,
        "instrument": one,
        "ts_event": None if moment_ms is None else moment_ms * MS,
        "ts_recv": RECV,
    }


def taken(message: Any, pairs: str) -> dict[str, Any]:
    """The values of a message by field of the record, from pairs such as `bid=b ask=a`."""
    return {field: message[key] for field, key in (pair.split("=") for pair in pairs.split())}


def spot_trade(d: Any) -> Record:
    return Trade(
        **head(d["s"], "BNB-BTC", d["T"], "spot"),
        trade_id=str(d["t"]),
        price=d["p"],
        size=d["q"],
        contracts=None,
        side="sell" if d["m"] else "buy",
    )


def linear_agg_trade(d: Any) -> Record:
    return Trade(
        **head(d["s"], "BTC-USDT-210625", d["T"], "linear"),
        trade_id=str(d["a"]),
        price=d["p"],
        size=d["q"],
        contracts=None,
        side="sell" if d["m"] else "buy",
        first_id=str(d["f"]),
        last_id=str(d["l"]),
    )


def insured_trade(d: Any) -> Record:
    """Of futures, with a buyer who was the maker."""
    assert d["m"] is True
    return Trade(
        **head(d["s"], "ETH-USDT", d["T"], "linear"),
        trade_id=str(d["t"]),
        price=d["p"],
        size=d["q"],
        contracts=None,
        side="sell",
    )


def inverse_trade(d: Any) -> Record:
    coins = Decimal(d["q"]) * 100 / Decimal(d["p"])
    return Trade(
        **head(d["s"], "BTC-USD-200925", d["T"], "inverse"),
        trade_id=str(d["t"]),
        price=d["p"],
        size=str(coins.quantize(Decimal("1e-18"))).rstrip("0"),
        contracts=d["q"],
        side="buy",
    )


def option_trade(d: Any) -> Record:
    return Trade(
        **head(d["s"], "DOGE-USDT-231006-0.06-C", d["T"], "option"),
        **taken(d, "trade_id=t price=p size=q contracts=q"),
        side={"-1": "sell", "1": "buy"}[d["S"]],
    )


def spot_delta(d: Any) -> Record:
    return OrderBook(
        **head(d["s"], "BTC-USDT", d["E"], "spot"),
        kind="delta",
        bids=tuple(map(tuple, d["b"])),
        asks=tuple(map(tuple, d["a"])),
        unit="base",
        first_id=d["U"],
        last_id=d["u"],
    )


def inverse_delta(d: Any) -> Record:
    return OrderBook(
        **head(d["s"], "BTC-USD", d["T"], "inverse"),
        kind="delta",
        bids=tuple(map(tuple, d["b"])),
        asks=tuple(map(tuple, d["a"])),
        unit="contracts",
        first_id=d["U"],
        last_id=d["u"],
        prev_id=d["pu"],
    )


def is_partial_depth(d: Any) -> Record:
    return OrderBook(
        **head("ETHUSDT", "ETH-USDT", None, "spot"),
        kind="snapshot",
        bids=tuple(map(tuple, d["bids"])),
        asks=tuple(map(tuple, d["asks"])),
        unit="base",
        first_id=None,
        last_id=d["lastUpdateId"],
    )


def month(d: Any) -> Record:
    k = d["k"]
    return Kline(
        **head(d["s"], "BTC-USDT", d["E"], "linear"),
        **taken(
            k,
            "open=o high=h low=l close=c volume=v quote_volume=q trades=n taker_buy_volume=V "
            "taker_buy_quote_volume=Q closed=x",
        ),
        interval="1M",
        open_time=k["t"] * MS,
        close_time=(k["T"] + 1) * MS,
        contracts=None,
    )


def spot_best(d: Any) -> Record:
    return Ticker(
        **head(d["s"], "BTC-USDT", None, "spot"),
        **taken(d, "bid=b bid_size=B ask=a ask_size=A update_id=u"),
        unit="base",
    )


def spot_day(d: Any) -> Record:
    return Ticker(
        **head(d["s"], "ETH-USDT", d["E"], "spot"),
        **taken(
            d,
            "bid=b bid_size=B ask=a ask_size=A last=c last_size=Q open=o high=h low=l volume=v quote_volume=q "
            "weighted_average=w trades=n",
        ),
        unit="base",
    )


def inverse_day(d: Any) -> Record:
    return Ticker(
        **head(d["s"], "BNB-USD-220624", d["E"], "inverse"),
        **taken(d, "last=c last_size=Q open=o high=h low=l volume=q contracts=v weighted_average=w trades=n"),
        unit="contracts",
        quote_volume=str(int(d["v"]) * 100),
    )


def option_day(d: Any) -> Record:
    return Ticker(
        **head(d["s"], "BTC-USDT-240927-25000-P", d["E"], "option"),
        **taken(
            d,
            "bid=bo bid_size=bq ask=ao ask_size=aq last=c last_size=Q open=o high=h low=l volume=V "
            "contracts=V quote_volume=A trades=n mark_price=mp",
        ),
        unit="contracts",
        bid_iv=str((Decimal(d["b"]) * 100).normalize()),
        ask_iv=str((Decimal(d["a"]) * 100).normalize()),
        mark_iv=str((Decimal(d["vo"]) * 100).normalize()),
    )


def funding(d: Any) -> Record:
    return FundingRate(
        **head(d["s"], "BTC-USDT", d["E"], "linear"),
        **taken(d, "rate=r mark_price=p index_price=i"),
        funding_time=d["T"] * MS,
    )


def dated(d: Any) -> Record:
    return Ticker(
        **head(d["s"], "BTC-BUSD-210129", d["E"], "linear"), **taken(d, "mark_price=p index_price=i settlement_price=P")
    )


def premium(d: Any) -> Record:
    return FundingRate(
        **head(d["symbol"], "BTC-USDT", d["time"], "linear"),
        **taken(d, "rate=lastFundingRate mark_price=markPrice index_price=indexPrice"),
        funding_time=d["nextFundingTime"] * MS,
    )


def paid(d: Any) -> Record:
    return FundingRate(
        **head(d["symbol"], "BTC-USDT", d["fundingTime"], "linear"),
        rate=d["fundingRate"],
        funding_time=d["fundingTime"] * MS,
        mark_price=d["markPrice"],
    )


def past_interest(d: Any) -> Record:
    return OpenInterest(
        **head(d["symbol"], "BTC-USDT", int(d["timestamp"]), "linear"),
        contracts=None,
        size=d["sumOpenInterest"],
        value=d["sumOpenInterestValue"],
    )


def inverse_interest(d: Any) -> Record:
    return OpenInterest(
        **head(d["symbol"], "BTC-USD", d["time"], "inverse"),
        contracts=d["openInterest"],
        size=None,
        value=str(int(d["openInterest"]) * 100),
    )


def forced(d: Any) -> Record:
    """At the average price and with what was filled, not at the limit and with what was ordered."""
    o = d["o"]
    assert o["p"] != o["ap"]
    return Liquidation(
        **head(o["s"], "BTC-USDT", o["T"], "linear"), side="sell", price=o["ap"], size=o["z"], contracts=None
    )


def listed_kline(row: Any) -> Record:
    return Kline(
        **head("BTCUSDT", "BTC-USDT", None, "spot"),
        interval="1m",
        open_time=row[0] * MS,
        close_time=(row[6] + 1) * MS,
        open=row[1],
        high=row[2],
        low=row[3],
        close=row[4],
        volume=row[5],
        contracts=None,
        quote_volume=row[7],
        trades=row[8],
        taker_buy_volume=row[9],
        taker_buy_quote_volume=row[10],
        closed=None,
    )


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
    market_type = MARKETS[path.split("/")[0]]
    known = {"inverse": WORTH, "option": WORTH_OPTIONS}.get(market_type, [])
    made = outcomes(feed_for(market_type, *known), fixtures, path)[0]
    assert isinstance(made, Record)
    assert made == expected(payload(fixtures, path))
