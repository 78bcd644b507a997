"""Pictures of what was collected, for the UI: gaps on a line of time, closes of a day, trades by hour."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl

from marketdata_assets import plotting
from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables.gap_backfill import GapResult
from marketdata_assets.exchanges.tables.gaps import is_trade_gap
from marketdata_assets.exchanges.tables.schema import day_span, sql
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client

HEALED, OPEN, BOOK = "#2a9d5c", "#c94f5d", "#e0a030"
LINE = "#3b6fb6"
LINES = 30  # instruments and streams with gaps that are drawn
INSTRUMENTS = 6
SHORTEST = 0.0015  # the width of the shortest gap, as a share of the picture: a gap of milliseconds is to be seen


def timeline(results: Sequence[GapResult]) -> str | None:
    """The gaps on a line for each instrument and stream, as Markdown; null without gaps, or without matplotlib."""
    plt = plotting.pyplot()
    if plt is None or not results:
        return None
    from matplotlib.patches import Patch

    lines: dict[str, list[GapResult]] = {}
    for result in results:
        lines.setdefault(f"{result.gap.exchange} {result.gap.instrument} {result.gap.stream}", []).append(result)
    shown = sorted(lines, key=lambda name: (-sum(result.outcome == "open" for result in lines[name]), name))[:LINES]
    first, last = min(result.gap.ts_from for result in results), max(_end(result.gap) for result in results)
    room = max((last - first) * 0.05, 60e9)
    figure, axis = plt.subplots(figsize=(9, 1.1 + 0.24 * len(shown)), constrained_layout=True)
    for place, name in enumerate(reversed(shown)):
        for result in lines[name]:
            begin = result.gap.ts_from
            width = max(_end(result.gap) - begin, (last - first + 2 * room) * SHORTEST)
            open_colour = OPEN if is_trade_gap(result.gap) else BOOK
            colour = open_colour if result.outcome == "open" else HEALED
            length = dt.timedelta(microseconds=width / 1000)
            axis.barh(place, length, left=_moment(begin), height=0.6, color=colour)
    axis.set_yticks(range(len(shown)), reversed(shown), fontsize=7)
    axis.set_ylim(-0.7, len(shown) - 0.3)
    axis.set_xlim(_moment(int(first - room)), _moment(int(last + room)))
    _clock(axis)
    names = {"healed": HEALED, "trades missing": OPEN, "other streams, open": BOOK}
    handles = [Patch(color=colour, label=name) for name, colour in names.items()]
    axis.legend(handles=handles, fontsize=7, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    more = f", {len(lines) - len(shown)} lines more" if len(lines) > len(shown) else ""
    axis.set_title(f"gaps{more}", loc="left", fontsize=9)
    return plotting.markdown(plt, figure, "gaps")


def closes(client: Client, day: dt.date) -> str | None:
    """The closes of a day's busiest instruments, minutes that an open gap touches marked; null without bars."""
    plt = plotting.pyplot()
    if plt is None:
        return None
    frame = clickhouse.read(client, sql("closes_of_busiest"), {**day_span(day), "most": INSTRUMENTS})
    if frame.is_empty():
        return None
    names = frame["name"].unique(maintain_order=True).to_list()
    rows = -(-len(names) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(9, 1.6 * rows), squeeze=False, sharex=True, constrained_layout=True)
    for axis, name in zip(axes.flat, names, strict=False):
        mine = frame.filter(pl.col("name") == name)
        times = mine["time"].to_list()
        axis.plot(times, mine["close"].to_list(), color=LINE, linewidth=1.0)
        for moment in mine.filter(pl.col("open_gaps") > 0)["time"].to_list():
            axis.axvspan(moment, moment + dt.timedelta(minutes=1), color=OPEN, alpha=0.35, linewidth=0)
        axis.set_title(name, loc="left", fontsize=8)
        _clock(axis)
    for axis in list(axes.flat)[len(names) :]:
        axis.set_visible(False)
    return plotting.markdown(plt, figure, "closes")


def trades_by_hour(client: Client, day: dt.date) -> str | None:
    """How many trades came of each instrument in each hour of a day; null without trades."""
    plt = plotting.pyplot()
    if plt is None:
        return None
    frame = clickhouse.read(client, sql("trades_by_hour"), day_span(day))
    if frame.is_empty():
        return None
    names = frame.group_by("name").agg(pl.col("trades").sum()).sort("trades", descending=True)["name"].head(LINES)
    cells = [[0] * 24 for _ in names]
    for name, hour, trades in frame.iter_rows():
        if name in names:
            cells[names.to_list().index(name)][hour] = trades
    from matplotlib.colors import LogNorm

    figure, axis = plt.subplots(figsize=(9, 1.2 + 0.22 * len(names)), constrained_layout=True)
    most = max(map(max, cells))
    drawn = axis.imshow(cells, aspect="auto", cmap="YlGnBu", norm=LogNorm(1, max(2, most)), interpolation="nearest")
    axis.set_facecolor("#eeeeee")
    axis.set_yticks(range(len(names)), names.to_list(), fontsize=7)
    axis.set_xticks(range(24), [f"{hour:02}" for hour in range(24)], fontsize=7)
    axis.set_title(f"trades by hour, {day} UTC", loc="left", fontsize=9)
    figure.colorbar(drawn, ax=axis, fraction=0.03, pad=0.01).ax.tick_params(labelsize=7)
    return plotting.markdown(plt, figure, "trades by hour")


def _end(gap: Gap) -> int:
    """A book is out of use until it is healed; of trades, no more are missing when the next one has come."""
    return gap.ts_to if is_trade_gap(gap) else max(gap.ts_to, gap.healed_at or 0)


def _moment(ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ns / 1e9, dt.UTC)


def _clock(axis: Any) -> None:
    from matplotlib import dates

    tools: Any = dates
    where = tools.AutoDateLocator(tz=dt.UTC)
    axis.xaxis.set_major_locator(where)
    axis.xaxis.set_major_formatter(tools.ConciseDateFormatter(where, tz=dt.UTC))
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)
