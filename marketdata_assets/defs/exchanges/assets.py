"""The assets of the exchanges domain: feed -> tables of records -> gaps and minute bars, by UTC day; and history before
the first start, of which the run config says the instruments and types.

One step fills all tables, because a stream or a capture holds records of all types.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.defs.checks import log_skipped, results, specs
from marketdata_assets.defs.exchanges import days, ingest, report
from marketdata_assets.defs.exchanges.days import APIS, FEED, HISTORY, HISTORY_JOB, HISTORY_TABLES
from marketdata_assets.defs.exchanges.ingest import IngestConfig
from marketdata_assets.defs.metadata import HOURLY, RARE, STREAMED, asset, row_count, spec, table_schema
from marketdata_assets.defs.partition_results import (
    Partitions,
    as_dagster_failure,
    finish_partitions,
    log_partitions,
    run_partitions,
    selected,
)
from marketdata_assets.errors import MarketDataError
from marketdata_assets.partitions import HISTORY_DAYS, days_of
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import ClickHouse, Exchanges, Nats
from marketdata_assets.settings import Settings
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    from marketdata_assets.exchanges.tables.history import HistoriesReport, HistoryRequest

GROUP = "exchanges"
BARS = dg.AssetKey("exchange_ohlcv_1m")
REFUSED = "nothing_refused"
ORIGINS = ("rest", "archive")

SPECS = [
    spec(
        name,
        GROUP,
        deps=[FEED, HISTORY] if name in HISTORY_TABLES else [FEED],
        description=text,
        kinds={"clickhouse", "table"},
        code_version="records-1",
        freshness_policy=RARE if name in ("exchange_liquidations", "exchange_instrument_states") else STREAMED,
        skippable=True,
    )
    for name, text in report.TABLES.items()
]


def check_tables(
    client: Client, wanted: Collection[dg.AssetCheckKey], before: Mapping[dt.date, int]
) -> Iterator[dg.AssetCheckResult]:
    """Run the `wanted` checks on the days that were loaded since `before`, or on the newest day that has trades."""
    from marketdata_assets.exchanges.tables import checks as questions
    from marketdata_assets.exchanges.tables import schema

    if not wanted:
        return
    question = questions.written_since(client, before)
    types = {table.name: kind for kind, table in schema.TABLES.items()}

    def find(asset: str, name: str) -> Finding:
        found: Finding = getattr(questions, name)(question, *([types[asset]] if name == REFUSED else []))
        return found

    yield from results(report.TABLES, wanted, find)


def _day_checks(asset: str) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs(asset), can_subset=True, pool="clickhouse")
    def checks(context: dg.AssetCheckExecutionContext, clickhouse: ClickHouse) -> Iterator[dg.AssetCheckResult]:
        with clickhouse.client("exchanges") as client:
            yield from answers(client, asset, days_of(context.run.tags), context.selected_asset_check_keys)

    return checks


def answers(
    client: Client, asset: str, about: Sequence[dt.date], wanted: Collection[dg.AssetCheckKey] | None = None
) -> Iterator[dg.AssetCheckResult]:
    """The results of the checks of some days of an asset, of all or those `wanted`; without days of the newest day."""
    from marketdata_assets.exchanges.tables import checks as questions

    newest = questions.newest_history if asset == HISTORY else questions.newest
    question = questions.Question(client, tuple(about)) if about else newest(client)
    yield from results([asset], wanted, lambda _, name: getattr(questions, name)(question))


day_checks = [_day_checks(asset) for asset in ("exchange_ohlcv_1m", "exchange_gaps", HISTORY)]


@dg.multi_asset(
    name=days.TABLES_STEP,
    specs=SPECS,
    check_specs=specs(*report.TABLES),
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="live",
)
def exchange_tables(
    context: dg.AssetExecutionContext, config: IngestConfig, clickhouse: ClickHouse, nats: Nats, exchanges: Exchanges
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    from marketdata_assets.exchanges.tables.ohlcv import newest_parts

    wanted = [name for name in report.TABLES if dg.AssetKey(name) in context.selected_asset_keys]
    with as_dagster_failure(), clickhouse.client("exchanges") as client:
        before = newest_parts(client)
        if wanted:
            loaded = ingest.ingest(client, clickhouse, nats, exchanges, config, wanted, context.run.run_id)
            context.log_event(report.feed(loaded))
            yield from report.tables(client, context.instance, wanted, loaded)
        yield from check_tables(client, context.selected_asset_check_keys, before)
        if wanted:
            report.raise_problems(loaded)


Found = dict[str, dict[str, Any]]
"""The metadata of each day of a run."""
OfDay = Callable[[dt.date], dict[str, Any]]
"""What processes a day."""


def each_day(context: dg.AssetExecutionContext, asset: dg.AssetKey, of_day: OfDay) -> tuple[Found, dict[str, str]]:
    """Process every day of the run; the causes of those that failed, which do not stop the others."""
    found, failed = Found(), dict[str, str]()
    keys = run_partitions(context)
    tell = ProgressLog(context.log.info, f"days of {asset.to_user_string().removeprefix('exchange_')}")
    for done, key in enumerate(keys, 1):
        found[key] = {}
        try:
            found[key] = of_day(dt.date.fromisoformat(key))
        except MarketDataError as error:
            failed[key] = f"{key}: {error}"
        tell(done, len(keys), key)
    return found, failed


def finish(
    context: dg.AssetExecutionContext, client: Client, found: Found, failed: dict[str, str]
) -> dg.MaterializeResult:
    """Materialize the days that did not fail; a Failure names the others."""
    name = context.asset_key.to_user_string()
    if failed:
        log_skipped(context, answers(client, name, days_of(context.run.tags)))
    rows = row_count(client, name)
    return finish_partitions(context, report.together(found) | rows, found, failed)


def bars_of_day(context: dg.AssetExecutionContext, client: Client, exchanges: Exchanges) -> OfDay:
    """Computes the bars of a day."""
    from marketdata_assets.exchanges.tables.ohlcv import compute

    run_id, turns = context.run.run_id, exchanges.turns
    keep_days = (Settings().exchange_keep_days or {}).get("trade")

    def of_day(day: dt.date) -> dict[str, Any]:
        now = dt.datetime.now(dt.UTC)
        bars = compute(client, day, run_id=run_id, now=now, turns=turns, keep_days=keep_days)
        return report.bars(client, bars)

    return of_day


def bars_of_the_run(context: dg.AssetExecutionContext, client: Client, of_day: OfDay) -> dict[str, str]:
    """Where the run has a step for bars, compute, materialize and check them; the causes of the days that failed.

    For a step of gaps of which a day failed: Dagster then skips the bars of all days.
    """
    if BARS not in selected(context):
        return {}
    found, failed = each_day(context, BARS, of_day)
    log_partitions(context, BARS.to_user_string(), found, failed)
    log_skipped(context, answers(client, BARS.to_user_string(), days_of(context.run.tags)))
    return {f"{BARS.to_user_string()} {key}": cause for key, cause in failed.items()}


class GapsConfig(dg.Config):
    """How gaps are backfilled."""

    fetch: bool = True
    """Fetch missing trades and candles from the venues' REST history."""


