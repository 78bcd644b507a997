"""The order book of an instrument at an instant, as JSON, and the days on which its books were recorded.

How a book is rebuilt, and when it is known, is in `read.books`.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl

from marketdata_assets.exchanges.tables.schema import ORDERBOOKS
from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.books import books
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import statement
from marketdata_assets.web.errors import BadParameter
from marketdata_assets.web.instruments import MOST_DAYS, Market

MOST_LEVELS = 500
"""Of each side."""
TRADES, MOST_TRADES = "exchange_trades", 40
FIRST_NS, LAST_NS = (bounds.nanoseconds(dt.datetime(year, 1, 1, tzinfo=dt.UTC)) for year in (2000, 2100))
ISO_NS = "%Y-%m-%dT%H:%M:%S%.9fZ"


def days(client: Client, market: Market) -> list[dict[str, Any]]:
    """At most MOST_DAYS UTC days that have records of books, newest first: day, and how many."""
    sql = statement(__package__, "book_days.sql")
    rows = columnar.ask(client, ORDERBOOKS.name, sql, {**vars(market), "most": MOST_DAYS}).rows()
    return [{"day": f"{day[:4]}-{day[4:6]}-{day[6:]}", "records": records} for day, records in rows]


def last_known(client: Client, market: Market, day: dt.date) -> int | None:
    """The nanosecond before the last change of a day: the last book of it that a later record can prove."""
    span = {"first": f"{day} 00:00:00", "end": f"{day + dt.timedelta(days=1)} 00:00:00"}
    frame = columnar.ask(client, ORDERBOOKS.name, statement(__package__, "last_change.sql"), {**vars(market), **span})
    last = int(frame.item())
    return last - 1 if last > 0 else None


def instant(text: str) -> int:
    """Nanoseconds since 1970 of ISO text with a time zone, or of such a number. Raises BadMoment, NaiveTime,
    BadParameter."""
    try:
        number = int(text) if text.isdecimal() and len(text) < 20 else None
        at = bounds.nanoseconds(bounds.instant(text, ORDERBOOKS.name)) if number is None else number
    except OverflowError:  # of the first or last year in a zone
        at = 0
    if not FIRST_NS <= at < LAST_NS:
        raise BadParameter("at", text, "is not in this century; write it as 2026-01-05T12:00:00.250Z.")
    return at


def at_instant(client: Client, market: Market, at: int) -> dict[str, Any]:
    """The book, with at most MOST_LEVELS a side: at, known, why, time, until, last_id, unit, bids and asks.

    Numbers are exact, as text. Where it is not known, `why` has the reason, and there are no levels. Raises
    UnknownName, AmbiguousName.
    """
    frame = books(
        market.exchange, market.market_type, market.instrument, at, depth=MOST_LEVELS, connection=client
    ).with_columns(pl.col("at", "time", "until").dt.to_string(ISO_NS))
    [row] = frame.to_dicts()
    sides = {
        side: [(_plain(one["price"]), _plain(one["size"])) for one in row[side] or ()] for side in ("bids", "asks")
    }
    last_id = None if row["last_id"] is None else str(row["last_id"])
    return {**row, "last_id": last_id, **sides}


def trades_until(client: Client, market: Market, at: int) -> list[dict[str, Any]]:
    """At most MOST_TRADES trades of the hour up to an instant, newest first: time, price, size, side of the taker."""
    values = {**vars(market), "at": at, "most": MOST_TRADES}
    return columnar.ask(client, TRADES, statement(__package__, "trades_until.sql"), values).to_dicts()


def _plain(number: Decimal) -> str:
    """Without the zeros of the column's scale."""
    return f"{number.normalize():f}"
