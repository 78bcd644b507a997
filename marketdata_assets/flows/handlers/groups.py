"""Handlers that compute down the rows of each group: running counts, averages, indicators."""

from collections.abc import Sequence

import polars as pl

from marketdata_assets.flows import steps
from marketdata_assets.flows.handlers.given import Given, computed


def running_count(config: steps.RunningCount, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    return _with(config, frame, {config.name: pl.int_range(1, pl.len() + 1, dtype=pl.Int32)})


def moving_average(config: steps.MovingAverage, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    named = {config.name.format(column=config.column, window=window): window for window in config.windows}
    return _with(config, frame, {name: pl.col(config.column).rolling_mean(size) for name, size in named.items()})


def volatility(config: steps.Volatility, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    deviation = pl.col(config.column).rolling_std(config.window)
    if config.annual is not None:
        deviation = deviation * config.annual**0.5
    return _with(config, frame, {config.name.format(column=config.column, window=config.window): deviation})


def ema(config: steps.Ema, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    name = config.name.format(column=config.column, span=config.span)
    return _with(config, frame, {name: _ema(pl.col(config.column), config.span)})


def rsi(config: steps.Rsi, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    """100 where nothing has fallen, NULL where nothing has moved."""
    change = pl.col(config.column).diff()

    def wilder(moves: pl.Expr) -> pl.Expr:
        return moves.ewm_mean(alpha=1 / config.window, adjust=False, min_samples=config.window)

    up, down = wilder(change.clip(lower_bound=0)), wilder((-change).clip(lower_bound=0))
    strength = pl.when(up + down > 0).then(100 * up / (up + down))
    return _with(config, frame, {config.name.format(column=config.column, window=config.window): strength})


def macd(config: steps.Macd, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    line = _ema(pl.col(config.column), config.fast) - _ema(pl.col(config.column), config.slow)
    signal = _ema(line, config.signal)
    name = config.name.format(column=config.column)
    return _with(config, frame, {name: line, f"{name}_signal": signal, f"{name}_histogram": line - signal})


def _ema(values: pl.Expr, span: int) -> pl.Expr:
    return values.ewm_mean(span=span, adjust=False, min_samples=span)


def _with(config: steps.Grouped, frame: pl.DataFrame, columns: dict[str, pl.Expr]) -> pl.DataFrame:
    """Add `columns`, each computed within its group and order; rows stay where they are."""
    one_group = all(frame[name].n_unique() <= 1 for name in config.group_by) and _ordered(frame, config.order_by)
    if not one_group:
        columns = {name: _over(config, value) for name, value in columns.items()}
    return frame.with_columns(computed(frame, columns).get_columns())


def _over(config: steps.Grouped, value: pl.Expr) -> pl.Expr:
    if not config.group_by:
        return value.over(pl.lit(1), order_by=config.order_by or None)
    return value.over(config.group_by, order_by=config.order_by or None)


def _ordered(frame: pl.DataFrame, by: Sequence[str]) -> bool:
    return not by or (len(by) == 1 and frame[by[0]].is_sorted())
