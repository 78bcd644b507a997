"""Flags of trades: block, retail price improvement, leg of a combo, forced; live, over REST, in tables and in bars."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import read
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import FundingRate, Liquidation, MarketType, Trade
from marketdata_assets.exchanges.rest_history import Window
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import insert_json, insert_records
from marketdata_assets.read.errors import UnknownName
from marketdata_demo.venues.binance_venue import BinanceServer
from tests.exchanges.history_pages import HOUR, MS, all_of, run
from tests.exchanges.landed_market import PlainBar, land, plain_bars

BYBIT = {"T": 4, "s": "ABCUSDT", "S": "Buy", "v": "6", "p": "20", "i": "1", "seq": 7, "BT": False}
BYBIT_REST = {"execId": "1", "symbol": "ABCUSDT", "price": "20", "size": "6", "side": "Buy", "time": "4"}
OKX = {"instId": "ABC-USDT", "tradeId": "71", "px": "20", "sz": "6", "side": "buy", "ts": "4"}
DERIBIT = {"trade_seq": 7, "trade_id": "1", "timestamp": 4, "price": 20, "amount": 60, "direction": "buy"}
DERIBIT |= {"instrument_name": "ABC-PERPETUAL"}
AGG = {"e": "aggTrade", "E": 5, "s": "ABCUSDT", "a": 1, "p": "20", "q": "6", "f": 1, "l": 2, "T": 1_700_000_000_000}
FUTURES = {"e": "trade", "E": 5, "T": 1_700_000_000_000, "s": "ABCUSDT", "t": 7, "p": "20", "q": "6", "m": False}
LISTED = {"id": 7, "price": "20", "qty": "6", "time": 4, "isBuyerMaker": True}


def bybit(**more: Any) -> dict[str, Any]:
    return {"topic": "publicTrade.ABCUSDT", "type": "snapshot", "ts": 5, "data": [BYBIT | more]}


def okx(**more: Any) -> dict[str, Any]:
    return {"arg": {"channel": "trades", "instId": "ABC-USDT"}, "data": [OKX | {"count": "1"} | more]}


def deribit(**more: Any) -> dict[str, Any]:
    params = {"channel": "trades.ABC-PERPETUAL.100ms", "data": [DERIBIT | more]}
    return {"jsonrpc": "2.0", "method": "subscription", "params": params}


MESSAGES: list[tuple[str, MarketType, Any, str]] = [
    ("bybit", "linear", bybit(), ""),
    ("bybit", "linear", bybit(BT=True, RPI=False), "block"),
    ("bybit", "spot", bybit(BT=True, RPI=True), "block rpi"),
    ("okx", "spot", okx(), ""),
    ("okx", "spot", okx(source="0"), ""),
    ("okx", "spot", okx(source="1"), "rpi"),
    ("deribit", "inverse", deribit(), ""),
    ("deribit", "inverse", deribit(block_trade_id="BLOCK-1", block_trade_leg_count=2), "block"),
    ("deribit", "inverse", deribit(combo_id="ABC-FS-1", combo_trade_id=9, liquidation="M"), "combo liquidation"),
    ("binance", "linear", AGG | {"m": True}, ""),
    ("binance", "linear", AGG | {"m": True, "nq": "6"}, ""),
    ("binance", "linear", AGG | {"m": True, "nq": "6.00"}, ""),
    ("binance", "linear", AGG | {"m": True, "nq": "2"}, "rpi"),
    ("binance", "linear", AGG | {"m": True, "nq": "7"}, ""),
    ("binance", "linear", FUTURES | {"X": "MARKET"}, ""),
    ("binance", "linear", FUTURES | {"X": "INSURANCE_FUND"}, "liquidation"),
]
ANSWERS: list[tuple[str, MarketType, str, Any, str]] = [
    ("bybit", "linear", "/v5/market/recent-trade?symbol=ABCUSDT", BYBIT_REST | {"isBlockTrade": True}, "block"),
    ("bybit", "linear", "/v5/market/recent-trade?symbol=ABCUSDT", BYBIT_REST | {"isRPITrade": True}, "rpi"),
    ("okx", "spot", "/api/v5/market/history-trades?instId=ABC-USDT", OKX | {"source": "1"}, "rpi"),
    (
        *("deribit", "inverse", "/api/v2/public/get_last_trades_by_instrument?instrument_name=ABC-PERPETUAL"),
        *(DERIBIT | {"block_trade_id": "B"}, "block"),
    ),
    ("binance", "linear", "/fapi/v1/trades?symbol=ABCUSDT", LISTED | {"isRPITrade": True}, "rpi"),
    ("binance", "linear", "/fapi/v1/trades?symbol=ABCUSDT", LISTED, ""),
    ("binance", "linear", "/fapi/v1/aggTrades?symbol=ABCUSDT", AGG | {"m": True, "nq": "1"}, "rpi"),
]
WRAPPED = {
    "bybit": lambda row: {"retCode": 0, "result": {"list": [row]}, "time": 5},
    "okx": lambda row: {"code": "0", "data": [row]},
    "deribit": lambda row: {"jsonrpc": "2.0", "result": {"trades": [row], "has_more": False}},
    "binance": lambda row: [row],
}


@pytest.mark.parametrize(("exchange", "market_type", "message", "flags"), MESSAGES)
def test_a_message_says_its_flags_each_time(exchange: str, market_type: MarketType, message: Any, flags: str) -> None:
    feed, raw = venues.find(exchange).feed(market_type, strict=False), json.dumps(message, separators=(",", ":"))
    for _ in range(3):  # from the second one on by the form of the first
        trade, *more = feed.push(raw.encode(), 7)
        assert isinstance(trade, Trade)
        assert trade.flags == tuple(flags.split())
        assert all(isinstance(one, Liquidation) for one in more)


def test_the_form_of_a_message_hides_no_flag() -> None:
    """Messages that differ in their digits alone, of which some hold orders for retail traders."""
    feed = venues.find("binance").feed("linear", strict=False)
    made = []
    for normal in ("6", "2", "6", "0"):
        made += feed.push(json.dumps(AGG | {"m": True, "nq": normal}, separators=(",", ":")).encode(), 7)
    assert [one.flags for one in made if isinstance(one, Trade)] == [(), ("rpi",), (), ("rpi",)]


@pytest.mark.parametrize(("exchange", "market_type", "path", "row", "flags"), ANSWERS)
def test_an_answer_says_them_too(exchange: str, market_type: MarketType, path: str, row: Any, flags: str) -> None:
    feed = venues.find(exchange).feed(market_type, strict=False)
    (trade,) = feed.answer(f"https://h{path}", json.dumps(WRAPPED[exchange](row)).encode(), 7)
    assert isinstance(trade, Trade)
    assert trade.flags == tuple(flags.split())


DAY = int(dt.datetime(2026, 1, 5, tzinfo=dt.UTC).timestamp()) * 10**9


def trades() -> list[Trade]:
    """Of two minutes and two venues, every third with flags."""
    kinds: list[Any] = [(), ("block",), ("rpi",), (), ("block", "combo"), ("liquidation",)]
    made = []
    for number in range(24):
        exchange, name = ("okx", "ABC-USDT") if number % 2 else ("bybit", "ABCUSDT")
        at = DAY + 59 * 10**9 + number * 10**8 if number < 20 else DAY + (180 + number) * 10**9
        prices = {"price": f"{10 + number * 7 % 11}", "size": f"{1 + number % 4}", "contracts": None, "side": "buy"}
        head = (exchange, "linear", "ABC-USDT", name, at, at + number)
        made.append(Trade(*head, trade_id=str(number), **prices, flags=kinds[number % 6]))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("without", ["block", ["rpi", "liquidation"], ["block", "rpi", "combo", "liquidation"]])
def test_bars_without_some_are_those_of_the_others(client: Client, without: Any) -> None:
    made = trades()
    land(client, made)
    left_out = {without} if isinstance(without, str) else set(without)
    expected = plain_bars(one for one in made if not left_out & set(one.flags))
    found = read.ohlcv(without=without, connection=client)
    names = ("open", "high", "low", "close", "volume", "trades", "taker_buy_volume")
    bars = {
        (row["exchange"], row["instrument"], int(row["time"].timestamp()) * 10**9): PlainBar(*map(row.get, names))
        for row in found.to_dicts()
    }
    assert bars == expected
    about = ("okx", "linear", "ABC-USDT", "2026-01-05", "2026-01-05T00:01:00Z")
    first = read.ohlcv(*about, without=without, connection=client)  # type: ignore[arg-type]
    assert first.equals(found.filter(found["exchange"] == "okx").head(1))
    late = read.ohlcv(start="2026-01-05T00:00:01Z", without=without, columns=["time"], connection=client)
    assert late["time"].min() > found["time"].min()  # a minute that began before the start is no bar


@pytest.mark.parametrize("earlier", [-20, 0, 20])
@pytest.mark.parametrize("left_out", [{"flags": ()}, {"sequence": None}, {"size": None}])
def test_a_copy_that_says_less_does_not_replace_the_trade(client: Client, left_out: Any, earlier: int) -> None:
    """Recordings of others lack what ours have, and may have been faster, in ms."""
    whole = msgspec.structs.replace(trades()[1], contracts="5", sequence=7)
    less = msgspec.structs.replace(whole, ts_recv=whole.ts_recv + earlier * MS, **left_out)
    for order in ([whole], [less], [whole]):
        insert_records(client, order)
    flags = client.query("SELECT flags, sequence, size FROM exchange_trades FINAL").result_rows
    assert flags == [(["block"], 7, 2)]


def test_single_trades_of_an_aggregate_that_is_left_out_count(client: Client) -> None:
    head = ("binance", "linear", "ABC-USDT", "ABCUSDT", 1_767_571_200 * 10**9, 1)
    whole = Trade(*head, "9", "10", "3", None, "buy", "100", "102", flags=("rpi",))
    singles = [
        Trade(*head, str(100 + at), "10", "1", None, "buy", flags=("rpi",) if at == 1 else ()) for at in range(3)
    ]
    land(client, [whole, *singles])
    found = read.ohlcv(without="rpi", columns=["volume", "trades"], connection=client)
    assert found.rows() == [(2, 2)]


def test_an_aggregate_with_a_flagged_trade_is_left_out_though_it_does_not_say_so(client: Client) -> None:
    """Only single trades of Binance say that they are forced."""
    head = ("binance", "linear", "ABC-USDT", "ABCUSDT", 1_767_571_200 * 10**9, 1)
    aggregates = [
        Trade(*head, str(number), "10", size, None, "buy", str(first), str(last))
        for number, (first, last, size) in enumerate(((96, 99, "7"), (100, 102, "3"), (104, 105, "20")))
    ]
    singles = [
        Trade(*head, str(number), "10", "1", None, "buy", flags=("liquidation",) if number in (101, 103) else ())
        for number in range(100, 104)
    ]
    land(client, [*aggregates, *singles])
    for name in ("other", "ABCUSDT"):
        land(client, [msgspec.structs.replace(one, exchange="bybit", instrument=name) for one in singles[:1]])
    found = read.ohlcv("binance", without="liquidation", columns=["volume", "trades"], connection=client)
    assert found.rows() == [(7 + 2 + 20, 4 + 2 + 2)]
    assert read.ohlcv("binance", without="rpi", columns=["volume"], connection=client).rows() == [(7 + 3 + 1 + 20,)]


def test_a_flag_that_does_not_exist_is_named(client: Client) -> None:
    with pytest.raises(UnknownName, match="'blocks' is no flag of trades; did you mean 'block'"):
        read.ohlcv(without="blocks", connection=client)  # type: ignore[arg-type]


def test_a_table_of_before_the_flags_gets_them(client: Client) -> None:
    """Its rows have none; records of then, as they may be in a stream or a spool, are taken as well."""
    received_first = "bitNot(reinterpretAsUInt64(ts_recv))"
    client.command(f"ALTER TABLE exchange_trades MODIFY COLUMN version UInt64 MATERIALIZED {received_first}")
    client.command("ALTER TABLE exchange_trades DROP COLUMN flags")
    before, after = trades()[:2]
    old = msgspec.json.encode({key: value for key, value in msgspec.to_builtins(before).items() if key != "flags"})
    client.command("INSERT INTO exchange_trades (exchange, instrument, ts_recv, trade_id) VALUES ('okx', 'X', 1, '0')")
    schema.ensure(client)
    schema.ensure(client)
    assert insert_json(client, "trade", [old]).rejects == ()
    insert_records(client, [after])
    flags = client.query("SELECT trade_id, flags FROM exchange_trades FINAL ORDER BY trade_id").result_rows
    assert flags == [("0", []), ("0", []), ("1", ["block"])]
    wrong = msgspec.json.encode(msgspec.to_builtins(after) | {"flags": ["new"]})
    assert "Invalid enum value" in insert_json(client, "trade", [wrong]).rejects[0].reason


class Dividends(BinanceServer):
    """Pays a second rate at each moment, at times of the same height."""

    def fundingRate(self, query: Any) -> Any:  # noqa: N802 - the venue's word
        regular = super().fundingRate(query)
        rates = [{"fundingRate": f"0.000{number % 3}", "rateType": "Special"} for number in range(len(regular))]
        special = [one | rate for one, rate in zip(regular, rates, strict=True)]
        pairs = zip(regular, special, strict=True)
        return [rate for pair in pairs for rate in pair]


def test_two_rates_of_one_time_are_both_in_the_history(tmp_path: Path) -> None:
    """Binance, since 2026-07: dividends of stocks are rates of their own."""
    with Dividends() as server:
        server.paid = [hour * HOUR for hour in range(1, 7)]
        market, span = ("binance", "linear"), Window(0, 10 * HOUR * MS)
        found = run(server, tmp_path, market, lambda history: all_of(history.funding("ABCUSDT", span)), "ABCUSDT")
    rates = [(one.funding_time // HOUR // MS, one.rate) for one in found if isinstance(one, FundingRate)]
    expected = [(hour, rate) for hour in range(1, 7) for rate in dict.fromkeys(("0.0001", f"0.000{(hour - 1) % 3}"))]
    assert rates == expected
