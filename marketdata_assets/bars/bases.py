"""Whether the forward-adjusted prices of a stock have one base where its bars change from one file to another.

A vendor adjusts prices up to the day of delivery, so files of different days have different bases when there was a
dividend in between. Inside of a file there is one. Where the files change is a seam: between months by the ends of what
they have, within a month by the minutes.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import polars as pl
import psycopg

from marketdata_assets.bars import minutes
from marketdata_assets.bars.coverage import MICROSECONDS_A_DAY, first_day, to_time
from marketdata_assets.reference.codes import board_of
from marketdata_assets.reference.completeness import Reference
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.postgres import statement

Array = np.ndarray[Any, np.dtype[np.float64]]

LISTED = 20
BARS_OF_A_DAY = 20
"""So many bars with trades say what the base of a day is; all of them say no more and take ten times as long."""
ROUNDING = 0.02
"""Yuan by which two prices, each of them rounded to 0.01, may differ from their limit."""
UNLIMITED_DAYS = 5
"""Trading days from a listing on for which there is no price limit."""
LONG_SUSPENSION = 20
"""Trading days without a bar after which a stock may resume at any price."""
NEAR_ZERO = 0.2
"""Below this share of the traded price, dividends may have been subtracted, and a limit in percent says little."""
BASIS_TOLERANCE = 0.003
"""Relative difference of two bases by rounding alone; spread between days of one file is allowed for thrice."""
ONE_BASE = 0.002
"""Relative difference of the bases of two bars, by trades within their minutes, that needs no closer look."""
MAD_TO_DEVIATION = 1.4826
"""The standard deviation of normal values by their median absolute deviation."""
DECISIVE = 0.05
"""With a smaller tolerance, factors acquit a stock of a jump beyond its limit; dividends subtracted make it greater."""
LIMITS = {"main": 0.10, "chinext": 0.20, "star": 0.20, "beijing": 0.30, "other": 0.10}
CHINEXT_WIDENED = dt.date(2020, 8, 24)
SPECIAL_TREATMENT = r"^S?\*?ST"
SPECIAL_WIDENED = dt.date(2025, 7, 1)
"""Until then 5 % on the main boards; the exchanges have since announced 10 %."""

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

Change = tuple[str, dt.datetime, str, dt.datetime, str, dt.datetime, dt.datetime, bytes | None, bytes | None]
AVERAGES = pl.Schema(
    {
        "symbol": pl.String(),
        "before": pl.Datetime("us"),
        "side": pl.String(),
        "date": pl.Date(),
        "adjusted": pl.Float64(),
        "traded": pl.Float64(),
    }
)
BASES = pl.Schema(
    {
        "symbol": pl.String(),
        "before": pl.Datetime("us"),
        "traded": pl.Float64(),
        "shift": pl.Float64(),
        "tolerance": pl.Float64(),
        "factors_known": pl.Boolean(),
    }
)
FACTORS = pl.Schema({"symbol": pl.String(), "date": pl.Date(), "adj_factor": pl.Float64()})
JUMP, BASIS = "beyond the price limit", "another ratio to the traded prices and adjustment factors"


def one_price_basis(
    connection: psycopg.Connection, months: Sequence[str], reference: Reference, factors: pl.DataFrame
) -> Finding:
    """Object to each seam in or next to `months` at which a stock changes its base, and record it.

    `factors` are cumulative (symbol, date, adj_factor), of the days on which they change.
    """
    days = [first_day(month) for month in months]
    found = _seams(connection, days)
    bases = _bases(_averages(connection, found, factors), factors)
    left = found.join(bases, on=["symbol", "before"], how="anti")
    bases = pl.concat([bases, _of_one_day(connection, left.filter(pl.col("minutes_before").is_not_null()))])
    judged = judge(found, bases, _first_days(connection, reference), reference)
    wrong = judged.filter(pl.col("reason").is_not_null())
    _record(connection, wrong, days)
    suspected = judged.filter("suspected")
    examples = [_example(row, row["reason"]) for row in wrong.head(LISTED).to_dicts()]
    note = "an ex-dividend day between the files, or two bases; only adjustment factors can decide"
    examples += [_example(row, note) for row in suspected.head(LISTED).to_dicts()]
    facts = {"codes_with_two_bases": wrong["symbol"].n_unique(), "seams_suspected": suspected.height}
    left_out = judged.filter("unjudged").height
    return Finding(wrong.height, tuple(examples), judged.height, left_out, facts)


def judge(seams: pl.DataFrame, bases: pl.DataFrame, first_days: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    """The seams with a `reason` where the base changes, whether one is `suspected`, or whether it is `unjudged`.

    Within one base a stock opens within its price limit of the last close, and its adjusted price is the traded one by
    a factor that changes only with the adjustment factors. Where these are unknown, another ratio is no more than
    suspected, except within a day.
    """
    seams = seams.drop("traded", "close_after", "traded_after").with_columns(
        number_before=_trading_number(reference, seams["before"]),
        number_after=_trading_number(reference, seams["after"]),
    )
    seams = seams.join(first_days, on="symbol", how="left").join(bases, on=["symbol", "before"], how="left")
    seams = seams.with_columns(_limits(seams, reference.names), listing=_trading_number(reference, seams["first_day"]))
    same_day = pl.col("before").dt.date() == pl.col("after").dt.date()
    limit = pl.when(same_day).then(2 * pl.col("limit")).otherwise(pl.col("limit"))
    usual = pl.min_horizontal("close", "open") >= NEAR_ZERO * pl.col("traded").fill_null(0.0)
    scale = pl.when(usual).then(pl.col("close")).otherwise(pl.max_horizontal(pl.col("close").abs(), "traded"))
    jump = (pl.col("open") - pl.col("close")).abs() > limit * scale + ROUNDING
    unlimited = (pl.col("number_after") - pl.col("number_before") > LONG_SUSPENSION) | (
        pl.col("number_after") < pl.col("listing") + UNLIMITED_DAYS
    )
    unlimited &= ~same_day
    shifted = (pl.col("shift").abs() > pl.col("tolerance")).fill_null(False)
    decided = (pl.col("factors_known") & (pl.col("tolerance") < DECISIVE)).fill_null(False)
    jumped = pl.when(jump & ~unlimited).then(pl.lit(JUMP))
    reason = pl.when(decided).then(pl.when(shifted).then(pl.lit(BASIS))).otherwise(jumped)
    return seams.with_columns(reason=reason).with_columns(
        suspected=shifted & ~decided & pl.col("reason").is_null(), unjudged=unlimited & ~decided
    )


def known(connection: psycopg.Connection) -> dict[str, str]:
    """The codes that have two bases, each with the files between which the base changes."""
    rows = connection.execute(
        """SELECT code, string_agg(source_before || ' | ' || source_after, ', ' ORDER BY before)
           FROM stock_1min_bases GROUP BY code ORDER BY code"""
    )
    return dict(rows.fetchall())


def _seams(connection: psycopg.Connection, days: Sequence[dt.date]) -> pl.DataFrame:
    """The seams in or next to the months that begin on `days`; see SEAMS.

    Of a day with bars of two files it is the first, and the next that leads from the one to the other is left out.
    """
    columns = "codes", "befores", "sources_before", "afters", "sources_after", "lows", "highs", "minutes_before"
    changes = list(_inside(connection, days))
    values = {name: [change[number] for change in changes] for number, name in enumerate((*columns, "minutes_after"))}
    rows = connection.execute(statement(__package__, "bases/seams.sql"), {**values, "months": list(days)})
    return pl.DataFrame(rows.fetchall(), SEAMS, orient="row")


def _inside(connection: psycopg.Connection, days: Sequence[dt.date]) -> Iterator[Change]:
    rows = connection.execute(statement(__package__, "bases/shared.sql"), {"months": list(days)})
    for (code, _), units in groupby(rows, key=itemgetter(0, 1)):
        sources, sets = zip(*((source, minutes.unpack(packed)) for *_, source, packed in units), strict=True)
        if len(set(sources)) > 1:
            yield from _changes(code, sources, sets)


def _changes(code: str, sources: Sequence[str], sets: Sequence[minutes.Array]) -> Iterator[Change]:
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


def _bases(averages: pl.DataFrame, factors: pl.DataFrame) -> pl.DataFrame:
    """By seam: `traded` price before it, `shift` of the base relative to the one before, and its `tolerance`."""
    dated = averages.sort("date").join_asof(factors.sort("date"), on="date", by="symbol", check_sortedness=False)
    known = pl.col("adj_factor").is_not_null().all()
    base = pl.col("adjusted") / (pl.col("traded") * pl.col("adj_factor").fill_null(1.0))
    traded = pl.when(pl.col("side").first() == "before").then(pl.col("traded").last())
    sides = (
        dated.with_columns(base=base)
        .group_by("symbol", "before", "side")
        .agg(
            base=pl.col("base").median(),
            spread=pl.col("base").max() / pl.col("base").min() - 1,
            adjusted=pl.col("adjusted").min(),
            traded=traded.otherwise(pl.col("traded").first()),
            known=known,
        )
    )
    before, after = (sides.filter(pl.col("side") == side).drop("side") for side in ("before", "after"))
    both = before.join(after, on=["symbol", "before"], suffix="_after")
    lowest = pl.min_horizontal("adjusted", "adjusted_after")
    tolerance = BASIS_TOLERANCE + 3 * (pl.col("spread").abs() + pl.col("spread_after").abs()) + ROUNDING / 2 / lowest
    return both.select(
        "symbol",
        "before",
        "traded",
        shift=pl.when(lowest > 0).then(pl.col("base_after") / pl.col("base") - 1),
        tolerance=tolerance,
        factors_known=pl.col("known") & pl.col("known_after"),
    )


def _of_one_day(connection: psycopg.Connection, seams: pl.DataFrame) -> pl.DataFrame:
    """What `_bases` gives, of days with bars of two files: all bars of both are compared, whose factor is the same."""
    rows = []
    for symbol, before, *packed in seams.select("symbol", "before", "minutes_before", "minutes_after").iter_rows():
        query = statement(__package__, "bases/of_day.sql")
        bars = np.array(connection.execute(query, [symbol, before.date(), before.date()]).fetchall(), float)
        sides = [bars[np.isin(bars[:, 0], minutes.unpack(one)), 1:] for one in packed] if len(bars) else []
        lowest = min((side[:, 0].min() for side in sides if len(side)), default=0.0)
        if lowest > 0 and all(map(len, sides)):
            rows.append((symbol, before, float(sides[0][-1, 1]), *_shift(sides[0], sides[1], lowest), True))
    return pl.DataFrame(rows, BASES, orient="row")


def _shift(before: Array, after: Array, lowest: float) -> tuple[float, float]:
    """How far the median base of one file's bars is from that of the other's, and by how much it may be by chance.

    Arrays have adjusted and traded prices.
    """
    ratios = [side[:, 0] / side[:, 1] for side in (before, after)]
    bases = [float(np.median(side)) for side in ratios]
    deviations = [np.abs(side / base - 1) for side, base in zip(ratios, bases, strict=True)]
    noise = MAD_TO_DEVIATION * float(np.median(np.concatenate(deviations)))
    chance = noise * sum(len(side) ** -0.5 for side in ratios)
    return bases[1] / bases[0] - 1, BASIS_TOLERANCE + 4 * chance + ROUNDING / 2 / lowest


def _limits(seams: pl.DataFrame, names: pl.DataFrame) -> pl.Series:
    """The share by which each stock may open away from the last close."""
    dated = seams.select("symbol", pl.col("after").dt.date().alias("day"))
    history = names.select("symbol", "name", "first").drop_nulls().sort("first")
    named = dated.with_row_index().sort("day")
    named = named.join_asof(history, left_on="day", right_on="first", by="symbol", check_sortedness=False)
    special = named.sort("index")["name"].str.contains(SPECIAL_TREATMENT).fill_null(False)
    boards = pl.Series([board_of(symbol) for symbol in dated["symbol"]], dtype=pl.String)
    not_widened = (boards == "chinext") & (dated["day"] < CHINEXT_WIDENED)
    narrowed = (boards == "main") & special & (dated["day"] < SPECIAL_WIDENED)
    limit = pl.when(narrowed).then(0.05).when(not_widened).then(0.10)
    return pl.select(limit.otherwise(boards.replace_strict(LIMITS, return_dtype=pl.Float64)).alias("limit"))["limit"]


def _trading_number(reference: Reference, times: pl.Series) -> pl.Series:
    """How many trading days there were up to the day of each time."""
    sessions = pl.Series(reference.calendar.sessions, dtype=pl.Date)
    return sessions.search_sorted(times.cast(pl.Date), side="right").cast(pl.Int64)


def _averages(connection: psycopg.Connection, seams: pl.DataFrame, factors: pl.DataFrame) -> pl.DataFrame:
    """See AVERAGES: of the two bars at a seam where these have one base, else of three days on both sides."""
    bars = pl.concat([
        seams.select("symbol", "before", side=pl.lit(side), date=pl.col(side).dt.date(), adjusted=close, traded=traded)
        for side, close, traded in (("before", "close", "traded"), ("after", "close_after", "traded_after"))
    ]).drop_nulls()  # fmt: skip
    same = _bases(bars, factors).filter(pl.col("shift").abs() <= ONE_BASE).select("symbol", "before")
    others = seams.filter(pl.col("minutes_before").is_null()).join(same, on=["symbol", "before"], how="anti")
    places: dict[str, Any] = {
        "codes": others["symbol"].to_list(),
        "befores": others["before"].to_list(),
        "afters": others["after"].to_list(),
        "lows": others["low"].to_list(),
        "highs": others["high"].to_list(),
        "bars": BARS_OF_A_DAY,
    }
    rows = connection.execute(statement(__package__, "bases/averages.sql"), places)
    averages = pl.DataFrame(rows.fetchall(), AVERAGES, orient="row")
    return pl.concat([bars.join(same, on=["symbol", "before"], how="semi"), averages])


def _first_days(connection: psycopg.Connection, reference: Reference) -> pl.DataFrame:
    """The first day of each stock: its listing, or else its first bar."""
    rows = connection.execute("SELECT code, min(first)::date FROM stock_1min_coverage GROUP BY code")
    own: dict[str, dt.date] = dict(rows.fetchall())
    listed = {symbol: one.listed for symbol, one in reference.listings.items() if one.listed}
    first = own | {symbol: day for symbol, day in listed.items() if symbol in own}
    return pl.DataFrame([*first.items()], {"symbol": pl.String(), "first_day": pl.Date()}, orient="row")


def _record(connection: psycopg.Connection, wrong: pl.DataFrame, days: Sequence[dt.date]) -> None:
    """Replace what was found in or next to these months."""
    connection.execute(
        """DELETE FROM stock_1min_bases
           WHERE date_trunc('month', before) = ANY(%(days)s::date[])
              OR date_trunc('month', after) = ANY(%(days)s::date[])""",
        {"days": list(days)},
    )
    columns = ("code", "before", "after", "source_before", "source_after", "close", "open", "reason")
    rows = wrong.rename({"symbol": "code"}).select(columns).rows()
    with connection.cursor().copy(f"COPY stock_1min_bases ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _example(row: dict[str, Any], note: str) -> dict[str, Any]:
    return {
        "symbol": row["symbol"],
        "last": f"{row['before']:%Y-%m-%d %H:%M} {row['close']:g} {row['source_before']}",
        "first": f"{row['after']:%Y-%m-%d %H:%M} {row['open']:g} {row['source_after']}",
        "note": note,
    }