def by_days(partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets that are partitioned by day."""
    by_day = partial(asset, GROUP, partitions_def=partitions, pool="clickhouse", freshness_policy=HOURLY)

    @by_day(
        deps=[FEED, APIS, "exchange_trades"],
        kinds={"clickhouse", "table", "http"},
        code_version="gaps-1",
    )
    def exchange_gaps(
        context: dg.AssetExecutionContext, config: GapsConfig, clickhouse: ClickHouse, exchanges: Exchanges
    ) -> dg.MaterializeResult:
        """Gaps in the streams that began on a day, by receive time: those detected by the feeds, and those in the
        sequence numbers of trades. Missing trades are fetched from the venue's REST history, which closes the gap; a
        gap that no history covers stays open."""
        from marketdata_assets.exchanges.tables.gap_backfill import backfill_gaps

        hosts = exchanges.hosts() if config.fetch else None
        with as_dagster_failure(), clickhouse.client("exchanges") as client:

            def of_day(day: dt.date) -> dict[str, Any]:
                return report.gaps(backfill_gaps(client, day, hosts))

            found, failed = each_day(context, context.asset_key, of_day)
            if failed:
                failed |= bars_of_the_run(context, client, bars_of_day(context, client, exchanges))
            return finish(context, client, found, failed)

    @by_day(deps=["exchange_trades", exchange_gaps], kinds={"clickhouse", "table", "sql"}, code_version="bars-1")
    def exchange_ohlcv_1m(
        context: dg.AssetExecutionContext, clickhouse: ClickHouse, exchanges: Exchanges
    ) -> dg.MaterializeResult:
        """One-minute bars of every instrument, computed from the trades of a UTC day; a minute without trades has no
        bar. Volumes are in base units, and null where the size of a trade is unknown."""
        with as_dagster_failure(), clickhouse.client("exchanges") as client:
            return finish(context, client, *each_day(context, BARS, bars_of_day(context, client, exchanges)))

    return [exchange_gaps, exchange_ohlcv_1m]


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

    wanted = [dt.date.fromisoformat(key) for key in run_partitions(context)]
    with as_dagster_failure(), clickhouse.client("exchanges") as client:
        request = _request(config, wanted)
        marks = Partitions(context, context.asset_key)
        loaded = load_history(
            client,
            exchanges.hosts(),
            request,
            keep_days=_keep_days(request),
            run_id=context.run.run_id,
            complete=lambda done: marks(map(str, done)),
        )
        total = loaded_days(client)[1]
        if loaded.failed:
            log_skipped(context, answers(client, HISTORY, wanted))
    rows = {f"rows_from_{origin}": sum(one.rows for one in loaded.units if one.origin == origin) for origin in ORIGINS}
    context.log_event(dg.AssetObservation(APIS, metadata={"exchange": config.exchange, **rows}))
    by_day: dict[str, dict[str, Any]] = {}
    for day in wanted:
        counts = dict(loaded.by_day.get(day, {}))
        by_day[str(day)] = {"dagster/partition_row_count": counts.pop("rows", 0), **counts}
    failed = {str(unit.day): f"{unit.unit}: {unit.error}" for unit in loaded.failed}
    return finish_partitions(context, _sums(loaded) | {"dagster/row_count": total}, by_day, failed)


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


def _sums(loaded: "HistoriesReport") -> dict[str, Any]:
    """The sums of a run, and why days were left out."""
    outcomes = {name: loaded.count(name) for name in ("ok", "empty", "unchanged", "unsupported", "failed")}
    notes = sorted({str(unit.error) for unit in loaded.units if unit.outcome == "unsupported"})
    counts = {"rows": loaded.rows, "rejected": loaded.rejected, **outcomes}
    return {**counts, "notes": dg.MetadataValue.json(notes), "seconds": round(loaded.seconds, 2)}


history_job = dg.define_asset_job(
    HISTORY_JOB, [HISTORY], description="Load past days of instruments from the venues' histories."
)


@dg.definitions
def defs() -> dg.Definitions:
    assets = [exchange_tables, *by_days(days.partitions()), exchange_history]
    return dg.Definitions(assets=assets, jobs=[history_job], asset_checks=day_checks)
