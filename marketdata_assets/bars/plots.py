"""Pictures of the monthly K-line for the UI."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

import psycopg

from marketdata_assets import plotting

Candle = tuple[dt.datetime, Decimal, Decimal, Decimal, Decimal]
"""Month, open, high, low, close."""

CODES = 4
MONTHS = 60
RED, GREEN = "#d5352b", "#2a9d5c"


def candlesticks(connection: psycopg.Connection) -> str | None:
    """The newest months of a few codes; None where there is nothing to draw or matplotlib is missing."""
    plt = plotting.pyplot()
    series = _series(connection) if plt else []
    if plt is None or not series:
        return None
    figure, axes = plt.subplots(len(series), 1, figsize=(9, 1.9 * len(series)), squeeze=False, constrained_layout=True)
    for axis, (code, candles) in zip(axes[:, 0], series, strict=True):
        _draw(axis, candles)
        axis.set_title(code, loc="left", fontsize=9)
    return plotting.markdown(plt, figure, "monthly K-line")


def _series(connection: psycopg.Connection) -> list[tuple[str, list[Candle]]]:
    codes = connection.execute(
        "SELECT code FROM stock_monthly_kline GROUP BY code ORDER BY count(*) DESC, code LIMIT %s", [CODES]
    ).fetchall()
    found = []
    for (code,) in codes:
        rows = connection.execute(
            """SELECT month, open, high, low, close FROM stock_monthly_kline WHERE code = %s
               ORDER BY month DESC LIMIT %s""",
            [code, MONTHS],
        ).fetchall()
        found.append((code, rows[::-1]))
    return found


def _draw(axis: object, candles: Sequence[Candle]) -> None:
    """Red rises, green falls, as Chinese charts have it."""
    for place, (_, *prices) in enumerate(candles):
        opened, high, low, closed = map(float, prices)
        colour = RED if closed >= opened else GREEN
        axis.vlines(place, low, high, colors=colour, linewidth=0.9)  # type: ignore[attr-defined]
        body = max(abs(closed - opened), 1e-9)
        axis.bar(place, body, bottom=min(opened, closed), width=0.6, color=colour)  # type: ignore[attr-defined]
    step = max(1, len(candles) // 8)
    ticks = range(0, len(candles), step)
    axis.set_xticks(list(ticks), [f"{candles[i][0]:%Y-%m}" for i in ticks], fontsize=7)  # type: ignore[attr-defined]
    axis.tick_params(axis="y", labelsize=7)  # type: ignore[attr-defined]
    axis.grid(alpha=0.25)  # type: ignore[attr-defined]
