"""Reports of the exchanges library as Dagster metadata, materializations and failures.

Numbers come from the reports and from short queries; nothing is loaded or computed here.
"""

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.defs.exchanges.days import CAPTURE_OUTCOMES, FEED, REJECTED
from marketdata_assets.defs.exchanges.ingest import IngestReport
from marketdata_assets.defs.metadata import markdown_table
from marketdata_assets.defs.partition_results import failure_of
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    from marketdata_assets.exchanges.tables.gap_backfill import DayGaps
    from marketdata_assets.exchanges.tables.ohlcv import DayReport

TABLES = {
    "exchange_trades": "Trades as published: single trades, and aggregate trades of the venue.",
    "exchange_orderbooks": "Order book snapshots and updates, only while the book is in sync.",
    "exchange_klines": "The venues' own candles; of one candle the newest state, a closed one before any other.",
    "exchange_tickers": "Tickers: 24-hour statistics, best prices, mark prices and volatilities.",
    "exchange_funding_rates": "Funding rates of perpetuals: predicted and paid.",
    "exchange_open_interest": "Open interest, in each unit that is known exactly.",
    "exchange_liquidations": "Liquidations; `sell` closes a long position.",
    "exchange_instrument_states": "States of instruments in the venues' lists, when first seen and when changed.",
}
MAX_LISTED = 60  # rows of the Markdown table of a day's gaps


def tables(
    client: Client, instance: dg.DagsterInstance, wanted: Sequence[str], report: IngestReport
) -> Iterator[dg.MaterializeResult]:
    """A result for each table in which something arrived, in this run or by another way since the last one.

    So an asset's last materialization says when its data arrived last, and its freshness fails when one type of data
    stops while others flow.
    """
    from marketdata_assets.exchanges.tables import plots
    from marketdata_assets.exchanges.tables.ohlcv import days_with_trades
    from marketdata_assets.exchanges.tables.status import overview

    statuses = {status.table: status for status in overview(client, [])}
    by_table, run = _rows_by_table(report), _summary(report)
    for name in wanted:
        status = statuses[name]
        loaded = sum(by_table[name].get(key, 0) for key in _ROWS)
        if not loaded and not is_newer(instance, name, status.newest):
            continue
        metadata: dict[str, Any] = {
            "dagster/row_count": status.rows,
            NEWEST: _text(status.newest),
            "refused_so_far": status.rejected,
            **by_table.get(name, {}),
            "seconds": round(report.seconds, 2),
            "round": dg.MetadataValue.json(run),
        }
        if name == "exchange_trades" and (newest := days_with_trades(client)[-1:]):
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            last = event.asset_materialization.metadata if event and event.asset_materialization else {}
            draw = partial(plots.trades_by_hour, client, newest[0])
            metadata |= at_most_hourly(last, "trades_by_hour", draw, time.time())
        yield dg.MaterializeResult(asset_key=name, metadata=metadata)


NEWEST = "newest"


def is_newer(instance: dg.DagsterInstance, table: str, newest: dt.datetime | None) -> bool:
    """Whether a table has a newer record than its last materialization says."""
    if newest is None:
        return False
    event = instance.get_latest_materialization_event(dg.AssetKey(table))
    told = event.asset_materialization.metadata.get(NEWEST) if event and event.asset_materialization else None
    return told is None or str(told.value) < _text(newest)


def _text(newest: dt.datetime | None) -> str:
    return f"{newest:%Y-%m-%d %H:%M:%S} UTC" if newest else "none"


def _rows_by_table(report: IngestReport) -> dict[str, dict[str, int]]:
    """The rows that this run inserted into each table, copies of rows loaded before included."""
    from marketdata_assets.exchanges.tables.schema import TABLES as RECORDS

    by_table: dict[str, dict[str, int]] = {}
    captured = report.captures.by_type if report.captures else {}
    drained = report.drained.types if report.drained else {}
    for kind, table in RECORDS.items():
        by_table[table.name] = {"rows_from_captures": captured.get(kind, 0)}
        if one := drained.get(kind):
            by_table[table.name] |= {
                "rows_from_stream": one.rows,
                "batches": one.batches,
                "redelivered": one.redelivered,
                REJECTED: one.rejected,
            }
    return by_table


def _summary(report: IngestReport) -> dict[str, Any]:
    """The whole run as JSON, the same on every table."""
    files = report.captures.units if report.captures else ()
    return {
        "rows": {name: sum(counts.get(key, 0) for key in _ROWS) for name, counts in _rows_by_table(report).items()},
        "captures": {outcome: sum(file.outcome == outcome for file in files) for outcome in CAPTURE_OUTCOMES},
        "dead_letters": sum(file.skipped for file in files),
        REJECTED: sum(file.rejected for file in files) + (report.drained.rejected if report.drained else 0),
        "stream": report.drained is not None,
        "left": report.drained.left if report.drained else 0,
        "notes": list(report.notes),
        "problems": list(report.problems),
        "seconds": round(report.seconds, 2),
    }


