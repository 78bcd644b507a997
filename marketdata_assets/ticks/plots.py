"""Pictures of minute bars for the UI: which days of which symbols are complete, and when in the day stocks trade."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from marketdata_assets import plotting
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import Calendar
from marketdata_assets.reference.exchanges import by_exchange
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.bookkeeping import sample_evenly
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks import coverage, registry
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import statement

COLOURS = ("#c94f5d", "#f2d8a7", "#2a9d5c")
"""From no minute of a day to all of them."""
NO_BAR, NOT_EXPECTED = "#d9d9d9", "#ffffff"
LINE, AREA = "#3b6fb6", "#3b6fb633"

MONTHS = 3
SYMBOLS = 40
PROFILE_SYMBOLS = 200


def pictures(client: Client, table: str, units: Sequence[Unit]) -> dict[str, str]:
    """By name, a picture each of the newest months of `units`; none for other tables, or without matplotlib."""
    plt = plotting.pyplot()
    if plt is None or table != "tick_data" or not units:
        return {}
    months = sorted({unit.month for unit in units})[-MONTHS:]
    symbols = sorted({unit.symbol for unit in units if unit.month in months})
    days = covered(client, months, symbols, stored.calendar(client))
    figures = {
        "coverage": _coverage(plt, days, months),
        "intraday_volume": _profile(plt, client, months, symbols),
    }
    return {name: plotting.markdown(plt, figure, name.replace("_", " ")) for name, figure in figures.items() if figure}


def covered(client: Client, months: Sequence[str], symbols: Sequence[str], calendar: Calendar) -> pl.DataFrame:
    """Symbol, date and share of the existing minutes, null without a bar; of many those that lack most."""
    listings = {listing.symbol: listing for listing in registry.listed(client, vanished=True)}
    days = pl.concat([coverage.symbol_days(client, month, symbols, calendar, listings) for month in months])
    worst = days.group_by("symbol").agg(pl.col("missing").sum()).sort(["missing", "symbol"], descending=[True, False])
    shown = worst.filter(pl.col("missing") > 0)["symbol"].head(SYMBOLS // 2).to_list()
    others = [symbol for symbol in worst["symbol"].sort() if symbol not in shown]
    shown += sample_evenly(others, SYMBOLS - len(shown))
    share = pl.when(pl.col("bars") > 0).then(pl.col("present") / pl.col("expected"))
    return days.filter(pl.col("symbol").is_in(shown)).select("symbol", "date", share=share).sort("symbol", "date")


def profile(client: Client, months: Sequence[str], symbols: Sequence[str]) -> pl.DataFrame:
    """Minute of the exchange's day and the share of a day's volume in it, averaged over symbols, in percent.

    Of the exchange of most symbols, and of the label that most bars have, as a day's minutes differ by one between the
    two.
    """
    exchange, most = max(by_exchange(symbols).items(), key=lambda one: len(one[1]))
    days = Days(Days.month(months[0]).first, Days.month(months[-1]).last)
    sample = sample_evenly(most, PROFILE_SYMBOLS)
    bound = {"symbols": sample, "timezone": exchange.timezone, "first": days.first, "last": days.last}
    shares = clickhouse.read(client, statement("volume_profile"), bound)
    labels = shares.group_by("named_for").agg(pl.col("symbols").sum()).sort("symbols", descending=True)
    return shares.join(labels.head(1), on="named_for", how="semi").select("minute", "share")


def _coverage(plt: Any, days: pl.DataFrame, months: Sequence[str]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Patch

    if days.is_empty():
        return None
    wide = (
        days.with_columns(pl.col("share").fill_null(-1.0)).pivot("date", index="symbol", values="share").sort("symbol")
    )
    dates = sorted(name for name in wide.columns if name != "symbol")
    cells = wide.select(dates).to_numpy()
    figure, axis = plt.subplots(figsize=(9, 1.3 + 0.19 * wide.height), constrained_layout=True)
    axis.set_facecolor(NOT_EXPECTED)
    colours = LinearSegmentedColormap.from_list("share", COLOURS).with_extremes(under=NO_BAR)
    drawn = axis.imshow(cells, aspect="auto", cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    axis.set_yticks(range(wide.height), wide["symbol"].to_list(), fontsize=7)
    step = max(1, len(dates) // 12)
    axis.set_xticks(range(0, len(dates), step), [day[5:] for day in dates[::step]], fontsize=7)
    axis.set_xticks([place - 0.5 for place in range(1, len(dates))], minor=True)
    axis.set_yticks([place - 0.5 for place in range(1, wide.height)], minor=True)
    axis.grid(which="minor", color="white", linewidth=0.7)
    axis.tick_params(which="minor", length=0)
    axis.set_title(f"existing minutes, {' '.join(months)}", loc="left", fontsize=9)
    bar = figure.colorbar(drawn, ax=axis, fraction=0.03, pad=0.01, format="{x:.0%}")
    bar.ax.tick_params(labelsize=7)
    legend = [Patch(color=NO_BAR, label="no bar that day")]
    axis.legend(handles=legend, fontsize=7, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return figure


def _profile(plt: Any, client: Client, months: Sequence[str], symbols: Sequence[str]) -> Any:
    minutes = profile(client, months, symbols)
    if minutes.is_empty():
        return None
    figure, axis = plt.subplots(figsize=(9, 2.8), constrained_layout=True)
    places, shares = range(minutes.height), minutes["share"].to_list()
    axis.fill_between(places, shares, color=AREA, linewidth=0)
    axis.plot(places, shares, color=LINE, linewidth=1.2)
    names = minutes["minute"].to_list()
    ticks = [place for place, name in enumerate(names) if name[3:] in ("00", "30") or place in (0, len(names) - 1)]
    axis.set_xticks(ticks, [names[place] for place in ticks], fontsize=7)
    axis.set_xlim(0, len(names) - 1)
    axis.set_ylim(0, max(shares) * 1.08 or 1)
    axis.set_ylabel("% of the day's shares", fontsize=7)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)
    title = f"volume by minute, mean of {min(len(symbols), PROFILE_SYMBOLS)} symbols, {' '.join(months)}"
    axis.set_title(title, loc="left", fontsize=9)
    return figure
