"""Lists of instruments with odd entries: the others are taken, and the odd ones are dead letters."""

from typing import Any

import msgspec
import pytest

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import DeadLetter, Liquidation, MarketType

BINANCE = {"symbol": "ABCUSDT", "status": "TRADING", "baseAsset": "ABC", "quoteAsset": "USDT"}
OKX = {"instType": "SWAP", "instId": "ABC-USDT-SWAP", "uly": "ABC-USDT", "ctType": "linear", "ctVal": "0.1"}
OKX |= {"ctMult": "1", "ctValCcy": "ABC"}
DERIBIT = {"instrument_name": "ABC-PERPETUAL", "kind": "future", "base_currency": "ABC", "quote_currency": "USD"}
DERIBIT |= {"counter_currency": "USD", "instrument_type": "reversed", "contract_size": 10.0}
BYBIT = {"symbol": "ABCUSDT", "baseCoin": "ABC", "quoteCoin": "USDT", "contractType": "LinearPerpetual"}

LISTS: list[tuple[str, MarketType, str, dict[str, Any], Any, str]] = [
    ("binance", "spot", "api/v3/exchangeInfo", BINANCE, lambda entries: {"symbols": entries}, "quoteAsset"),
    ("okx", "linear", "api/v5/public/instruments", OKX, lambda entries: {"code": "0", "data": entries}, "ctType"),
    ("deribit", "inverse", "api/v2/public/get_instruments", DERIBIT, lambda entries: {"result": entries}, "kind"),
    (
        "bybit",
        "linear",
        "v5/market/instruments-info",
        BYBIT,
        lambda entries: {"retCode": 0, "result": {"list": entries, "nextPageCursor": ""}, "time": 1},
        "quoteCoin",
    ),
]


@pytest.mark.parametrize(
    ("exchange", "market_type", "path", "entry", "answer", "needed"), LISTS, ids=lambda one: str(one)[:9]
)
@pytest.mark.parametrize("odd", [None, 7, "", {"new": 1}])
def test_one_odd_entry_does_not_reject_the_list(
    exchange: str, market_type: MarketType, path: str, entry: dict[str, Any], answer: Any, needed: str, odd: object
) -> None:
    feed = venues.find(exchange).feed(market_type)
    wrong = {**entry, needed: odd}
    made = feed.answer(f"https://h/{path}?instType=SWAP", msgspec.json.encode(answer([wrong, entry])), 1)
    assert list(feed.instruments.known.values()) == [feed.instruments[next(iter(feed.instruments.known))]]
    letters = [one for one in made if isinstance(one, DeadLetter)]
    assert [msgspec.json.decode(one.raw) for one in letters] in ([wrong], []), (
        "a kind that we do not know is no odd entry"
    )
    if odd is None:
        assert letters


def test_instruments_that_are_traded_no_more_say_so() -> None:
    feed = venues.find("binance").feed("spot")
    listed = [BINANCE, {**BINANCE, "symbol": "OLDUSDT", "status": "BREAK"}]
    feed.answer("https://h/api/v3/exchangeInfo", msgspec.json.encode({"symbols": listed}), 1)
    assert [one.ended for one in feed.instruments.known.values()] == ["", "BREAK"]


def test_one_unknown_contract_does_not_reject_a_message_of_liquidations() -> None:
    feed = venues.find("okx").feed("linear")
    feed.answer(
        "https://h/api/v5/public/instruments?instType=SWAP", msgspec.json.encode({"code": "0", "data": [OKX]}), 1
    )
    details = [{"bkPx": "4.1", "side": "sell", "posSide": "long", "sz": "20", "ts": "1700000000123"}]
    data = [{"instId": name, "instType": "SWAP", "details": details} for name in ("NEW-USDT-SWAP", "ABC-USDT-SWAP")]
    message = {"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": data}
    made = feed.push(msgspec.json.encode(message), 1)
    assert [one.instrument for one in made if isinstance(one, Liquidation)] == ["ABC-USDT-SWAP"]
    assert ["NEW-USDT-SWAP" in one.cause for one in made if isinstance(one, DeadLetter)] == [True]
