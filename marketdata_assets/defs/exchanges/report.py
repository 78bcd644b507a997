"""Reports of the exchanges library as Dagster metadata, materialisations and failures.

Numbers come from the reports and from short queries; nothing is loaded or computed here.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.defs.exchanges.feeding import Fed
from marketdata_assets.defs.metadata import Column, column_schema, markdown_table
from marketdata_assets.defs.partition_results import listed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from marketdata_assets.exchanges.tables.gap_backfill import DayGaps
    from marketdata_assets.exchanges.tables.ohlcv import DayReport

TABLES = {
    "exchange_trades": "Trades as published: single ones, and those that the venue put together.",
    "exchange_orderbooks": "Order books: whole ones, and what changed in them, only while a book is known to be right.",
    "exchange_klines": "The venues' own candles; of one candle the newest state, and a closed one before any other.",
    "exchange_tickers": "The state of markets: 24 hours, best prices, mark prices and volatilities.",
    "exchange_funding_rates": "Funding rates of perpetuals: what will be paid, and what was.",
    "exchange_open_interest": "How much is open, in each unit that is known exactly.",
    "exchange_liquidations": "Forced orders; `sell` closes a long position.",
}
MAX_LISTED = 60
"""Gaps in the table of a day."""

_NUMBER = "decimal, 18 digits"
_ABOUT: tuple[Column, ...] = (
    ("exchange", "text", "binance, okx, deribit"),
    ("market_type", "text", "spot, linear, inverse, option"),
    ("symbol", "text", "BASE-QUOTE, with what tells a dated future or an option apart"),
    ("instrument", "text", "the venue's own name"),
)
_TIME: Column = ("time", "datetime, ns, UTC", "by the venue's clock, by ours where a message has no time")
_OWN: Mapping[str, tuple[Column, ...]] = {
    "exchange_trades": (
        ("trade_id", "text", "the venue's number"),
        ("price", _NUMBER, "as published"),
        ("size", f"{_NUMBER}, may be null", "base units"),
        ("contracts", f"{_NUMBER}, may be null", "where the venue trades contracts"),
        ("side", "text", "of the taker: buy, sell"),
        ("first_id", "text, may be null", "first of the trades in it"),
        ("last_id", "text, may be null", "last of the trades in it"),
    ),
    "exchange_orderbooks": (
        ("kind", "text", "snapshot, delta"),
        ("bids", "list of price and size", "size 0 takes a level away"),
        ("asks", "list of price and size", "the same"),
        ("unit", "text", "of sizes: base, contracts, quote"),
        ("first_id", "int, may be null", "first update in it"),
        ("last_id", "int, may be null", "last update in it"),
        ("prev_id", "int, may be null", "the update it follows"),
    ),
    "exchange_klines": (
        ("interval", "text", "1m, 1h, 1d; 1M is a month"),
        *((name, _NUMBER, "as published") for name in ("open", "high", "low", "close")),
        ("volume", f"{_NUMBER}, may be null", "base units"),
        ("quote_volume", f"{_NUMBER}, may be null", "quote units"),
        ("trades", "int, may be null", "single trades"),
        ("closed", "bool, may be null", "null where the venue does not say"),
    ),
    "exchange_tickers": (
        *((name, f"{_NUMBER}, may be null", "best price") for name in ("bid", "ask")),
        ("last", f"{_NUMBER}, may be null", "last price"),
        ("volume", f"{_NUMBER}, may be null", "base units, 24 hours"),
        ("mark_price", f"{_NUMBER}, may be null", "as published"),
    ),
    "exchange_funding_rates": (
        ("rate", _NUMBER, "1 is 100 percent"),
        ("funding_time", "int, ns, may be null", "when the rate is paid, or was"),
    ),
    "exchange_open_interest": (
        *(
            (name, f"{_NUMBER}, may be null", text)
            for name, text in (("contracts", "contracts"), ("size", "base units"))
        ),
        ("value", f"{_NUMBER}, may be null", "quote units"),
    ),
    "exchange_liquidations": (
        ("side", "text", "sell closes a long position"),
        ("price", _NUMBER, "at which it traded, or its bankruptcy price"),
        ("size", f"{_NUMBER}, may be null", "base units"),
    ),
}
FEED_SCHEMA = column_schema(
    *_ABOUT,
    ("ts_event", "int, ns", "the venue's clock"),
    ("ts_recv", "int, ns", "our clock"),
    ("...", "", "what is special to a type of record: see the tables behind this"),
)
OHLCV_SCHEMA = column_schema(
    *_ABOUT,
    ("time", "datetime, UTC", "start of the minute"),
    *((name, _NUMBER, "price") for name in ("open", "high", "low", "close")),
    ("volume", f"{_NUMBER}, may be null", "base units"),
    ("contracts", f"{_NUMBER}, may be null", "where the venue trades contracts"),
    ("quote_volume", f"{_NUMBER}, may be null", "price times size of each trade"),
    ("taker_buy_volume", f"{_NUMBER}, may be null", "base units that takers bought"),
    ("taker_buy_quote_volume", f"{_NUMBER}, may be null", "what they paid"),
    ("trades", "int", "trades, those that were put together counted one by one where the venue says how many"),
    ("open_gaps", "int", "gaps of trades that are not healed and touch the minute"),
    table="exchange_ohlcv_1m",
)
GAPS_SCHEMA = column_schema(
    *_ABOUT,
    ("stream", "text", "as the venue calls it"),
    ("last_id", "int, may be null", "what came last before the hole"),
    ("next_id", "int, may be null", "what came next"),
    ("ts_from", "int, ns", "receive time of the last good message"),
    ("ts_to", "int, ns", "receive time of the message that showed the hole"),
    ("cause", "text", "sequence, reopened, overload, numbers and more"),
    ("healed_at", "int, ns, may be null", "when nothing was missing any more"),
    table="exchange_gaps",
)


def schema_of(table: str) -> dict[str, Any]:
    """The metadata that names the columns of a table of records."""
    return column_schema(*_ABOUT, _TIME, *_OWN[table], table=table)


def tables(client: "Client", wanted: Sequence[str], fed: Fed) -> Iterator[dg.MaterializeResult]:
    """One for each table: its rows, what the run brought, and what else is to be told."""
    from marketdata_assets.exchanges.tables import plots
    from marketdata_assets.exchanges.tables.ohlcv import days_with_trades
    from marketdata_assets.exchanges.tables.status import overview

    stands = {one.table: one for one in overview(client, [])}
    brought, told = _brought(fed), _round(fed)
    for name in wanted:
        one = stands[name]
        metadata: dict[str, Any] = {
            "dagster/row_count": one.rows,
            "newest": f"{one.newest:%Y-%m-%d %H:%M:%S} UTC" if one.newest else "none",
            "refused_so_far": one.rejected,
            **brought.get(name, {}),
            "seconds": round(fed.seconds, 2),
            "round": dg.MetadataValue.json(told),
        }
        newest = days_with_trades(client)[-1:] if name == "exchange_trades" else []
        if newest and (picture := plots.trades_by_hour(client, newest[0])):
            metadata["trades_by_hour"] = dg.MetadataValue.md(picture)
        yield dg.MaterializeResult(asset_key=name, metadata=metadata)


def _brought(fed: Fed) -> dict[str, dict[str, int]]:
    """By table the rows that this run inserted, copies of rows that stood before included."""
    from marketdata_assets.exchanges.tables.schema import TABLES as RECORDS

    found: dict[str, dict[str, int]] = {}
    captured = fed.captures.rows if fed.captures else {}
    drained = {one.type: one for one in fed.drained.types} if fed.drained else {}
    for kind, table in RECORDS.items():
        found[table.name] = {"rows_from_captures": captured.get(kind, 0)}
        if one := drained.get(kind):
            found[table.name] |= {
                "rows_from_stream": one.rows,
                "batches": one.batches,
                "redelivered": one.redelivered,
                "refused": one.rejected,
            }
    return found


def _round(fed: Fed) -> dict[str, Any]:
    """The whole run for machines, the same on every table."""
    files = fed.captures.files if fed.captures else ()
    outcomes = ("ok", "empty", "unchanged", "failed")
    return {
        "rows": {name: sum(counts.get(key, 0) for key in _ROWS) for name, counts in _brought(fed).items()},
        "captures": {outcome: sum(one.outcome == outcome for one in files) for outcome in outcomes},
        "dead_letters": sum(one.dead_letters for one in files),
        "refused": sum(one.rejected for one in files)
        + (sum(one.rejected for one in fed.drained.types) if fed.drained else 0),
        "stream": fed.drained is not None,
        "notes": list(fed.notes),
        "problems": list(fed.problems),
        "seconds": round(fed.seconds, 2),
    }


_ROWS = ("rows_from_captures", "rows_from_stream")


def feed(key: dg.AssetKey, fed: Fed) -> dg.AssetObservation:
    """What waited to be loaded: captures by outcome, and records."""
    told = _round(fed)
    captures = {f"captures_{outcome}": count for outcome, count in told["captures"].items()}
    records = {"records": sum(told["rows"].values()), "refused": told["refused"], "unreadable": told["dead_letters"]}
    return dg.AssetObservation(key, metadata={"stream": told["stream"], **captures, **records})


def verdict(fed: Fed) -> None:
    """Raise Failure naming what could not be loaded, if anything could not."""
    if fed.problems:
        lines = listed(fed.problems)
        raise dg.Failure(
            description=f"{len(fed.problems)} captures or streams failed, the others are loaded\n{lines}",
            metadata={
                "seconds": round(fed.seconds, 2),
                "round": dg.MetadataValue.json(_round(fed)),
                "failed": dg.MetadataValue.md(lines),
            },
            allow_retries=False,
        )


def rows(client: "Client", key: dg.AssetKey) -> dict[str, int]:
    """How many rows the table has."""
    return {"dagster/row_count": int(client.command(f"SELECT count() FROM {key.to_user_string()}"))}  # type: ignore[arg-type]


def bars(client: "Client", made: "DayReport") -> dict[str, Any]:
    """A day of bars, with a picture."""
    from marketdata_assets.exchanges.tables import plots

    picture = plots.closes(client, made.day)
    return {
        "dagster/partition_row_count": made.bars,
        "outcome": made.outcome,
        "trades": made.trades,
        "instruments": made.instruments,
        "bars_with_open_gaps": made.uncertain,
        "kept_without_trades": made.kept,
        "seconds": round(made.seconds, 2),
        **({"closes": dg.MetadataValue.md(picture)} if picture else {}),
    }


def gaps(day: "DayGaps") -> dict[str, Any]:
    """A day of gaps: counts, a table of those that are open and of the others, and a line of time."""
    from marketdata_assets.exchanges.tables import plots

    picture = plots.timeline(day.gaps)
    return {
        "dagster/partition_row_count": len(day.gaps),
        "healed_before": day.count("healed before"),
        "healed": day.count("healed"),
        "open": day.count("open"),
        "trades_added": day.trades,
        "found_by_numbers": day.recorded,
        "seconds": round(day.seconds, 2),
        "gaps": _listed(day) if day.gaps else "none",
        **({"timeline": dg.MetadataValue.md(picture)} if picture else {}),
    }


_GAP = ("began (UTC)", "seconds", "exchange", "instrument", "stream", "cause", "ids", "outcome", "trades added", "why")


def _listed(day: "DayGaps") -> dg.MarkdownMetadataValue:
    """Open ones first."""
    rows: list[tuple[Any, ...]] = []
    listed = sorted(day.gaps, key=lambda one: (one.outcome != "open", one.gap.ts_from))
    for one in listed[:MAX_LISTED]:
        gap = one.gap
        began = dt.datetime.fromtimestamp(gap.ts_from / 1e9, dt.UTC)
        ids = "" if gap.last_id is None else f"{gap.last_id} to {gap.next_id}"
        cells = (
            f"{began:%H:%M:%S}",
            f"{(gap.ts_to - gap.ts_from) / 1e9:.1f}",
            f"{gap.exchange} {gap.market_type}",
            *(gap.instrument, gap.stream, gap.cause, ids, one.outcome, one.trades, one.why),
        )
        rows.append(cells)
    if len(listed) > MAX_LISTED:
        rows.append((f"and {len(listed) - MAX_LISTED} more", *[None] * (len(_GAP) - 1)))
    return markdown_table(_GAP, rows)


_SUMS = ("dagster/partition_row_count", "trades", "healed", "open", "trades_added", "seconds")


def together(by_day: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The days of a run in sum."""
    sums = {
        name: round(sum(found[name] for found in by_day.values() if name in found), 2)
        for name in _SUMS
        if any(name in found for found in by_day.values())
    }
    rows = sums.pop("dagster/partition_row_count", 0)
    return {"rows": rows, "days": len(by_day), "seconds": 0.0, **sums}
