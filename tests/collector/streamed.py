"""A stream with records in it, and what the tables hold of them."""

from collections.abc import Sequence
from typing import Any

import nats
from clickhouse_connect.driver.client import Client

from marketdata_assets.collector.items import Item, message_id, subject
from marketdata_assets.collector.jetstream.stream import Stream, ensure
from marketdata_assets.exchanges.records import (
    FundingRate,
    Gap,
    InstrumentState,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Ticker,
    Trade,
)
from marketdata_assets.exchanges.tables import schema

NOW = 1_762_000_000 * 10**9
WHERE = ("binance", "linear", "BTC-USDT", "BTCUSDT")


async def publish(url: str, items: Sequence[Item], stream: Stream | None = None) -> None:
    """Put items into the stream, which is made when it is missing."""
    await ensure(url, stream)
    connection = await nats.connect(url)
    try:
        for item in items:
            headers = {"Nats-Msg-Id": message_id(item.record)}
            await connection.publish(subject(item.record), item.payload, headers=headers)
        await connection.flush()
    finally:
        await connection.close()


def records(number: int) -> list[Any]:
    """One of each type."""
    ts = NOW + number * 10**6
    ids = number * 10, number * 10 + 9
    return [
        Trade(*WHERE, ts, ts + 5, str(number), "1.5", "0.25", None, "buy"),
        OrderBook(*WHERE, ts, ts + 6, "delta", (("1.4", "3"),), (("1.6", "0"), ("1.7", "2")), "base", *ids, ids[0] - 1),
        Kline(*WHERE, ts, ts + 7, "1m", NOW, NOW + 60 * 10**9, *"1214", "5", None, "6", number, None, None, None),
        Ticker(*WHERE, None, ts + 8, "1.4", "1", "1.6", "2", "base", number),
        FundingRate(*WHERE, ts, ts + 9, "-0.0001", NOW),
        OpenInterest(*WHERE, ts, ts + 10, None, "123.5", None),
        Liquidation(*WHERE, ts, ts + 11, "sell", "1.4", "2", None),
        InstrumentState(*WHERE, None, ts + 11, "trading", "TRADING"),
        Gap(*WHERE, "trade", number, number + 2, ts, ts + 12, "sequence"),
    ]


def contents(client: Client) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, by type."""
    return {
        table.type: [
            tuple(row)
            for row in client.query(
                f"SELECT {', '.join(table.columns)}, time FROM {table.name} FINAL ORDER BY ALL",
                settings=schema.FINAL_SETTINGS,
            ).result_rows
        ]
        for table in schema.TABLES.values()
    }
