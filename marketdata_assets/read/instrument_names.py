"""The venues' own names of requested instruments, which may be named by ours: BTC-USDT, or BTCUSDT without dashes.

Only the tables are queried, so an instrument without a row in any of them is unknown.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from marketdata_assets.exchanges.tables.schema import OHLCV_1M, TABLES
from marketdata_assets.read import columnar
from marketdata_assets.read.columnar import Where
from marketdata_assets.read.errors import AmbiguousName, UnknownName

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def own_names(client: "Client", table: str, market: Where, names: Sequence[str]) -> list[str]:
    """The own names of the instruments of a market, or of all, whose own name or symbol is among `names`.

    Raises UnknownName for a name that no row of any table has, and AmbiguousName for the symbol of several instruments
    of one market.
    """
    found = _instruments(client, table, market, names)
    own: dict[str, None] = {}
    for name in names:
        matches = found.filter(pl.col("name") == name)
        by_market: dict[tuple[str, str], list[str]] = defaultdict(list)
        for exchange, market_type, instrument in matches.select("exchange", "market_type", "instrument").iter_rows():
            by_market[exchange, market_type].append(instrument)
        if not by_market:
            known = _instruments(client, table, market, None)["instrument"]
            raise UnknownName(f"instrument of {table}", name, known)
        for (exchange, market_type), instruments in by_market.items():
            if name in instruments:
                instruments = [name]
            if len(instruments) > 1:
                raise AmbiguousName(f"{exchange} {market_type}", name, instruments)
            own |= dict.fromkeys(instruments)
    return list(own)


def present(client: "Client", table: str, market: Where, names: Sequence[str]) -> set[str]:
    """Those of the names that are own names of instruments with a row in the table."""
    sql = (
        f"SELECT toString(instrument) AS name FROM {table} WHERE {market} AND instrument IN {{names:Array(String)}}"
        f" LIMIT 1 BY instrument LIMIT {len(names)}"
    )
    return set(columnar.ask(client, table, sql, {**market.values, "names": list(names)})["name"])


def _instruments(client: "Client", table: str, market: Where, names: Sequence[str] | None) -> pl.DataFrame:
    """Exchange, market type and own name of instruments of all tables, once for each spelling among `names`; sorted."""
    spellings = "[instrument, symbol, replaceAll(symbol, '-', '')]"
    columns = ("exchange", "market_type", "instrument", "symbol")
    texts = ", ".join(f"toString({column}) AS {column}" for column in columns)
    tables = dict.fromkeys((*(one.name for one in TABLES.values()), OHLCV_1M))
    rows = " UNION DISTINCT ".join(f"SELECT DISTINCT {', '.join(columns)} FROM {one} WHERE {market}" for one in tables)
    wanted = "" if names is None else "WHERE name IN {names:Array(String)}"
    sql = (
        f"SELECT DISTINCT exchange, market_type, instrument, name FROM (SELECT {texts}, arrayJoin({spellings}) AS name"
        f" FROM ({rows})) {wanted} ORDER BY exchange, market_type, instrument, name"
    )
    return columnar.ask(client, table, sql, {**market.values, "names": list(names or ())})
