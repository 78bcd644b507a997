"""Gaps stored in ClickHouse, gaps in sequence numbers that are not recorded yet, and kinds of gaps.

How a gap is closed is in `gap_backfill`.
"""

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables.schema import DAY_NS, FINAL, GAPS, day_span, sql
from marketdata_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TRADES = "^(aggTrade|aggTrades|trade|trades|trades-all|trades[.](100ms|agg2|raw)|option-trades)$"
"""Streams of trades, also for `match` in ClickHouse."""

CANDLES = "^(kline_.+|candle.+|chart[.]trades[.].+)$"  # streams of candles

CLOCKS_DIFFER_NS = 5_000_000_000
"""A gap has times of our clock, trades have the venue's. Some recorders were more than a second behind a venue."""

_trades, _candles = re.compile(TRADES), re.compile(CANDLES)


def is_trade_gap(gap: Gap) -> bool:
    """Whether the gap is in a stream of trades."""
    return _trades.match(gap.stream) is not None


def is_candle_gap(gap: Gap) -> bool:
    """Whether the gap is in a stream of candles."""
    return _candles.match(gap.stream) is not None


NUMBERS = "numbers"  # the cause of a gap found only by the sequence numbers of trades


def of_day(client: "Client", day: dt.date) -> list[Gap]:
    """The gaps that began on a UTC day, closed ones included, by time."""
    return _read(client, "time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}", day_span(day))


def open_gaps(client: "Client", streams: str = TRADES) -> list[Gap]:
    """All open gaps of streams that match a pattern, by time."""
    return _read(client, "healed_at IS NULL AND match(stream, {streams:String})", {"streams": streams})


def days(client: "Client") -> list[dt.date]:
    """The days on which gaps began, oldest first."""
    query = f"SELECT DISTINCT toDate(time) AS day FROM {GAPS.name} ORDER BY day"
    return clickhouse.read(client, query)["day"].to_list()


def touches(gap: Gap, day: dt.date) -> bool:
    """Whether the gap may lack trades of a day."""
    first = int(day_span(day)["first"].timestamp()) * 1_000_000_000
    return gap.ts_from - CLOCKS_DIFFER_NS < first + DAY_NS and gap.ts_to + CLOCKS_DIFFER_NS >= first


def unrecorded_gaps(client: "Client", day: dt.date) -> list[Gap]:
    """Gaps in the sequence numbers of a day's trades that no open gap covers.

    Only of venues that number without gaps: Binance's single trades on spot, its aggregate trades elsewhere. Times
    are those of the trades around the gap, by the venue's clock.
    """
    gaps = [Gap(*(*row, NUMBERS)) for row in clickhouse.read(client, sql("sequence_gaps"), day_span(day)).iter_rows()]
    recorded = open_gaps(client)
    return [gap for gap in gaps if not any(_covers(known, gap) for known in recorded)]


def _covers(known: Gap, gap: Gap) -> bool:
    same = (known.exchange, known.market_type, known.instrument) == (gap.exchange, gap.market_type, gap.instrument)
    return same and known.ts_from - CLOCKS_DIFFER_NS <= gap.ts_from and gap.ts_to <= known.ts_to + CLOCKS_DIFFER_NS


def _read(client: "Client", condition: str, parameters: dict[str, Any]) -> list[Gap]:
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
