"""Gaps as they stand in ClickHouse, and holes in the venues' own numbering of trades that no gap tells of.

How a gap is closed is the business of `healing`.
"""

import datetime as dt
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables.schema import FINAL_SETTINGS, GAPS, day_bounds, day_span
from marketdata_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

import re

TRADES = "^(aggTrade|aggTrades|trade|trades|trades-all|trades[.](100ms|agg2|raw)|option-trades)$"
"""Streams that carry trades, for `match` in ClickHouse as well."""

CANDLES = "^(kline_.+|candle.+|chart[.]trades[.].+)$"
"""Streams that carry candles."""

CLOCKS_DIFFER_NS = 5_000_000_000
"""A gap is told by our clock, trades are by the venue's. Recorders were seen more than a second behind a venue."""

_trades, _candles = re.compile(TRADES), re.compile(CANDLES)


def is_trade_gap(gap: Gap) -> bool:
    """Whether trades are missing in it."""
    return _trades.match(gap.stream) is not None


def is_candle_gap(gap: Gap) -> bool:
    """Whether candles are missing in it."""
    return _candles.match(gap.stream) is not None


NUMBERS = "numbers"
"""The cause of a gap that only the numbers of trades show."""

_FINAL = ", ".join(f"{name} = {value}" for name, value in FINAL_SETTINGS.items())


def of_day(client: "Client", day: dt.date) -> list[Gap]:
    """The gaps that began on a UTC day, healed ones too, in order of time."""
    return _read(client, "time >= {first:DateTime64(9, 'UTC')} AND time < {end:DateTime64(9, 'UTC')}", day_span(day))


def open_gaps(client: "Client", streams: str = TRADES) -> list[Gap]:
    """All gaps that are not healed of streams that match a pattern, in order of time."""
    return _read(client, "healed_at IS NULL AND match(stream, {streams:String})", {"streams": streams})


def days(client: "Client") -> list[dt.date]:
    """The days on which gaps began, oldest first."""
    sql = f"SELECT DISTINCT toDate(time) AS day FROM {GAPS.name} ORDER BY day"
    return clickhouse.read(client, sql)["day"].to_list()


def touches(gap: Gap, day: dt.date) -> bool:
    """Whether trades of a day may be missing in it."""
    first, end = day_bounds(day)
    return gap.ts_from - CLOCKS_DIFFER_NS < end and gap.ts_to + CLOCKS_DIFFER_NS >= first


def unrecorded_gaps(client: "Client", day: dt.date) -> list[Gap]:
    """Holes in the numbers of a day's trades that no open gap covers, as gaps.

    Of venues whose numbers have no holes of their own: Binance's single trades on spot, its aggregate ones elsewhere.
    Times are those of the trades around the hole, by the venue's clock.
    """
    sql = files(__package__).joinpath("sql/sequence_gaps.sql").read_text()
    found = [
        Gap(
            row["exchange"],
            row["market_type"],
            row["symbol"],
            row["instrument"],
            row["stream"],
            row["reached"],
            row["begin"],
            row["ts_from"],
            row["ts_to"],
            NUMBERS,
        )
        for row in clickhouse.read(client, sql, day_span(day)).iter_rows(named=True)
    ]
    known = open_gaps(client)
    return [hole for hole in found if not any(_covers(gap, hole) for gap in known)]


def _covers(gap: Gap, hole: Gap) -> bool:
    same = (gap.exchange, gap.market_type, gap.instrument) == (hole.exchange, hole.market_type, hole.instrument)
    slack = CLOCKS_DIFFER_NS
    return same and is_trade_gap(gap) and gap.ts_from - slack <= hole.ts_from and hole.ts_to <= gap.ts_to + slack


def _read(client: "Client", condition: str, parameters: dict[str, Any]) -> list[Gap]:
    names = GAPS.columns
    order = "time, exchange, market_type, instrument, stream, ts_to, cause"
    # An alias of the same name would be what the condition looks at.
    columns = ", ".join(f"toString({name}) AS said_{name}" if name in _TEXTS else name for name in names)
    sql = f"SELECT {columns} FROM {GAPS.name} FINAL WHERE {condition} ORDER BY {order} SETTINGS {_FINAL}"
    return [Gap(*row) for row in clickhouse.read(client, sql, parameters).iter_rows()]


_TEXTS = frozenset(("exchange", "market_type", "symbol", "instrument", "stream", "cause"))


def line(gap: Gap) -> str:
    """It for people."""
    began = dt.datetime.fromtimestamp(gap.ts_from / 1e9, dt.UTC)
    seconds = (gap.ts_to - gap.ts_from) / 1e9
    ids = "" if gap.last_id is None else f", {gap.last_id} to {gap.next_id}"
    return (
        f"{gap.exchange} {gap.market_type} {gap.instrument} {gap.stream}: {gap.cause}, {began:%Y-%m-%d %H:%M:%S},"
        f" {seconds:.1f} s{ids}"
    )
