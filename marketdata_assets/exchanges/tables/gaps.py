"""Gaps stored in ClickHouse, gaps in sequence numbers that are not recorded yet, and kinds of gaps.

How a gap is closed is in `gap_backfill`.
"""

import datetime as dt
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables.schema import DAY_NS, FINAL, GAPS, KLINES, day_span, sql
from marketdata_assets.exchanges.tables.stream_positions import Market
from marketdata_assets.exchanges.venue import OUR_CANDLES, OUR_TRADES
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client

CLOCKS_DIFFER_NS = 5_000_000_000
"""A gap has times of our clock, trades have the venue's. Some recorders were more than a second behind a venue."""


@cache
def trade_streams() -> str:
    """A pattern of the names of all streams of trades, also for `match` in ClickHouse."""
    names = [OUR_TRADES, *(name for venue in venues.every() for name in venue.trade_streams)]
    return f"^({_alternatives(names)})$"


@cache
def candle_streams() -> str:
    """A pattern of the names of all streams of candles, also for `match` in ClickHouse."""
    names = [OUR_CANDLES, *(venue.candle_stream for venue in venues.every())]
    return f"^({_alternatives(names)}).+$"


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(dict.fromkeys(name.replace(".", "[.]") for name in names))


def is_trade_gap(gap: Gap) -> bool:
    """Whether the gap is in a stream of trades."""
    return re.match(trade_streams(), gap.stream) is not None


def is_candle_gap(gap: Gap) -> bool:
    """Whether the gap is in a stream of candles."""
    return re.match(candle_streams(), gap.stream) is not None


OTHERS = frozenset({"ticker", "funding_rate", "open_interest", "liquidation", "instrument_state"})
"""Of gaps of a whole record type: those that say nothing about a book."""


def is_book_gap(gap: Gap) -> bool:
    """Whether the gap may be in a stream of books."""
    return not (is_trade_gap(gap) or is_candle_gap(gap) or gap.stream in OTHERS)


NUMBERS = "numbers"  # the cause of a gap found only by the sequence numbers of trades
DISCARDED = "discarded"  # the cause of a gap of what the stream deleted before it was loaded


def loss_streams(client: Client, record_type: str) -> dict[Market | None, list[str]]:
    """The streams of a gap of a whole record type: its name; of candles one for each interval of an instrument.

    Under None are those of an instrument that is not named: of candles, the intervals of all.
    """
    if record_type != "kline":
        return {None: [record_type]}
    names = ("exchange", "market_type", "symbol", "instrument", "interval")
    columns = ", ".join(f"toString({name}) AS text_{name}" for name in names)
    streams: dict[Market | None, list[str]] = {None: []}
    for *market, interval in clickhouse.read(client, f"SELECT DISTINCT {columns} FROM {KLINES.name}").iter_rows():
        stream = f"{OUR_CANDLES}{interval}"
        streams.setdefault(Market(*market), []).append(stream)
        if stream not in streams[None]:
            streams[None].append(stream)
    streams[None] = streams[None] or [record_type]
    return streams


def of_day(client: Client, day: dt.date) -> list[Gap]:
    """The gaps that began on a UTC day, closed ones included, by time."""
    return _read(client, "time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}", day_span(day))


def open_gaps(client: Client, streams: str | None = None) -> list[Gap]:
    """All open gaps of streams that match a pattern, by default of trades, by time."""
    return _read(
        client, "healed_at IS NULL AND match(stream, {streams:String})", {"streams": streams or trade_streams()}
    )


def days(client: Client) -> list[dt.date]:
    """The days on which gaps began, oldest first."""
    query = f"SELECT DISTINCT toDate(time) AS day FROM {GAPS.name} ORDER BY day"
    return clickhouse.read(client, query)["day"].to_list()


def touches(gap: Gap, day: dt.date) -> bool:
    """Whether the gap may lack trades of a day."""
    first = int(day_span(day)["first"].timestamp()) * 1_000_000_000
    return gap.ts_from - CLOCKS_DIFFER_NS < first + DAY_NS and gap.ts_to + CLOCKS_DIFFER_NS >= first


def unrecorded_gaps(client: Client, day: dt.date) -> list[Gap]:
    """Gaps in the sequence numbers of a day's trades that no open gap covers.

    Only of trades that are numbered without gaps: those with a `sequence`, and of the venues `numbered` single
    trades on spot and aggregate trades elsewhere. Times are those of the trades around the gap, by the venue's clock.
    """
    gaps = [
        Gap(*(*row, NUMBERS))
        for row in clickhouse.read(client, sql("sequence_gaps"), day_span(day) | {"numbered": numbered()}).iter_rows()
    ]
    recorded = open_gaps(client)
    return [gap for gap in gaps if not any(_covers(known, gap) for known in recorded)]


def numbered() -> list[str]:
    """The venues whose aggregate trades are numbered without gaps, and on spot their single trades."""
    found = [venue.name for venue in venues.every() if venue.trades == "numbered_aggregates"]
    return [one for name in found for one in venues.with_apart(name)]


def _covers(known: Gap, gap: Gap) -> bool:
    same = (known.exchange, known.market_type, known.instrument) == (gap.exchange, gap.market_type, gap.instrument)
    return same and known.ts_from - CLOCKS_DIFFER_NS <= gap.ts_from and gap.ts_to <= known.ts_to + CLOCKS_DIFFER_NS


def _read(client: Client, condition: str, parameters: dict[str, Any]) -> list[Gap]:
    texts = ("exchange", "market_type", "symbol", "instrument", "stream", "cause")
    # An alias of the same name would be used by the condition.
    columns = ", ".join(f"toString({name}) AS text_{name}" if name in texts else name for name in GAPS.columns)
    order = "time, exchange, market_type, instrument, stream, ts_to, cause"
    query = f"SELECT {columns} FROM {GAPS.name} FINAL WHERE {condition} ORDER BY {order} SETTINGS {FINAL}"
    return [Gap(*row) for row in clickhouse.read(client, query, parameters).iter_rows()]


def line(gap: Gap) -> str:
    """One line of text about a gap."""
    began = dt.datetime.fromtimestamp(gap.ts_from / 1e9, dt.UTC)
    seconds = (gap.ts_to - gap.ts_from) / 1e9
    ids = "" if gap.last_id is None else f", {gap.last_id} to {gap.next_id}"
    return (
        f"{gap.exchange} {gap.market_type} {gap.instrument} {gap.stream}: {gap.cause}, {began:%Y-%m-%d %H:%M:%S},"
        f" {seconds:.1f} s{ids}"
    )
