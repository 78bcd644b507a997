"""What providers deliver, in one form: minute bars, factors, splits and dividends, and rejected rows.

A value that the provider did not send is null. A provider's own format is parsed in its module.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from marketdata_assets.loading.files import Delivered
from marketdata_assets.loading.rejects import RejectLimit
from marketdata_assets.reference.calendar import of_exchange
from marketdata_assets.reference.exchanges import MAINLAND, Exchange, by_exchange, is_known
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks.providers_file import FilesProvider, Quality, Session
from marketdata_assets.ticks.tables import TICK_DATA

Outcome = Literal["ok", "empty", "unsupported"]

BARS = pl.Schema(
    {name: TICK_DATA.columns[name] for name in TICK_DATA.columns if name not in ("date", "label", "currency")}
)
"""Of a bar; the time is that which the provider labels it with, see Delivery.label, and turnover in its currency."""

# All bits of `tick_data.flags`, a UInt8, are used.
FLAGS = {
    "incomplete": 1,  # a price or the volume is null
    "zero_volume": 2,
    "ohlc_order": 4,  # high below, or low above, another price
    "price_bounds": 8,  # outside quality.min_price .. max_price
    "volume_bound": 16,  # above quality.max_volume
    "return_bound": 32,  # close to close of one day beyond quality.max_return
    "outside_session": 64,  # outside the session hours
    "units": 128,  # turnover / volume of its day is no price of the day: one of the three has another unit
}
"""Why a bar is suspicious; it is kept anyway."""

UNITS_TOLERANCE = 1.5
"""So many times may turnover / volume of a day be above its high or below its low; an error of units is 10 or more."""

HUNDREDFOLD = 30.0
"""So many times may a price of another exchange be above or below the median of its answer: limits of prices are
unknown, and Yahoo mixes pence and pounds, cents and dollars."""

_KEYS = {"provider": pl.String(), "symbol": pl.String(), "date": pl.Date()}  # of the exchange
ADJUSTMENTS = pl.Schema({**_KEYS, "adj_factor": pl.Float64()})

DAILY_FIELDS = (
    "close",  # yuan
    "turnover_rate",  # % of the shares that may be traded
    "turnover_rate_f",  # % of the free float
    "volume_ratio",  # as the provider defines it
    "pe",
    "pe_ttm",
    "pb",
    "ps",
    "ps_ttm",
    "dv_ratio",  # %
    "dv_ttm",  # %
    "total_share",  # 10,000 shares, as the next two
    "float_share",
    "free_share",
    "total_mv",  # 10,000 yuan, as the next
    "circ_mv",
)
DAILY = pl.Schema({**_KEYS, **dict.fromkeys(DAILY_FIELDS, pl.Float64())})

ACTIONS = pl.Schema(
    {
        **_KEYS,
        "kind": pl.String(),  # split or dividend
        "numerator": pl.Float64(),  # of a split: new shares ..
        "denominator": pl.Float64(),  # .. for so many old ones
        "amount": pl.Float64(),  # of a dividend, per share
        "currency": pl.String(),
    }
)


@dataclass(frozen=True)
class Dropped:
    """The dropped files of a delivery, as they were read, and `brought`: ts and file of every row, loaded or not.

    `withdrawn` are forgotten files, by name, whose rows leave. `ages` are the modification times (ns) with which files
    compete that were not read. `flaw` is why nothing of some other file with rows of these days is loaded.
    """

    files: tuple[Delivered, ...]
    brought: pl.DataFrame
    withdrawn: frozenset[str] = frozenset()
    ages: Mapping[str, int] = field(default_factory=dict)
    flaw: str = ""


@dataclass(frozen=True)
class Delivery:
    """Rows of one symbol in some days from one provider. `empty` and `unsupported` have a `reason`.

    `rows` are bars with the columns of BARS, or order books with those of BOOKS, sorted by time, one row an instant.
    Only bars have a label and a currency. `line` of a rejected row counts the rows of the response from 1. `skipped`
    counts rows that are not loaded since another row of their instant is: duplicates. `dropped` are the files that the
    rows are from, where they are.
    """

    provider: str
    symbol: str
    days: Days
    outcome: Outcome
    rows: pl.DataFrame
    label: Label | None = None
    currency: str | None = None
    rejected: tuple[Reject, ...] = ()
    reason: str = ""
    skipped: int = 0
    dropped: "Dropped | None" = None

    @classmethod
    def without(
        cls, provider: str, symbol: str, days: Days, label: Label | None, outcome: Outcome, reason: str
    ) -> "Delivery":
        """A delivery of no rows."""
        return cls(provider, symbol, days, outcome, BARS.to_frame(), label, reason=reason)


ANSWER_LIMIT = RejectLimit(tolerated=2)
"""Of a thin stock, one odd last bar is more than a hundredth of its month."""


def too_many(provider: str, symbol: str, good: int, rejected: Sequence[Reject]) -> str:
    """Why a delivery with so many good and rejected rows is rejected as a whole; empty when it is not."""
    rows = good + len(rejected)
    if not ANSWER_LIMIT.exceeded(len(rejected), rows):
        return ""
    first = rejected[0]
    return (
        f"{provider} {symbol}: {len(rejected)} of {rows} rows rejected, over the limit of {ANSWER_LIMIT}, so nothing"
        f" of it is loaded. First: line {first.line}: {first.reason} ({first.raw[:100]})."
    )


def to_utc(naive: pl.Expr, session: Session) -> pl.Expr:
    """Exchange times without a zone as UTC; null where one is skipped or ambiguous (daylight saving)."""
    local = naive.dt.replace_time_zone(session.timezone, ambiguous="null", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def on_each_clock(symbols: pl.Series, of: Callable[[Exchange], pl.Expr]) -> pl.Expr:
    """For each row what `of` gives for the exchange of its symbol; of rejected rows without one, for the mainland's."""
    groups = by_exchange(filter(is_known, symbols.drop_nulls().unique()))
    found = of(MAINLAND)
    for exchange, names in groups.items():
        if exchange is not MAINLAND:
            found = pl.when(pl.lit(symbols.is_in(names))).then(of(exchange)).otherwise(found)
    return found


