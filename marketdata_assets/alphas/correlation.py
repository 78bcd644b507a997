"""Correlations of alphas by their daily returns, as BRAIN computes self-correlation. Reading PnL is in `read`.

1. The return of a day is its PnL less the alpha's last known PnL before it; a day without PnL has no return.
2. Days count from four years before the newest day of all alphas that are compared.
3. A correlation is Pearson's over the days on which both alphas have a return.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

YEARS = 4
LEAST_DAYS = 60
"""Of fewer common days, about a quarter of a year, a correlation says nothing."""

Matrix = npt.NDArray[np.float64]
Days = npt.NDArray[np.datetime64]

BLOCK = 1_000_000
"""Pairs at a time; each takes about a hundred bytes."""
CONSTANT = "PnL is constant, or rises by the same every day"
FEW = "fewer than {} common days"
CONSTANT_THEN = "constant on the common days"
_ROUNDING = 1e-12  # a variance below this share of the mean square is that of equal values


@dataclass(frozen=True)
class Returns:
    """Daily returns: a row for each of `ids`, a column for each day, NaN where there is none.

    `left_out` are alphas without a usable series, and why.
    """

    ids: tuple[str, ...]
    days: Days
    values: Matrix
    left_out: Mapping[str, str] = field(default_factory=dict)

    def of(self, ids: Iterable[str]) -> "Returns":
        """Those of `ids` that there are, in this order."""
        rows = {name: row for row, name in enumerate(self.ids)}
        kept = tuple(name for name in ids if name in rows)
        return Returns(kept, self.days, self.values[[rows[name] for name in kept]])


@dataclass(frozen=True)
class Strongest:
    """One alpha: its bounds over `compared` others, and the others that it correlates with most, strongest first.

    `left_out` are those that it has no correlation with, and why.
    """

    id: str
    compared: int
    least: float | None
    greatest: float | None
    others: tuple[str, ...] = ()
    correlations: tuple[float, ...] = ()
    days: tuple[int, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def daily_returns(series: Iterable[tuple[str, Sequence[Any], Sequence[Any]]], years: int = YEARS) -> Returns:
    """The returns of series of id, days as text and cumulative PnL, within the last `years`."""
    found: dict[str, tuple[Days, Matrix]] = {}
    left_out: dict[str, str] = {}
    newest, tomorrow = np.datetime64("0001-01-01", "D"), np.datetime64("today", "D") + 1
    for name, dates, pnl in series:
        try:
            days, totals = np.array(dates, dtype="datetime64[D]"), np.array(pnl, dtype=np.float64)
            known = np.isfinite(totals)
        except (ValueError, TypeError) as error:
            left_out[name] = f"PnL cannot be read: {error}"
            continue
        if days.shape != totals.shape or np.isnat(days).any() or (np.diff(days) <= np.timedelta64(0)).any():
            left_out[name] = "days do not ascend, or are not as many as PnL"
            continue
        if len(days) and days[-1] > tomorrow:
            left_out[name] = f"PnL of a day to come: {days[-1]}"
            continue
        days, totals = days[known], totals[known]
        if len(days) < 2:
            left_out[name] = "fewer than two days of PnL"
            continue
        newest = max(newest, days[-1])
        recent = days[1:] > _before(days[-1], years)  # the window of all cannot start earlier
        found[name] = days[1:][recent], np.diff(totals)[recent]
    first = _before(newest, years)
    for name, (days, returns) in list(found.items()):
        within = days > first
        found[name] = days[within], returns[within]
        if _constant(returns[within]):
            left_out[name] = CONSTANT
            del found[name]
    columns = np.unique(np.concatenate([days for days, _ in found.values()] or [np.array([newest])]))
    values = np.full((len(found), len(columns)), np.nan)
    for row, (days, returns) in enumerate(found.values()):
        values[row, np.searchsorted(columns, days)] = returns
    return Returns(tuple(found), columns, values, left_out)


def correlations(values: Matrix, pool: Matrix, least_days: int = LEAST_DAYS) -> tuple[Matrix, Matrix]:
    """The correlation of each row of `values` with each row of `pool`, and their common days.

    Both have the same days as columns. NaN where one is constant, or with fewer common days than `least_days`.
    """
    partial = _partial(values) | _partial(pool)
    return _pairs(_Prepared.of(values, partial), _Prepared.of(pool, partial), least_days)


def strongest(
    alphas: Returns, pool: Returns, top: int = 5, least_days: int = LEAST_DAYS, block: int = BLOCK
) -> Iterator[Strongest]:
    """Each of `alphas` and the `top` others of `pool` that it correlates with most.

    Both have the same days. Memory is a few times that of the returns, and that of a `block` of pairs.
    """
    at = {name: column for column, name in enumerate(pool.ids)}
    partial = _partial(alphas.values) | _partial(pool.values)
    of_pool = _Prepared.of(pool.values, partial)
    of_alphas = of_pool if alphas is pool else _Prepared.of(alphas.values, partial)
    step = max(block // max(len(pool.ids), 1), 1)
    for start in range(0, len(alphas.ids), step):
        found, days = _pairs(of_alphas.rows(slice(start, start + step)), of_pool, least_days)
        for row, name in enumerate(alphas.ids[start : start + step]):
            if name in at:
                found[row, at[name]] = np.nan
            yield _strongest(name, pool.ids, found[row], days[row], top, max(least_days, 2))


def _strongest(name: str, ids: Sequence[str], found: Matrix, days: Matrix, top: int, least_days: int) -> Strongest:
    without = np.isnan(found)
    compared = np.flatnonzero(~without)
    few = FEW.format(least_days)
    left_out = {
        ids[column]: few if days[column] < least_days else CONSTANT_THEN
        for column in np.flatnonzero(without).tolist()
        if ids[column] != name
    }
    if not len(compared):
        return Strongest(name, 0, None, None, left_out=left_out)
    values = found[compared]
    order = compared[np.argsort(-values, kind="stable")[:top]]
    chosen = tuple(ids[column] for column in order), tuple(found[order].tolist()), tuple(map(int, days[order]))
    return Strongest(name, len(compared), float(values.min()), float(values.max()), *chosen, left_out)


def _constant(returns: Matrix) -> bool:
    return len(returns) > 1 and bool(np.var(returns) <= _ROUNDING * np.mean(returns**2))


def _partial(returns: Matrix) -> npt.NDArray[np.bool_]:
    """The days on which some have a return and some have none."""
    return np.asarray(np.isnan(returns).any(axis=0))


@dataclass(frozen=True)
class _Prepared:
    """Returns with mean 0 and variance 1, on which no correlation depends, and 0 where there is none.

    Of days that all have, sums need no common days: those of a row will do. Only the partial days are multiplied.
    """

    values: Matrix
    days: Matrix  # the number of days that all have, a column
    sums: Matrix  # over these, a column
    squares: Matrix
    partial: Matrix  # the values of the other days
    partial_squares: Matrix
    present: Matrix  # 1 where there is a return on them

    @classmethod
    def of(cls, returns: Matrix, partial: npt.NDArray[np.bool_]) -> "_Prepared":
        present = ~np.isnan(returns)
        count = np.maximum(present.sum(axis=1, keepdims=True), 1)
        values = np.where(present, returns, 0.0)
        values -= values.sum(axis=1, keepdims=True) / count
        values *= present
        scale = np.sqrt(np.einsum("ij,ij->i", values, values)[:, None] / count)
        values /= np.where(scale > 0, scale, 1.0)
        whole, some = values[:, ~partial], values[:, partial]
        squares = np.einsum("ij,ij->i", whole, whole)[:, None]
        days = np.full_like(squares, whole.shape[1])
        return cls(
            values, days, whole.sum(axis=1, keepdims=True), squares, some, some**2, present[:, partial].astype(float)
        )

    def rows(self, rows: slice) -> "_Prepared":
        return _Prepared(*(one[rows] for one in vars(self).values()))


def _pairs(a: _Prepared, b: _Prepared, least_days: int) -> tuple[Matrix, Matrix]:
    days = a.days + a.present @ b.present.T
    count = np.maximum(days, 1)
    sum_a, sum_b = a.sums + a.partial @ b.present.T, b.sums.T + a.present @ b.partial.T
    squares_a = a.squares + a.partial_squares @ b.present.T
    squares_b = b.squares.T + a.present @ b.partial_squares.T
    spread_a, spread_b = squares_a - sum_a**2 / count, squares_b - sum_b**2 / count
    valid = (days >= max(least_days, 2)) & (spread_a > _ROUNDING * squares_a) & (spread_b > _ROUNDING * squares_b)
    found = a.values @ b.values.T - sum_a * sum_b / count
    found /= np.sqrt(np.where(valid, spread_a * spread_b, 1.0))
    found[~valid] = np.nan
    return np.clip(found, -1.0, 1.0, out=found), days


def _before(day: np.datetime64, years: int) -> np.datetime64:
    """The same day so many years earlier; the 28th of February for the 29th."""
    month = day.astype("datetime64[M]")
    earlier = month - np.timedelta64(12 * years, "M")
    last = (earlier + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
    return min(earlier.astype("datetime64[D]") + (day - month.astype("datetime64[D]")), last)
