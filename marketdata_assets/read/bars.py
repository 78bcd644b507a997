"""Bars of any frequency, from the minute bars, the ticks or the daily files, adjusted as one wants.

How bars become longer is in `resampling`, how prices are adjusted in `adjusting`; here is what is read for that.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, get_args

import polars as pl

from marketdata_assets.months import months_from
from marketdata_assets.read import bar_sources, bounds, columnar
from marketdata_assets.read.adjusting import Adjust, adjusted
from marketdata_assets.read.bar_sources import Dates, Source
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.errors import BadMoment, CannotAdjust, MissingFactors, UnknownName
from marketdata_assets.read.event_factors import event_factors, known_days
from marketdata_assets.read.resampling import MINUTES, VALUES, Frequency, of_days, of_minutes, whole_period
from marketdata_assets.read.sources import ClickHouse, Postgres, of_clickhouse, of_postgres
from marketdata_assets.read.tables import ashare_codes, symbols
from marketdata_assets.read.ticks import open_days_of
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import Calendar, ashares, calendar_of
from marketdata_assets.reference.exchanges import MAINLAND, Sessions, by_exchange, exchange_of
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.reference.tables import ADJUST_FACTORS
from marketdata_assets.stores.clients import Client

MAX_CODES, MAX_ROWS = 200, 2_000_000
"""Stocks that are read together, and about how many rows of them at a time."""
A_MONTH = dt.timedelta(days=30)  # longer than any holidays


@dataclass(frozen=True)
class Query:
    """What kind of bars."""

    source: Source = "minutes"
    freq: Frequency = "1m"
    adjust: Adjust = "forward"
    label: Label = "end"
    as_of: dt.date | None = None

    def __post_init__(self) -> None:
        for what, value, kind in (
            ("source of bars", self.source, Source),
            ("frequency of bars", self.freq, Frequency),
            ("adjustment", self.adjust, Adjust),
            ("label", self.label, Label),
        ):
            if value not in get_args(kind):
                raise UnknownName(what, value, get_args(kind))
        if self.source == "daily" and self.freq in MINUTES:
            longer = [freq for freq in get_args(Frequency) if freq not in MINUTES]
            raise UnknownName("frequency of daily bars", self.freq, longer)
        if self.source == "minutes" and (self.adjust != "forward" or self.as_of is not None):
            raise CannotAdjust(f'adjust="{self.adjust}"' if self.adjust != "forward" else f"as_of={str(self.as_of)!r}")

    @property
    def computed(self) -> bool:
        """Whether prices are adjusted here, by factors."""
        return self.source != "minutes" and self.adjust != "none"

    @property
    def columns(self) -> pl.Schema:
        time: dict[str, pl.DataType] = {"time": pl.Datetime("us")} if self.freq in MINUTES else {"date": pl.Date()}
        return pl.Schema({"code": pl.String(), **time, **dict.fromkeys((*VALUES, "factor"), pl.Float64())})


@dataclass(frozen=True)
class Factors:
    """Adjustment factors (symbol, date, adj_factor), and the days on which they are all known; None is every day."""

    frame: pl.DataFrame
    known: frozenset[dt.date] | None = None

    @classmethod
    def stored(cls, client: Client, codes: Sequence[str] | None, query: Query) -> "Factors":
        """The factors in ClickHouse. Raises MissingFactors if those of the as-of day are not known."""
        as_of = query.as_of
        found = cls(stored.adjust_factors(client, codes, as_of), stored.covered(client, ADJUST_FACTORS))
        if as_of is not None and query.adjust == "forward":
            days = stored.calendar(client).trading_days(Days(as_of - A_MONTH, as_of))[-1:]
            if not {*days} <= (found.known or set()):
                raise MissingFactors(codes or ["all stocks"], days[0], days[0])
        return found


def bars(
    codes: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    freq: Frequency = "1m",
    adjust: Adjust = "forward",
    as_of: Moment | None = None,
    label: Label = "end",
    source: Source = "minutes",
    columns: Sequence[str] | None = None,
    factors: pl.DataFrame | None = None,
    final: bool = False,
    connection: Postgres | ClickHouse | None = None,
) -> pl.DataFrame:
    """Return bars of one frequency, whole periods only, by code and time; of ticks, of any exchange's symbols.

    Columns: code, time (the exchange's clock; of days and longer periods instead `date`), open, high, low, close,
    volume (shares), amount (yuan, or the exchange's currency), factor (what the prices were multiplied with; null if
    the vendor adjusted them). Numbers are floats; volumes are whole but of crypto-currencies, and their sums exact.

    `source` is `minutes` (stock_1min_qfq), `ticks` (tick_data) or `daily` (stock_daily, days and longer periods only).
    `codes` None means all A-shares. Bounds select bars by their label: `start <= label < end`. `label` is the start or
    the end of a period whatever the provider's label is; of a week or a month it is its first or last trading day. Bars
    within a day never span the lunch break, and the opening auction is part of the first bar.

    `adjust` is `none`, `forward` or `back`. With `as_of`, a day, nothing later is used: neither factors nor bars; else
    forward-adjusted prices are those as of the newest factor. `factors` (symbol, date, adj_factor) replaces the table
    adjust_factors. The minutes are adjusted forward by the vendor, as of its delivery, so they allow nothing else.

    `final` leaves out bars of ticks of which a day may still change or is known to lack minutes, and so a week or a
    month with such a day. Files are as they were delivered, so it changes nothing for minutes and daily files.

    `connection` is of the source's database: ClickHouse for ticks, else PostgreSQL. Raises UnknownName, UnknownColumn,
    BadMoment, CannotAdjust, MissingFactors, OddValue, NothingLoaded, CannotRead.

        bars("600000.SH", "2025-01", "2025-02", freq="30m", source="ticks", adjust="forward", as_of="2025-01-31")
    """
    query = Query(source, freq, adjust, label, None if as_of is None else _day(as_of))
    wanted = columnar.known("bars", columns, query.columns.names())
    needed = [name for name in VALUES if name in wanted]
    own = None if factors is None else Factors(factors)
    known = symbols(codes) if source == "ticks" else ashare_codes(codes)
    with reader(query, connection, values=needed, factors=own, final=final) as opened:
        keys = query.columns.names()[:2]
        names = list(dict.fromkeys([*keys, *wanted]))
        frames = [frame.select(names) for frame in opened.frames(known, start, end)]
    found = pl.concat(frames or [query.columns.to_frame().select(names)])
    return (found.sort(keys) if len(by_exchange(known or ())) > 1 else found).select(wanted)


@dataclass(frozen=True)
class Reader:
    """Reads bars of one kind over one connection, some stocks at a time."""

    query: Query
    connection: Any
    values: Sequence[str] = VALUES
    factors: Factors | None = None
    final: bool = False

    def loaded(self, codes: Sequence[str] | None = None) -> dict[str, Days]:
        """The first and last day of `codes`, or of all stocks that the source has, by code. Raises UnknownName."""
        found = dict(sorted(bar_sources.LOADED[self.query.source](self.connection, codes).items()))
        for code in codes or ():
            if code not in found:
                raise UnknownName(f"stock with {self.query.source}", code, self.loaded())
        return found

    def frames(
        self, codes: Sequence[str] | None = None, start: Moment | None = None, end: Moment | None = None
    ) -> Iterator[pl.DataFrame]:
        """The bars of at most MAX_CODES stocks of one exchange at a time, by code and time."""
        loaded = self.loaded(codes)
        for exchange, names in by_exchange(loaded).items():
            (_, first), (_, after) = bounds.span(start, end, partial(bounds.wall, zone=exchange.zone))
            if self.query.as_of is not None:
                visible = dt.datetime.combine(self.query.as_of, dt.time()) + dt.timedelta(days=1)
                for bound, late in ((start, first and first >= visible), (end, after and after > visible)):
                    if late:
                        raise BadMoment(bound, f"is after the day as_of={self.query.as_of}")
            for some in (names[at : at + MAX_CODES] for at in range(0, len(names), MAX_CODES)):
                within = _days(self.query, [loaded[code] for code in some], first, after)
                if within is not None:
                    found = self._bars(some, within)
                    label = pl.col("date" if "date" in found.columns else "time").cast(pl.Datetime("us"))
                    yield found.filter(
                        pl.lit(True) if first is None else label >= first,
                        pl.lit(True) if after is None else label < after,
                    )

    def year(self, code: str, year: int) -> pl.DataFrame:
        """The bars of one stock that are labelled with a day of a year, as far as `as_of` lets one see it."""
        end = dt.date(year + 1, 1, 1)
        if self.query.as_of is not None:
            end = min(end, self.query.as_of + dt.timedelta(days=1))
        start = dt.date(year, 1, 1)
        found = list(self.frames([code], start, end)) if start < end else []
        return found[0] if found else self.query.columns.to_frame()

    def _bars(self, codes: Sequence[str], days: Days) -> pl.DataFrame:
        """The bars of all periods that have one of these days; the codes are of one exchange."""
        query, mainland = self.query, exchange_of(codes[0]) is MAINLAND
        calendar = calendar_of(codes[0], self._mainland if mainland else None)
        part: Frequency = query.freq if query.freq in MINUTES else "1d"
        run, minutes_of_day = MINUTES.get(query.freq), calendar.exchange.minutes
        step = max(
            1, MAX_ROWS * (run or minutes_of_day if query.source == "ticks" else 1) // (len(codes) * minutes_of_day)
        )
        parts = []
        for few in days.slices(step):
            for hours, only in _alike(calendar, few):
                of = (calendar.exchange, hours, only)
                rows = bar_sources.ROWS[query.source](self.connection, codes, few, self.values, run, *of)
                parts.append(rows if query.source == "daily" else of_minutes(rows, part, query.label, hours))
        found = pl.concat(parts).sort("code", parts[0].columns[1])
        if query.source == "minutes":
            found = found.with_columns(factor=pl.lit(None, pl.Float64))
        else:
            found = self._adjusted(found, codes)
        if query.freq in ("1w", "1mo"):
            found = of_days(found, query.freq, query.label, calendar.trading_days).sort("code", "date")
        if self.final and query.source == "ticks":
            found = self._final(found, days)
        names = [name for name in query.columns if name in found.columns]
        found = found.with_columns(pl.col(pl.Decimal).cast(pl.String))  # so that a float is the nearest one
        return found.select(names).cast({name: query.columns[name] for name in names})

    def _adjusted(self, found: pl.DataFrame, codes: Sequence[str]) -> pl.DataFrame:
        """With the given factors, else those that are stored; of other exchanges, those of splits and dividends."""
        query, factors = self.query, self.factors or Factors(pl.DataFrame())
        if query.computed and self.factors is None and exchange_of(codes[0]) is not MAINLAND:
            parts = [found.clear().with_columns(factor=pl.lit(None, pl.Float64))]
            for code in codes:
                mine = found.filter(pl.col("code") == code)
                events = event_factors(self.connection, code, query.as_of)
                known = known_days(self.connection, code)
                parts.append(adjusted(mine, events, query.adjust, query.as_of, known))
            return pl.concat(parts)
        if query.computed and self.factors is None:
            with nullcontext(self.connection) if query.source == "ticks" else of_clickhouse(None) as client:
                factors = Factors.stored(client, codes, query)
        return adjusted(found, factors.frame, query.adjust, query.as_of, factors.known)

    def _final(self, found: pl.DataFrame, days: Days) -> pl.DataFrame:
        """The bars without those of a period that has a day which is not final."""
        freq, label = self.query.freq, "time" if "time" in found.columns else "date"
        months = months_from(f"{days.first:%Y-%m}", f"{days.last:%Y-%m}")
        open_days = open_days_of(self.connection, ["tick_data"], months)
        if open_days.is_empty():
            return found
        dates = found[label].cast(pl.Date).unique().to_list() + open_days["date"].to_list()
        periods = {day: whole_period(day, freq).first for day in dates}
        period = pl.col(label).cast(pl.Date).replace(periods)
        ended = open_days.select(code="symbol", period=pl.col("date").replace(periods))
        return found.with_columns(period=period).join(ended, on=["code", "period"], how="anti").drop("period")

    @cached_property
    def _mainland(self) -> Calendar:
        return stored.calendar(self.connection) if self.query.source == "ticks" else ashares()


@contextmanager
def reader(
    query: Query,
    connection: Postgres | ClickHouse | None = None,
    *,
    values: Sequence[str] = VALUES,
    factors: Factors | None = None,
    final: bool = False,
) -> Iterator[Reader]:
    """A reader on the source's database; a connection of its own is closed on leaving. Raises NoServer, CannotRead."""
    given: Any = connection
    with of_clickhouse(given) if query.source == "ticks" else of_postgres(given) as opened:
        yield Reader(query, opened, values, factors, final)


def _alike(calendar: Calendar, days: Days) -> list[tuple[Sessions, Dates]]:
    """The hours of some days, each with the days that have them; the usual ones are of all that have no others."""
    special: dict[Sessions, list[dt.date]] = {}
    for day in calendar.special.keys() & set(days):
        special.setdefault(calendar.special[day], []).append(day)
    others = sorted(day for found in special.values() for day in found)
    usual: Dates = ("NOT IN", "Array(Date)", others) if others else None
    return [
        (calendar.exchange.sessions, usual),
        *((hours, ("IN", "Array(Date)", found)) for hours, found in special.items()),
    ]


def _day(moment: Moment) -> dt.date:
    day = bounds.day(moment)
    if day is None:
        raise BadMoment(moment, "has a time of day, and as_of is a day")
    return day


def _days(query: Query, loaded: Sequence[Days], first: dt.datetime | None, after: dt.datetime | None) -> Days | None:
    """The days to read for all periods that may be labelled from `first` to before `after`; None if there are none."""
    start, end = min(days.first for days in loaded), max(days.last for days in loaded)
    if first is not None:
        start = max(start, whole_period(first.date(), query.freq).first)
    if after is not None:
        end = min(end, whole_period((after - dt.timedelta.resolution).date(), query.freq).last)
    if query.as_of is not None:
        end = min(end, query.as_of)
    return Days(start, end) if start <= end else None