def day_of(symbols: pl.Series) -> pl.Expr:
    """The day of `ts` at the exchange of each row's symbol."""
    return on_each_clock(symbols, lambda one: pl.col("ts").dt.convert_time_zone(one.timezone).dt.date())


def bars(
    raw: pl.DataFrame,
    provider: str,
    symbol: str,
    days: Days,
    label: Label,
    currency: str | None,
    config: FilesProvider,
) -> Delivery:
    """The bars of one symbol from `raw`, which has line, raw, ts, open, high, low, close, volume, turnover. See
    `judged` for what is rejected."""
    rows, others = judged(raw.with_columns(symbol=pl.lit(symbol)))
    frame, rejected = flagged(rows, provider, config.quality, config.session), rejects(others)
    if frame.is_empty() and not rejected:
        return Delivery.without(provider, symbol, days, label, "empty", "it has no bar in these days")
    skipped = raw.height - frame.height - len(rejected)
    return Delivery(provider, symbol, days, "ok", frame, label, currency, rejected, skipped=skipped)


def judged(raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of `raw` that are bars, each minute of a symbol once, and the others; see `sift`.

    `turnover` may be missing.
    Rejected are rows without a time, with seconds, with numbers that are not finite or shares that are not whole, and
    rows that contradict an earlier one of the same minute.
    """
    if "turnover" not in raw.columns:
        raw = raw.with_columns(turnover=pl.lit(None, pl.Float64))
    return sift(raw, _reason(raw["symbol"]), ["open", "high", "low", "close", "volume", "turnover"], "minute")


def flagged(rows: pl.DataFrame, provider: str, quality: Quality, session: Session) -> pl.DataFrame:
    """Rows of `judged` as bars, by symbol and time. `session` is that of the mainland's exchanges."""
    frames = [BARS.to_frame()]
    for exchange, symbols in by_exchange(rows["symbol"].unique()).items():
        frame = rows if len(symbols) == rows["symbol"].n_unique() else rows.filter(pl.col("symbol").is_in(symbols))
        hours = session.of(exchange)
        local = pl.col("ts").dt.convert_time_zone(hours.timezone).dt.replace_time_zone(None)
        frame = frame.sort("symbol", "ts").with_columns(
            provider=pl.lit(provider),
            interval=pl.lit("1m"),
            file=pl.lit(""),
            local=local,
        )
        frame = frame.with_columns(flags=_flags(quality, hours, exchange))
        frames.append(frame.select(BARS.names()).cast(BARS))
    return frames[1] if len(frames) == 2 else pl.concat(frames).sort("symbol", "ts")


OTHERS = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": pl.Datetime("us", "UTC"),
        "line": pl.Int64(),
        "reason": pl.String(),  # null of a duplicate
        "raw": pl.String(),
    }
)
"""Rows that are not loaded."""


