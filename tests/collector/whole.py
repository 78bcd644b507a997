"""The whole path: simulated venues, the collector as a process, a real nats-server, the drain, and the tables."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client
from msgspec.structs import replace

from marketdata_assets.collector.drain import Drained, Pace, drain
from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.gaps import is_trade_gap
from marketdata_assets.local import servers
from marketdata_assets.local.process import Server
from marketdata_demo.collector_process import CollectorProcess, Place, is_confirmed, sink
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.bybit_venue import BybitVenue
from marketdata_demo.venues.coinbase_venue import CoinbaseVenue
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from marketdata_demo.venues.kraken_venue import KrakenVenue
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import covers

TYPES = ("trade", "orderbook", "kline", "ticker")
LEVELS = "(bids.price, bids.size), (asks.price, asks.size)"
DERIVATIVES = (*TYPES, "funding_rate", "open_interest", "liquidation")


@dataclass(frozen=True)
class At:
    """A simulated venue, and as what it is collected."""

    venue: Venue
    exchange: str
    market_type: str
    data_types: Sequence[str] = TYPES
    of_trade: Callable[[int], str] = str
    """The id in the table of a trade by its number."""
    only: Sequence[str] = ()
    best: int = 1000
    """So many levels of a book, where its messages have no more."""

    @property
    def names(self) -> list[str]:
        """Its instruments of this market type."""
        return [*self.only] or [name for name in self.venue.markets if self._is_ours(name)]

    @property
    def place(self) -> Place:
        venue = self.venue
        return Place(self.exchange, self.market_type, self.names, self.data_types, venue.url, venue.ws_url)

    @property
    def rest(self) -> str:
        """Where its history is asked for."""
        return f"{self.venue.url}/api/v2" if self.exchange == "deribit" else self.venue.url

    def ids(self) -> dict[str, dict[str, int]]:
        """When each trade happened, ns of this machine, by instrument and id."""
        made = self.venue.source().trades
        return {name: {self.of_trade(one.number): one.at_ns for one in made.get(name, [])} for name in self.names}

    def _is_ours(self, name: str) -> bool:
        if self.exchange == "binance":
            return True
        kind = "spot" if "SWAP" not in name and "PERPETUAL" not in name else "linear"
        if name.endswith("-USD-SWAP") or (name.endswith("-PERPETUAL") and "_" not in name):
            kind = "inverse"
        return kind == self.market_type


def spot(venue: BinanceVenue) -> At:
    return At(venue, "binance", "spot")


def bybit(opened: ExitStack, **clock: Any) -> list[At]:
    """A market of each type."""
    ats = []
    for seed, (market_type, name) in enumerate([("spot", "ABCUSDT"), ("linear", "ABCUSDT"), ("inverse", "ABCUSD")], 1):
        venue = opened.enter_context(BybitVenue(market_type, [name], seed=seed, **clock))  # type: ignore[arg-type]
        types = TYPES if market_type == "spot" else DERIVATIVES
        ats.append(At(venue, "bybit", market_type, types, venue.trade_id, only=[name]))
    return ats


def hyperliquid(opened: ExitStack, **clock: Any) -> list[At]:
    venue = opened.enter_context(HyperliquidVenue(["ABC", "XYZ", "ABC/USDC"], seed=6, **clock))
    types = (*TYPES, "funding_rate", "open_interest")
    return [
        At(venue, "hyperliquid", "linear", types, only=["ABC", "XYZ"], best=20),
        At(venue, "hyperliquid", "spot", TYPES, only=["ABC/USDC"], best=20),
    ]


def spot_venues(opened: ExitStack, **clock: Any) -> list[At]:
    kraken = opened.enter_context(KrakenVenue(["ABC/USD", "BTC/USD"], seed=7, **clock))
    coinbase = opened.enter_context(CoinbaseVenue(["ABC-USD", "XYZ-USD"], seed=8, **clock))
    coinbase.markets["ABC-USD"].asks |= {60_000 + tick: 1000 + tick for tick in range(80_000)}  # more than 1 MB
    return [
        At(kraken, "kraken", "spot", only=["ABC/USD", "BTC/USD"], best=10),
        At(coinbase, "coinbase", "spot", ("trade", "orderbook", "ticker"), best=1 << 20),
    ]


@dataclass
class Chain:
    """Everything between venues and tables."""

    home: Path
    nats: Server
    ats: Sequence[At]
    collector: CollectorProcess

    def begin(self, rate: float) -> None:
        """Wait until all is subscribed to, and let so much happen at every venue."""
        self.collector.until(is_confirmed)
        self.rate(rate)
        self.collector.subscribed()

    def rate(self, rate: float) -> None:
        for at in self.ats:
            at.venue.rate = rate

    def go_on(self, seconds: float) -> None:
        time.sleep(seconds)

    def settle(self) -> None:
        """Nothing happens any more, and what did is safe in the stream."""
        self.rate(0.0)
        time.sleep(0.2)
        before = -1
        while (now := _settled(self.collector)) != before:
            before = now
            time.sleep(0.3)

    def drain(self, clickhouse_url: str) -> Drained:
        """Into the tables."""
        return asyncio.run(drain(clickhouse_url, self.nats.url, pace=Pace(batch_rows=5_000, batch_seconds=0.5)))


@contextmanager
def whole(
    home: Path,
    ats: Sequence[At],
    *,
    more: Mapping[str, Any] | None = None,
    clickhouse_url: str | None = None,
    shard: str = "1/1",
) -> Iterator[Chain]:
    """All servers and one collector."""
    with ExitStack() as open_:
        nats = Server(servers.NATS, home, 0)
        nats.start()
        open_.callback(nats.stop)
        sections = {"jetstream": {"enabled": True}, **(more or {})}
        places = [at.place for at in ats]
        collector = CollectorProcess(home, places, nats.url, clickhouse_url, shard, sections)
        yield Chain(home, nats, ats, open_.enter_context(collector))


def _settled(collector: CollectorProcess) -> int:
    """Everything received so far, once all of it is acked."""
    status = collector.until(lambda status: sink(status)["oldest_ns"] is None and sink(status)["queued"] == 0)
    return sum(sum(one["records"].values()) for one in status["markets"])


# What the tables hold.


def rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql, settings=schema.FINAL_SETTINGS).result_rows]


def trade_ids(client: Client, at: At, name: str) -> list[str]:
    """The ids of the trades of an instrument in the table, each as often as it is there."""
    where = f"exchange = '{at.exchange}' AND market_type = '{at.market_type}' AND instrument = '{name}'"
    return [one for (one,) in rows(client, f"SELECT trade_id FROM exchange_trades FINAL WHERE {where}")]


def gaps(client: Client) -> list[Gap]:
    columns = ", ".join(Gap.__struct_fields__)
    return [Gap(*row) for row in rows(client, f"SELECT {columns} FROM exchange_gaps FINAL")]


def once_or_in_a_gap(client: Client, at: At, *, late_ns: int = 0) -> dict[str, set[str]]:
    """By instrument the trades that are missing, each of which is in a recorded gap; fails for one that is not.

    A gap has receive times: a trade may have happened `late_ns` before it was received.
    """
    missing: dict[str, set[str]] = {}
    holes = [replace(one, ts_from=one.ts_from - late_ns) for one in gaps(client) if is_trade_gap(one)]
    for name, made in at.ids().items():
        stored = trade_ids(client, at, name)
        assert len(stored) == len(set(stored)), f"{name}: trades stand there twice"
        assert set(stored) <= set(made), f"{name}: trades that never were"
        missing[name] = set(made) - set(stored)
        own = [one for one in holes if one.instrument == name and one.exchange == at.exchange]
        lost = {one for one in missing[name] if not any(covers(gap, made[one]) for gap in own)}
        assert not lost, f"{name}: {len(lost)} of {len(made)} trades are in no gap, as {min(lost)}; {own}"
    return missing


def book(client: Client, at: At, name: str) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    """The book that the table's last snapshot and the changes after it make."""
    where = f"exchange = '{at.exchange}' AND market_type = '{at.market_type}' AND instrument = '{name}'"
    found = rows(
        client,
        f"SELECT kind, {LEVELS} FROM exchange_orderbooks FINAL WHERE {where} ORDER BY last_id, kind DESC, ts_event",
    )
    begin = max(number for number, row in enumerate(found) if row[0] == "snapshot")
    sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
    for _, bids, asks in found[begin:]:
        for side, levels in zip(sides, (bids, asks), strict=True):
            for price, size in zip(*levels, strict=True):
                side.pop(price, None)
                if size:
                    side[price] = size
    return sides


def is_the_venues(client: Client, at: At, name: str) -> bool:
    """Whether that book is the one of the venue."""
    theirs = [{Decimal(p): Decimal(s) for p, s in side} for side in at.venue.markets[name].levels(at.best)]
    return [*book(client, at, name)] == theirs
