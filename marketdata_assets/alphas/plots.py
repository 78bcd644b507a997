"""Pictures of the alphas for the UI."""

from typing import Any

import polars as pl

from marketdata_assets import plotting
from marketdata_assets.alphas import summary

COLOURS = ("#3b6fb6", "#e08e2b", "#2a9d5c", "#8a5fb0", "#c94f5d", "#7f8c8d", "#4fb3bf", "#b5a642")
MONTHS = 60


def pictures(alphas: pl.DataFrame) -> dict[str, str]:
    """By name, a picture each; none where there is nothing to draw or matplotlib is missing."""
    plt = plotting.pyplot()
    if plt is None or alphas.is_empty():
        return {}
    draw = {"alphas_by_month": _by_month, "spread_by_region": _by_region}
    return {name: plotting.markdown(plt, drawn(plt, alphas), name.replace("_", " ")) for name, drawn in draw.items()}


def _by_month(pyplot: Any, alphas: pl.DataFrame) -> Any:
    """Alphas of each of the newest months, the regions on top of each other."""
    counts = summary.spread(alphas, ["month", "region"])
    months = counts["month"].unique().sort().to_list()[-MONTHS:]
    figure, axis = pyplot.subplots(figsize=(9, 3.2), constrained_layout=True)
    bottom = [0] * len(months)
    for number, region in enumerate(counts["region"].unique().sort()):
        of_region = dict(counts.filter(pl.col("region") == region).select("month", "alphas").iter_rows())
        heights = [of_region.get(month, 0) for month in months]
        axis.bar(range(len(months)), heights, bottom=bottom, color=COLOURS[number % len(COLOURS)], label=region)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    step = max(1, len(months) // 10)
    axis.set_xticks(range(0, len(months), step), months[::step], fontsize=7)
    _finish(axis, "alphas by month and region")
    axis.legend(fontsize=7, ncols=4, frameon=False)
    return figure


def _by_region(pyplot: Any, alphas: pl.DataFrame) -> Any:
    """Median and quartiles of Sharpe and turnover, a line a region and kind."""
    table = summary.spread(alphas, ["region", "kind"])
    labels = [f"{region} {kind}" for region, kind in table.select("region", "kind").iter_rows()]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 1.2 + 0.28 * len(labels)), sharey=True, constrained_layout=True)
    for axis, name in zip(axes, summary.FIGURES, strict=True):
        columns = table.select(f"{name}_q1", f"{name}_median", f"{name}_q3")
        for place, (low, middle, high) in enumerate(columns.iter_rows()):
            if middle is not None:
                axis.hlines(place, low, high, colors=COLOURS[0], linewidth=5, alpha=0.45)
                axis.plot(middle, place, "o", color=COLOURS[4], markersize=4)
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
        _finish(axis, f"{name}: median and quartiles")
    return figure


def _finish(axis: Any, title: str) -> None:
    axis.set_title(title, loc="left", fontsize=9)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)