def sift(raw: pl.DataFrame, reason: pl.Expr, values: list[str], unit: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows without a `reason`, each `ts` of a symbol once, and the others by line, with the columns of OTHERS.

    A column `reason` of `raw` has those that are known already, null for most rows. Of rows equal in `values` the first
    is kept, and the others have no reason; of different rows of one `unit` of time the first is kept, and the others
    are rejected.
    """
    judged = raw.with_columns(reason=pl.coalesce("reason", reason) if "reason" in raw.columns else reason)
    key = pl.struct("symbol", "ts")
    if judged["reason"].null_count() == judged.height and judged.select(key.n_unique()).item() == judged.height:
        return judged, OTHERS.to_frame()
    good = judged.filter(pl.col("reason").is_null())
    first = good.unique(["symbol", "ts", *values], keep="first", maintain_order=True)
    repeated = good.join(first, on="line", how="anti")
    contradiction = pl.lit(f"contradicts an earlier row of the same {unit}")
    first = first.with_columns(reason=pl.when(~key.is_first_distinct()).then(contradiction))
    others = [judged.filter(pl.col("reason").is_not_null()), first.filter(pl.col("reason").is_not_null()), repeated]
    frames = [frame.select(OTHERS.names()).cast(OTHERS) for frame in others]
    return first.filter(pl.col("reason").is_null()), pl.concat(frames).sort("line")


def rejects(others: pl.DataFrame) -> tuple[Reject, ...]:
    """The rejected ones of `others`, each with its day, where it has a time."""
    day = day_of(others["symbol"]).dt.strftime("%Y-%m-%d")
    bad = others.with_columns(day=day).filter(pl.col("reason").is_not_null()).select("line", "reason", "raw", "day")
    return tuple(Reject(*row) for row in bad.iter_rows())


def _reason(symbols: pl.Series) -> pl.Expr:
    """The first rule that a row of these symbols breaks; null when it breaks none."""
    ts, volume = pl.col("ts"), pl.col("volume")
    wrong = {"the time cannot be parsed": ts.is_null(), "not on a whole minute": ts != ts.dt.truncate("1m")}
    for name in ("open", "high", "low", "close", "volume", "turnover"):
        wrong[f"{name} is not finite"] = ~pl.col(name).is_finite()
    wrong["volume is below 0"] = volume < 0
    wrong["volume is above any number of shares"] = volume > 2**53
    whole = on_each_clock(symbols, lambda exchange: pl.lit(not exchange.fractions))
    wrong["volume is not a whole number of shares"] = whole & (volume != volume.round())
    return pl.coalesce(pl.when(broken).then(pl.lit(reason)) for reason, broken in wrong.items())


def _flags(quality: Quality, session: Session, exchange: Exchange) -> pl.Expr:
    """Of rows sorted by symbol and time, with their time on the exchange's clock as `local`."""
    prices = [pl.col(name) for name in ("open", "high", "low", "close")]
    high, low, close, volume, local = (pl.col(name) for name in ("high", "low", "close", "volume", "local"))
    same_day = (pl.col("symbol") == pl.col("symbol").shift(1)) & (local.dt.date() == local.shift(1).dt.date())
    jump = (close / close.shift(1) - 1).abs()
    inside = pl.any_horizontal(local.dt.time().is_between(start, end) for start, end in session.spans)
    conditions = {
        "incomplete": pl.any_horizontal(price.is_null() for price in [*prices, volume]),
        "zero_volume": volume == 0,
        "ohlc_order": (high < pl.max_horizontal(prices)) | (low > pl.min_horizontal(prices)),
        "price_bounds": pl.any_horizontal(~price.is_between(quality.min_price, quality.max_price) for price in prices),
        "volume_bound": volume > quality.max_volume,
        "return_bound": same_day & (jump > quality.max_return),
        "outside_session": ~inside,
        "units": _other_units(),
    }
    if not exchange.price_limits:  # so that prices of any size may be right
        conditions["price_bounds"] = pl.any_horizontal(price <= 0 for price in prices)
        conditions["volume_bound"] = pl.lit(False)
        conditions["outside_session"] |= _after_special_hours(exchange)
        ratio = pl.col("close") / pl.col("close").median().over("symbol")
        conditions["units"] |= (ratio > HUNDREDFOLD) | (ratio < 1 / HUNDREDFOLD)
    return pl.sum_horizontal(conditions[name].fill_null(False).cast(pl.UInt8) * bit for name, bit in FLAGS.items())


def _other_units() -> pl.Expr:
    """Whether the turnover of a day over its volume is no price of the day; bars without the one or the other aside."""
    turnover, volume = pl.col("turnover"), pl.col("volume")
    both, day = (turnover > 0) & (volume > 0), ["symbol", pl.col("local").dt.date()]
    paid = turnover.filter(both).sum().over(day) / volume.filter(both).sum().over(day)
    low, high = pl.min_horizontal("low", "close").min().over(day), pl.max_horizontal("high", "close").max().over(day)
    return paid.is_finite() & ((paid > high * UNITS_TOLERANCE) | (paid < low / UNITS_TOLERANCE))


def _after_special_hours(exchange: Exchange) -> pl.Expr:
    """Whether the bar is after the close of a day with other hours than usual, as a half day."""
    closes = {
        day: dt.timedelta(hours=start.hour, minutes=start.minute + minutes + exchange.auction)
        for day, ((start, minutes), *_) in ((day, hours[::-1]) for day, hours in of_exchange(exchange).special.items())
    }
    close = pl.col("local").dt.date().replace_strict(closes, default=None, return_dtype=pl.Duration("us"))
    return pl.col("local") - pl.col("local").dt.truncate("1d") > close
