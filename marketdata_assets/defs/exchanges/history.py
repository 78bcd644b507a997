"""History before the first start, as an asset by UTC day: which instruments and types, the run config says."""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.defs.exchanges.assets import GROUP
from marketdata_assets.defs.exchanges.days import APIS, HISTORY, HISTORY_JOB, ensure_tables
from marketdata_assets.defs.marks import Partitions
from marketdata_assets.defs.metadata import asset, table_schema
from marketdata_assets.defs.partition_results import as_dagster_failure, finish_partitions, run_partitions
from marketdata_assets.partitions import HISTORY_DAYS
from marketdata_assets.resources import ClickHouse, Exchanges
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.exchanges.tables.history import HistoriesReport, HistoryRequest


class HistoryConfig(dg.Config):
    """Which histories to load."""

    exchange: str
    """The venue, such as binance."""

    instruments: list[str]
    """Instruments by the venue's name, or by symbol: BTCUSDT or BTC-USDT."""

    market_type: str = ""
    """spot, linear, inverse or option; needed where several markets list the same name."""

    types: list[str] = ["trade", "kline"]  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """Record types: trade, kline, funding_rate, open_interest."""

    intervals: list[str] = ["1m"]  # noqa: RUF012 - the same
    """Of candles."""

    source: str = "auto"
    """archive, rest, or auto: trades and open interest from the venue's public archive if there is one."""

    force: bool = False
    """Load days again that are loaded."""


@asset(
    GROUP,
    name=HISTORY,
    deps=[APIS],
    partitions_def=HISTORY_DAYS,
    kinds={"clickhouse", "http"},
    pool="clickhouse",
    code_version="history-1",
    metadata=table_schema(HISTORY, table=False),
)
def exchange_history(
    context: dg.AssetExecutionContext, config: HistoryConfig, clickhouse: ClickHouse, exchanges: Exchanges
) -> dg.MaterializeResult:
    """Trades, candles, funding rates and open interest of past UTC days, from the venues' REST histories and public
    archives, into the tables of records. The run config names venue, instruments and types; loaded days are skipped."""
    from marketdata_assets.exchanges.tables.history import load_history, loaded_days

    days = [dt.date.fromisoformat(key) for key in run_partitions(context)]
    with as_dagster_failure(), clickhouse.client() as client:
        ensure_tables(client)
        request = _request(config, days)
        keep = _keep_days(request)
        marks = Partitions(context, context.asset_key)
        report = load_history(
            client,
            exchanges.hosts(),
            request,
            keep_days=keep,
            run_id=context.run.run_id,
            complete=lambda done: marks(map(str, done)),
        )
        total = loaded_days(client)[1]
    context.log_event(dg.AssetObservation(APIS, metadata=_asked(config.exchange, report)))
    by_day = {str(day): _of_day(report, day) for day in days}
    failed = {str(unit.day): f"{unit.unit}: {unit.error}" for unit in report.failed}
    return finish_partitions(context, _together(report) | {"dagster/row_count": total}, by_day, failed)


def _asked(exchange: str, report: "HistoriesReport") -> dict[str, Any]:
    """What was loaded from a venue, by origin."""
    rows = {origin: sum(one.rows for one in report.units if one.origin == origin) for origin in ("rest", "archive")}
    return {"exchange": exchange, **{f"rows_from_{origin}": count for origin, count in rows.items()}}


def _request(config: HistoryConfig, days: Sequence[dt.date]) -> "HistoryRequest":
    from marketdata_assets.exchanges.tables.history import HistoryRequest, history_types

    return HistoryRequest(
        config.exchange,
        tuple(config.instruments),
        history_types(config.types),
        tuple(days),
        config.market_type or None,  # type: ignore[arg-type]
        tuple(config.intervals),
        config.source,  # type: ignore[arg-type]
        config.force,
    )


def _keep_days(request: "HistoryRequest") -> int | None:
    """After how many days the tables delete what is requested: the shortest of its types."""
    keep = Settings().exchange_keep_days or {}
    return min((keep[name] for name in request.types if keep.get(name)), default=None)


def _of_day(report: "HistoriesReport", day: dt.date) -> dict[str, Any]:
    counts = dict(report.by_day.get(day, {}))
    return {"dagster/partition_row_count": counts.pop("rows", 0), **counts}


def _together(report: "HistoriesReport") -> dict[str, Any]:
    """The sums of a run, and why days were left out."""
    outcomes = {name: report.count(name) for name in ("ok", "empty", "unchanged", "unsupported", "failed")}
    notes = sorted({str(unit.error) for unit in report.units if unit.outcome == "unsupported"})
    counts = {"rows": report.rows, "rejected": report.rejected, **outcomes}
    return {**counts, "notes": dg.MetadataValue.json(notes), "seconds": round(report.seconds, 2)}


history_job = dg.define_asset_job(
    HISTORY_JOB, [HISTORY], description="Load past days of instruments from the venues' histories."
)