_ROWS = ("rows_from_captures", "rows_from_stream")


def feed(report: IngestReport) -> dg.AssetObservation:
    """What the run loaded: captures by outcome, and records."""
    summary = _summary(report)
    captures = {f"captures_{outcome}": count for outcome, count in summary["captures"].items()}
    records = {"records": sum(summary["rows"].values()), REJECTED: summary[REJECTED]}
    records["unreadable"] = summary["dead_letters"]
    about = {"stream": summary["stream"], "round": dg.MetadataValue.json(summary)}
    return dg.AssetObservation(FEED, metadata={**about, **captures, **records})


def raise_problems(report: IngestReport) -> None:
    """Raise Failure with every problem of the run, if there are any."""
    if report.problems:
        what = f"{len(report.problems)} captures or streams failed; the others are loaded"
        metadata = {"seconds": round(report.seconds, 2), "round": dg.MetadataValue.json(_summary(report))}
        raise failure_of(what, report.problems, metadata)


def bars(client: Client, day: "DayReport") -> dict[str, Any]:
    """A day of bars, with a picture."""
    from marketdata_assets.exchanges.tables import plots

    return {
        "dagster/partition_row_count": day.bars,
        "outcome": day.outcome,
        "trades": day.trades,
        "instruments": day.instruments,
        "bars_with_open_gaps": day.uncertain,
        "kept_without_trades": day.kept,
        "seconds": round(day.seconds, 2),
        **_drawn("closes", plots.closes(client, day.day)),
    }


def _drawn(name: str, picture: str | None) -> dict[str, Any]:
    return {name: dg.MetadataValue.md(picture)} if picture else {}


def gaps(day: "DayGaps") -> dict[str, Any]:
    """A day of gaps: counts, a table with the open ones first, and a timeline."""
    from marketdata_assets.exchanges.tables import plots

    return {
        "dagster/partition_row_count": len(day.gaps),
        "gaps": _listed(day) if day.gaps else "none",
        "healed_before": day.count("healed before"),
        "healed": day.count("healed"),
        "open": day.count("open"),
        "trades_added": day.trades,
        OPEN_REASONS: dg.MetadataValue.json(dict(Counter(one.why for one in day.gaps if one.outcome == "open"))),
        "found_by_numbers": day.recorded,
        "seconds": round(day.seconds, 2),
        **_drawn("timeline", plots.timeline(day.gaps)),
    }


_GAP = ("began (UTC)", "seconds", "exchange", "instrument", "stream", "cause", "ids", "outcome", "trades added", "why")


def _listed(day: "DayGaps") -> dg.MarkdownMetadataValue:
    rows: list[tuple[Any, ...]] = []
    results = sorted(day.gaps, key=lambda result: (result.outcome != "open", result.gap.ts_from))
    for result in results[:MAX_LISTED]:
        gap = result.gap
        began = dt.datetime.fromtimestamp(gap.ts_from / 1e9, dt.UTC)
        ids = "" if gap.last_id is None else f"{gap.last_id} to {gap.next_id}"
        cells = (
            f"{began:%H:%M:%S}",
            f"{(gap.ts_to - gap.ts_from) / 1e9:.1f}",
            f"{gap.exchange} {gap.market_type}",
            *(gap.instrument, gap.stream, gap.cause, ids, result.outcome, result.trades, result.why),
        )
        rows.append(cells)
    if len(results) > MAX_LISTED:
        rows.append((f"and {len(results) - MAX_LISTED} more", *[None] * (len(_GAP) - 1)))
    return markdown_table(_GAP, rows)


OPEN_REASONS = "open_reasons"
_SUMS = ("dagster/partition_row_count", "trades", "healed", "open", "trades_added", "seconds")


def together(by_day: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The sums over all days of a run."""
    sums = {
        name: round(sum(found[name] for found in by_day.values() if name in found), 2)
        for name in _SUMS
        if any(name in found for found in by_day.values())
    }
    rows = sums.pop("dagster/partition_row_count", 0)
    reasons: Counter[str] = Counter()
    for found in by_day.values():
        if OPEN_REASONS in found:
            reasons.update(found[OPEN_REASONS].value)
    open_gaps = {OPEN_REASONS: dg.MetadataValue.json(dict(reasons))} if "open" in sums else {}
    return {"rows": rows, "days": len(by_day), "seconds": 0.0, **sums, **open_gaps}


HOUR = 3600.0


def at_most_hourly(last: Mapping[str, Any], name: str, draw: Callable[[], str | None], now: float) -> dict[str, Any]:
    """The last picture while it is younger than an hour, else a new one and when it was drawn, in epoch seconds."""
    at = f"{name}_drawn"
    if name in last and at in last and now - last[at].value < HOUR:
        return {name: last[name], at: last[at]}
    picture = draw()
    return {**_drawn(name, picture), at: dg.MetadataValue.timestamp(now)} if picture else {}
