"""How far a stream is loaded into the tables: the last message of each type, and of each instrument of it.

Written after the rows, so that a position never claims more than what is loaded.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.tables.schema import POSITIONS
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client


class Market(msgspec.Struct, frozen=True):
    """An instrument, as each record names it."""

    exchange: Exchange
    market_type: MarketType
    symbol: str
    instrument: str

    @property
    def key(self) -> tuple[Exchange, MarketType, str, str]:
        """What records and gaps begin with."""
        return self.exchange, self.market_type, self.symbol, self.instrument


class Position(msgspec.Struct, frozen=True):
    """The last loaded message of a type; `market` is None where it is about all instruments of the type.

    `ts` is its receive time in ns; where it is about all instruments, when the stream stored it.
    """

    type: str
    market: Market | None
    sequence: int
    ts: int


def read(client: Client, stream: str) -> tuple[int | None, list[Position]]:
    """When the stream of these positions was created (ns; None without any), and the positions."""
    names = ("exchange", "market_type", "symbol", "instrument")
    texts = ", ".join(f"toString({name}) AS text_{name}" for name in names)
    sql = (
        f"SELECT created, toString(type) AS text_type, {texts}, sequence, ts FROM {POSITIONS} FINAL"
        " WHERE stream = {stream:String} ORDER BY created DESC"
    )
    rows = clickhouse.read(client, sql, {"stream": stream}).rows()
    newest: int | None = rows[0][0] if rows else None
    positions = [
        Position(kind, Market(*market) if market[-1] else None, sequence, ts)
        for created, kind, *market, sequence, ts in rows
        if created == newest
    ]
    return newest, positions


def write(client: Client, stream: str, created: int, positions: Iterable[Position]) -> None:
    """Replace the positions of the same types and instruments."""
    lines: list[dict[str, Any]] = []
    for one in positions:
        market = msgspec.structs.asdict(one.market) if one.market else {}
        about = {"stream": stream, "created": created, "type": one.type, "sequence": one.sequence, "ts": one.ts}
        lines.append(about | {name: market.get(name, "") for name in Market.__struct_fields__})
    if lines:
        with clickhouse.naming_failures():
            client.raw_insert(
                clickhouse.quoted(POSITIONS),
                column_names=list(lines[0]),
                insert_block=msgspec.json.encode(lines),
                settings=clickhouse.INSERT_SETTINGS,
                fmt="JSONEachRow",
            )
