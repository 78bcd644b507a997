"""Where the bars of a stock change from one file to another: between months by their ends, within by the minutes.

What a change of prices there means is in `bases`.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import polars as pl
import psycopg

from marketdata_assets.bars import minutes
from marketdata_assets.bars.coverage import MICROSECONDS_A_DAY, to_time
from marketdata_assets.bars.minutes import Array
from marketdata_assets.stores.postgres import statement

SEAMS = pl.Schema(
    {
        "symbol": pl.String(),
        "before": pl.Datetime("us"),  # last bar of the one file
        "close": pl.Float64(),
        "traded": pl.Float64(),  # average price of the bar as traded; null when nothing was
        "after": pl.Datetime("us"),  # first bar of the other
        "open": pl.Float64(),
        "close_after": pl.Float64(),
        "traded_after": pl.Float64(),
        "source_before": pl.String(),
        "source_after": pl.String(),
        "low": pl.Datetime("us"),  # from here on all bars up to the seam are of the one file; null: not known
        "high": pl.Datetime("us"),  # up to here all bars behind it are of the other
        "minutes_before": pl.Binary(),  # of a day that both files have bars of: those of the one file, packed
        "minutes_after": pl.Binary(),
    }
)

_Change = tuple[str, dt.datetime, str, dt.datetime, str, dt.datetime, dt.datetime, bytes | None, bytes | None]


def find(connection: psycopg.Connection, days: Sequence[dt.date]) -> pl.DataFrame:
    """The seams in or next to the months that begin on `days`; see SEAMS.

    Of a day with bars of two files it is the first, and the next that leads from the one to the other is left out.
    """
    columns = "codes", "befores", "sources_before", "afters", "sources_after", "lows", "highs", "minutes_before"
    changes = list(_inside(connection, days))
    values = {name: [change[number] for change in changes] for number, name in enumerate((*columns, "minutes_after"))}
    rows = connection.execute(statement(__package__, "bases/seams.sql"), {**values, "months": list(days)})
    return pl.DataFrame(rows.fetchall(), SEAMS, orient="row")


def _inside(connection: psycopg.Connection, days: Sequence[dt.date]) -> Iterator[_Change]:
    rows = connection.execute(statement(__package__, "bases/shared.sql"), {"months": list(days)})
    for (code, _), units in groupby(rows, key=itemgetter(0, 1)):
        sources, sets = zip(*((source, minutes.unpack(packed)) for *_, source, packed in units), strict=True)
        if len(set(sources)) > 1:
            yield from _changes(code, sources, sets)


def _changes(code: str, sources: Sequence[str], sets: Sequence[Array]) -> Iterator[_Change]:
    """The changes of the file within a month; `sets` are the minutes of the units, the oldest first."""
    files = sorted(set(sources))
    times = np.concatenate(sets)
    owners = np.repeat([files.index(source) for source in sources], [len(one) for one in sets])
    order = np.argsort(times, kind="stable")
    order = order[np.append(np.diff(times[order]) > 0, True)]  # of equal minutes that of the newest
    times, owners = times[order], owners[order]
    days = times // MICROSECONDS_A_DAY
    starts = np.flatnonzero(np.diff(owners)) + 1
    ends = np.append(starts[1:], len(times)) - 1
    lows = np.append(0, starts)
    mixed = set[tuple[int, int, int]]()
    for within in (True, False):
        for number in np.flatnonzero((days[starts - 1] == days[starts]) == within).tolist():
            at = int(starts[number])
            pair = sorted((int(owners[at - 1]), int(owners[at])))
            places = {(int(days[place]), pair[0], pair[1]) for place in (at - 1, at)}
            if places & mixed:
                continue
            packed: tuple[bytes, bytes] | tuple[None, None] = (None, None)
            if within:
                mixed |= places
                of_day = days == days[at]
                packed = tuple(minutes.pack(times[of_day & (owners == owners[n])]) for n in (at - 1, at))  # type: ignore[assignment]
            before, after, low, high = (to_time(times[n]) for n in (at - 1, at, lows[number], ends[number]))
            yield code, before, files[owners[at - 1]], after, files[owners[at]], low, high, *packed
