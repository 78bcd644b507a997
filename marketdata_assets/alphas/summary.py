"""All alphas in MongoDB as a table and figures: counts, and the spread of Sharpe and turnover.

Four small fields of each document are read, as a stream; where the table is shown is decided elsewhere.
"""

import datetime as dt
from collections.abc import Sequence
from itertools import islice
from typing import Any

import polars as pl

from marketdata_assets import plotting
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import ACCOUNT, KINDS, Kind
from marketdata_assets.alphas.raw_files import instant
from marketdata_assets.stores import mongo
from marketdata_assets.stores.mongo import CODEC, Document

CHUNK = 20_000
UNKNOWN = "?"
FIELDS = {"_id": 0, "settings.region": 1, "is.sharpe": 1, "is.turnover": 1, "dateCreated": 1}
KEYS = ("account", "kind", "month", "region")
FIGURES = ("sharpe", "turnover")
SCHEMA = dict.fromkeys(KEYS, pl.Categorical) | dict.fromkeys(FIGURES, pl.Float32)


def rows(databases: mongo.Databases) -> pl.DataFrame:
    """One row an alpha: account, kind, month (UTC), region, sharpe, turnover; null where the API gave no number."""
    frames = [pl.DataFrame(schema=SCHEMA)]
    for kind in KINDS:
        database = databases[database_name(kind)]
        for account in sorted(filter(ACCOUNT.fullmatch, database.list_collection_names())):
            found = database[account].with_options(codec_options=CODEC).find({}, FIELDS, batch_size=CHUNK)
            stream = (_row(account, kind, document) for document in found)
            while chunk := list(islice(stream, CHUNK)):
                frames.append(pl.DataFrame(chunk, schema=SCHEMA, orient="row"))
    return pl.concat(frames)


def spread(alphas: pl.DataFrame, keys: Sequence[str] = KEYS) -> pl.DataFrame:
    """Count, and median and quartiles of each figure, by `keys`, in their order."""
    quartiles = [
        pl.col(name).quantile(share, "linear").cast(pl.Float64).round(4).alias(f"{name}_{label}")
        for name in FIGURES
        for label, share in (("q1", 0.25), ("median", 0.5), ("q3", 0.75))
    ]
    grouped = alphas.group_by(keys).agg(pl.len().alias("alphas"), *quartiles)
    return grouped.with_columns(pl.col(keys).cast(pl.String)).sort(keys)


def _row(account: str, kind: Kind, document: Document) -> tuple[str, str, str, str, float | None, float | None]:
    created: Any = document.get("dateCreated")
    if isinstance(created, str):  # written by an older tool
        created = instant(created)
    month = f"{created:%Y-%m}" if isinstance(created, dt.datetime) else UNKNOWN
    region = _within(document, "settings", "region")
    sharpe, turnover = (_within(document, "is", name) for name in FIGURES)
    return account, kind, month, region if isinstance(region, str) else UNKNOWN, _number(sharpe), _number(turnover)


def _within(document: Document, outer: str, inner: str) -> Any:
    part = document.get(outer)
    return part.get(inner) if isinstance(part, dict) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


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
    counts = spread(alphas, ["month", "region"])
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
    _style(axis, "alphas by month and region")
    axis.legend(fontsize=7, ncols=4, frameon=False)
    return figure


def _by_region(pyplot: Any, alphas: pl.DataFrame) -> Any:
    """Median and quartiles of Sharpe and turnover, a line a region and kind."""
    table = spread(alphas, ["region", "kind"])
    labels = [f"{region} {kind}" for region, kind in table.select("region", "kind").iter_rows()]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 1.2 + 0.28 * len(labels)), sharey=True, constrained_layout=True)
    for axis, name in zip(axes, FIGURES, strict=True):
        columns = table.select(f"{name}_q1", f"{name}_median", f"{name}_q3")
        for row, (low, middle, high) in enumerate(columns.iter_rows()):
            if middle is not None:
                axis.hlines(row, low, high, colors=COLOURS[0], linewidth=5, alpha=0.45)
                axis.plot(middle, row, "o", color=COLOURS[4], markersize=4)
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
        _style(axis, f"{name}: median and quartiles")
    return figure


def _style(axis: Any, title: str) -> None:
    axis.set_title(title, loc="left", fontsize=9)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)
