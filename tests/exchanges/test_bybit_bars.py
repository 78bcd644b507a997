"""Minute bars of Bybit's contracts, whose trade ids have no order."""

import datetime as dt
import json
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.bybit.feed import BybitFeed
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.exchanges.tables import ohlcv
from marketdata_assets.exchanges.tables.rows import insert_records

NOON = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)


def test_trades_of_one_moment_open_and_close_a_bar_in_the_order_of_their_messages(client: Client) -> None:
    feed, moment, made = BybitFeed("linear", strict=False), int(NOON.timestamp()) * 1000, []
    for fills in ((("f-9", "10"), ("a-1", "11")), (("c-5", "12"), ("b-2", "13"))):  # two messages of one read
        data = [{"T": moment, "s": "ABCUSDT", "S": "Buy", "v": "1", "p": price, "i": name} for name, price in fills]
        told = {"topic": "publicTrade.ABCUSDT", "type": "snapshot", "ts": moment, "data": data}
        made += [one for one in feed.push(json.dumps(told).encode(), moment * 1_000_000) if isinstance(one, Trade)]
    insert_records(client, reversed(made))
    ohlcv.compute(client, NOON.date(), run_id="test", now=NOON + dt.timedelta(days=1))
    bars = client.query("SELECT open, high, low, close, trades FROM exchange_ohlcv_1m").result_rows
    assert bars == [(Decimal(10), Decimal(13), Decimal(10), Decimal(13), 4)]
