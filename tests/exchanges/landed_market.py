"""The invented market in the tables of a ClickHouse, and bars of it that are computed without ClickHouse."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import DeadLetter, Exchange, Gap, MarketType, Record, Trade
from marketdata_assets.exchanges.replay import feed_of, outcomes
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.stores import clickhouse
from marketdata_demo.venues.captures import entries, voice
from marketdata_demo.venues.market import MINUTE_MS, NS, VENUES, Plan

MINUTE_NS = MINUTE_MS * NS


def records(plan: Plan, venues: Iterable[Exchange] = VENUES) -> Iterator[Record | Gap]:
    """What the feeds make of the venues' messages."""
    for venue in venues:
        feed = feed_of(venue, voice(venue).market_type, "sample")
        for entry in entries(venue, plan):
            made = outcomes(feed, entry)
            assert not any(isinstance(one, DeadLetter) for one in made)
            yield from (one for one in made if isinstance(one, Record | Gap))


def land(client: Client, found: Iterable[Record | Gap]) -> None:
    """Put records into the tables, which are made where they are missing."""
    schema.ensure(client)
    for name, told in insert_records(client, found).items():  # type: ignore[arg-type]
        assert told.rejects == (), name


@dataclass(frozen=True)
class PlainBar:
    """A bar as anybody would compute it."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None
    trades: int
    bought: Decimal | None


def plain_bars(trades: Iterable[Trade]) -> dict[tuple[str, str, int], PlainBar]:
    """Bars by venue, instrument and minute (ns), of trades in the order in which they were made."""
    minutes: dict[tuple[str, str, int], list[Trade]] = {}
    for trade in trades:
        minute = (trade.ts_event or trade.ts_recv) // MINUTE_NS * MINUTE_NS
        minutes.setdefault((trade.exchange, trade.instrument, minute), []).append(trade)
    return {about: _bar(some) for about, some in minutes.items()}


def _bar(trades: list[Trade]) -> PlainBar:
    prices = [Decimal(one.price) for one in trades]
    known = all(one.size is not None for one in trades)
    sizes = [Decimal(one.size or 0) for one in trades]
    bought = [size for one, size in zip(trades, sizes, strict=True) if one.side == "buy"]
    singles = sum(int(one.last_id or 1) - int(one.first_id or 1) + 1 for one in trades)
    volumes = (sum(sizes, Decimal(0)), sum(bought, Decimal(0))) if known else (None, None)
    return PlainBar(prices[0], max(prices), min(prices), prices[-1], volumes[0], singles, volumes[1])


def standing_bars(client: Client) -> dict[tuple[str, str, int], PlainBar]:
    """The bars that stand."""
    sql = """
        SELECT toString(exchange), toString(instrument), toUnixTimestamp64Nano(time), open, high, low, close, volume,
            toInt64(trades), taker_buy_volume FROM exchange_ohlcv_1m"""
    return {tuple(row[:3]): PlainBar(*row[3:]) for row in clickhouse.read(client, sql).iter_rows()}


def instrument(name: str, market_type: MarketType) -> Instruments:
    """A list with one instrument that is traded in coins."""
    known = Instruments("binance")
    known.add([Instrument("binance", market_type, name, name, name, name, "base")])
    return known
