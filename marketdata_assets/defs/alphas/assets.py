"""The assets of the alphas domain: API -> raw files -> packages -> MongoDB, by UTC month and account.

The record sets, PnL, yearly figures and correlations of alphas, are assets of the same partitions.
The job `alphas_selected` packages, imports and checks accounts and months that are no rectangle, in one run.

Fetching, packaging and importing are in `marketdata_assets.alphas`. MongoDB's client and httpx are imported where they
are used, as every run and every page of the UI loads this module.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.alphas import catalogues
from marketdata_assets.alphas import filters as alpha_filters
from marketdata_assets.alphas.errors import BadOptions
from marketdata_assets.alphas.import_modes import BATCH_SIZE, ImportOptions
from marketdata_assets.alphas.import_modes import CODE_VERSION as IMPORT_VERSION
from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.alphas.merge import MergePolicy
from marketdata_assets.alphas.record_sets import BY_TIME, RECORD_SETS, RecordSet, asset_name
from marketdata_assets.alphas.record_sets import CODE_VERSION as RECORDS_VERSION
from marketdata_assets.dagster_internals import StepContext
from marketdata_assets.defs.alphas import checks, report
from marketdata_assets.defs.checks import log_results, log_skipped
from marketdata_assets.defs.metadata import HOURLY, asset, table_schema
from marketdata_assets.defs.partition_results import (
    Ended,
    Partitions,
    as_dagster_failure,
    finish_partitions,
    finish_selected,
    log_ended,
    run_partitions,
    selected,
)
from marketdata_assets.defs.selection import check_selected, config_of, step_config
from marketdata_assets.errors import MarketDataError, TerminalError, TransientError
from marketdata_assets.loading.reports import and_more
from marketdata_assets.partitions import (
    ALPHA_MONTHS,
    ALPHA_PARTITIONS,
    BRAIN_ACCOUNTS,
    Pair,
    alpha_key,
    alpha_pair,
    dynamic_keys,
)
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import AlphaFiles, Brain, Mongo, Resources, Workers

if TYPE_CHECKING:
    from marketdata_assets.alphas.fetch_records import RecordsReport

monthly = partial(asset, "alphas", partitions_def=ALPHA_PARTITIONS, freshness_policy=HOURLY)
CHAIN = ("alpha_files", "alpha_packages", *(f"{kind}_alphas" for kind in KINDS), "alpha_summary")
AFTER = {"alpha_files": CHAIN[1:], "alpha_packages": CHAIN[2:], **dict.fromkeys(CHAIN[2:4], CHAIN[4:])}
"""What needs each asset."""
FOLLOW = dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window())
"""After every partition of the upstream asset, however old its month."""


def _marks(
    context: StepContext, asset: str, root: Path, pairs: Sequence[Pair] | None = None
) -> Callable[[Sequence[Pair]], None]:
    """Logs partitions of an asset as they are complete; `pairs` are all of a step that adds no raw file."""
    marks = Partitions(context, dg.AssetKey(asset))
    known = None if pairs is None else {*report.covered(root, pairs)}

    def complete(done: Sequence[Pair]) -> None:
        own = report.covered(root, done) if known is None else [pair for pair in done if pair in known]
        marks(str(alpha_key(*pair)) for pair in own)

    return complete


class FetchConfig(dg.Config):
    """Which windows are requested from the API."""

    fetch: bool = True
    """Fetch from the API; without it the files on disk are used."""

    refetch: bool = False
    """Fetch finished windows again, to find alphas that have changed."""


@monthly(
    deps=["brain_api"],
    kinds={"json", "file"},
    code_version="fetch-1",
    pool="alpha_api",
    metadata=table_schema("alpha_files", table=False),
)
def alpha_files(
    context: dg.AssetExecutionContext,
    config: FetchConfig,
    mongo: Mongo,
    brain: Brain,
    alphas_dir: AlphaFiles,
    workers: Workers,
) -> dg.MaterializeResult:
    """Raw slices of the API's list, one file a window of time, as they came.

    Accounts are fetched concurrently; one that fails does not affect the others. An account that has files but is not
    set up for fetching is used as it is.
    """
    from marketdata_assets.alphas.fetch import fetch_accounts

    with as_dagster_failure():
        if config.refetch and not config.fetch:
            raise BadOptions("refetch without fetch: set one of them")
        fetched = fetch_accounts(
            alphas_dir.path,
            [alpha_pair(key) for key in run_partitions(context)],
            brain.client if config.fetch else None,
            now=dt.datetime.now(dt.UTC),
            refetch=config.refetch,
            progress=ProgressLog(context.log.info, "windows"),
            complete=_marks(context, "alpha_files", alphas_dir.path),
        )
    if fetched.listed:
        context.log_event(report.api(fetched))
    ended = report.of_covered(alphas_dir.path, report.of_files(fetched))
    return _finish(context, ended, Resources(mongo=mongo, brain=brain, alphas_dir=alphas_dir, workers=workers))


@monthly(
    deps=[alpha_files],
    automation_condition=FOLLOW,
    kinds={"json", "file"},
    code_version="package-1",
    metadata=table_schema("alpha_files", table=False),
)
def alpha_packages(
    context: dg.AssetExecutionContext, mongo: Mongo, brain: Brain, alphas_dir: AlphaFiles, workers: Workers
) -> dg.MaterializeResult:
    """Alphas of one UTC day as NDJSON, each once and in its newest version, from all raw files there are.

    Equal content gives equal bytes, so days that did not change are not imported again.
    """
    has = Resources(mongo=mongo, brain=brain, alphas_dir=alphas_dir, workers=workers)
    ended = package(context, [alpha_pair(key) for key in run_partitions(context)], has)
    return _finish(context, ended, has)


class ImportConfig(dg.Config):
    """How an import treats what is stored already; contradictory options are rejected."""

    mode: str = "incremental"
    """incremental, overwrite, rebuild, time_range or smart_merge."""

    batch_size: int = BATCH_SIZE
    time_range_hours: float | None = None
    """time_range: how far back; 25 hours when left out."""

    buffer_hours: float | None = None
    """time_range: added on both sides; 1 hour when left out."""

    buffer_days: float | None = None
    """smart_merge: how far behind the newest alpha of the collection; 3 days when left out."""

    replace: list[str] = []  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """Dotted paths, such as `is.checks`, whose new value replaces the old one, besides those of the account."""

    force: bool = False
    """Compare every alpha of the packages with the database, whatever the ledger says."""

    def options(self) -> ImportOptions:
        """Raises BadOptions."""
        return ImportOptions(
            self.mode,  # type: ignore[arg-type]  # checked by ImportOptions
            self.batch_size,
            self.time_range_hours,
            self.buffer_hours,
            self.buffer_days,
            MergePolicy(replace=frozenset(self.replace)),
        )


Configs = Mapping[str, ImportConfig]


def _import(kind: Kind, description: str) -> dg.AssetsDefinition:
    @monthly(
        name=f"{kind}_alphas",
        description=description,
        deps=[alpha_packages],
        automation_condition=FOLLOW,
        kinds={"mongodb"},
        code_version=IMPORT_VERSION,
        pool="mongo",
    )
    def alphas(
        context: dg.AssetExecutionContext,
        config: ImportConfig,
        mongo: Mongo,
        brain: Brain,
        alphas_dir: AlphaFiles,
        workers: Workers,
    ) -> dg.MaterializeResult:
        pairs = [alpha_pair(key) for key in run_partitions(context)]
        has = Resources(mongo=mongo, brain=brain, alphas_dir=alphas_dir, workers=workers)
        with as_dagster_failure():
            ended = import_kind(context, kind, pairs, config, has)
        if ended.failed:
            good = [pair for pair in pairs if str(alpha_key(*pair)) not in ended.failed]
            log_skipped(context, _answers(kind, good, has))
        return _finish(context, ended, has)

    return alphas


regular_alphas = _import(
    "regular",
    "Regular alphas in the database `regular_alphas`, a collection an account: the newest version of each, deeply"
    " merged into the stored version, so that nothing that the API no longer lists is lost. Tags, classifications and"
    " the fields that the accounts file names are replaced.",
)
super_alphas = _import(
    "super",
    "Super alphas in the database `super_alphas`, a collection an account, merged like the regular ones. They have"
    " `combo` and `selection` instead of `regular`.",
)


def package(context: StepContext, pairs: Sequence[Pair], has: Resources) -> Ended:
    """Update the packages of months from their raw files."""
    from marketdata_assets.alphas.packaging import package_months

    fanout = has.workers.fanout("marketdata_assets.alphas.packaging")
    root, progress = has.alphas_dir.path, ProgressLog(context.log.info, "months")
    packaged = package_months(root, pairs, fanout, progress, _marks(context, "alpha_packages", root, pairs))
    return report.of_covered(root, report.of_packages(packaged))


def import_kind(context: StepContext, kind: Kind, pairs: Sequence[Pair], config: ImportConfig, has: Resources) -> Ended:
    """Import the packages of months. Raises what MongoDB and the configuration raise."""
    from marketdata_assets.alphas.ingest import import_accounts

    imported = import_accounts(
        has.mongo.server,
        has.alphas_dir.path,
        kind,
        pairs,
        run_id=context.run.run_id,
        fanout=has.workers.fanout("marketdata_assets.alphas.ingest"),
        options=config.options(),
        fields=has.brain.fields(),
        force=config.force,
        progress=ProgressLog(context.log.info, "packages"),
        complete=_marks(context, f"{kind}_alphas", has.alphas_dir.path, pairs),
    )
    return report.of_covered(has.alphas_dir.path, report.of_import(has.mongo, imported))


def _answers(kind: Kind, pairs: Sequence[Pair], has: Resources) -> Iterator[dg.AssetCheckResult]:
    with has.mongo.databases() as databases:
        yield from checks.answers(databases, has.alphas_dir.path, kind, pairs, has.brain)


def load(
    context: StepContext, assets: Collection[str], pairs: Sequence[Pair], configs: Configs, has: Resources
) -> dict[str, Ended]:
    """Package and import months, in this step: what `assets` names, with the summary and the checks of the imported.

    `configs` are of the imports, by asset.
    """
    from marketdata_assets.alphas import summary

    ended = {"alpha_packages": package(context, pairs, has)} if "alpha_packages" in assets else {}
    kinds = [kind for kind in KINDS if f"{kind}_alphas" in assets]
    for kind in kinds:
        ended[f"{kind}_alphas"] = import_kind(context, kind, pairs, configs[f"{kind}_alphas"], has)
    if "alpha_summary" in assets:
        with has.mongo.databases() as databases:
            result = report.summary(summary.rows(databases))
        context.log_event(dg.AssetMaterialization("alpha_summary", metadata=result.metadata))
    for kind in kinds:
        log_results(context, _answers(kind, pairs, has))
    return ended


def _finish(context: dg.AssetExecutionContext, ended: Ended, has: Resources) -> dg.MaterializeResult:
    """Materialize what has not failed; where something has, Dagster skips the steps after this one, so their work on
    what there is is done here before the Failure."""
    others: dict[str, str] = {}
    if ended.failed and (rest := following(context)):
        configs = {name: ImportConfig(**step_config(context.run.run_config, name)) for name in rest}
        try:
            every = {key: alpha_pair(key) for key in ended.by_key}
            with_files = {*report.covered(has.alphas_dir.path, every.values())}
            pairs = [pair for key, pair in every.items() if key not in ended.failed or pair in with_files]
            done = load(context, rest, pairs, configs, has)
            for name, step in done.items():  # the totals, which a step of its own would have as its output
                context.log_event(dg.AssetObservation(name, metadata=step.metadata))
            others = log_ended(context, done)
        except (MarketDataError, OSError) as error:  # what failed before is the run's failure
            context.log.error(f"not imported: {error}")
    return finish_partitions(context, ended.metadata, ended.by_key, {**ended.failed, **others})


def following(context: dg.AssetExecutionContext) -> set[str]:
    """The assets of the run that need the one of this step."""
    return {name for name in AFTER[context.asset_key.to_user_string()] if dg.AssetKey(name) in selected(context)}


@asset(
    "alphas",
    deps=[regular_alphas, super_alphas],
    automation_condition=dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing()),
    kinds={"polars", "matplotlib", "table"},
    code_version="summary-1",
    freshness_policy=HOURLY,
    pool="mongo",
    metadata=table_schema("alpha_summary", table=False),
)
def alpha_summary(context: dg.AssetExecutionContext, mongo: Mongo) -> dg.MaterializeResult:
    """How many alphas there are by account, kind, month and region, and how their Sharpe and turnover spread."""
    from marketdata_assets.alphas import summary

    with mongo.databases() as databases:
        return report.summary(summary.rows(databases))


JOB, OP = "alphas_selected", "load_selected_alphas"
EXAMPLE = config_of(OP, {"account": ["2024-01", "2024-04"]})
"""What the launchpad shows."""


def pairs_of(config: Mapping[str, Any]) -> list[Pair]:
    """The accounts and months that the run config of this job names; none when it is of another."""
    months = config.get("ops", {}).get(OP, {}).get("config", {}).get("months", {})
    return [(account, month) for account, own in months.items() for month in own]


class SelectedConfig(ImportConfig):
    """Which months of which accounts, and how they are imported."""

    months: dict[str, list[str]]
    """By account its months, such as 2024-01."""


@dg.op(name=OP, pool="mongo", out=dg.Out(dg.Nothing))
def load_selected_alphas(
    context: dg.OpExecutionContext,
    config: SelectedConfig,
    mongo: Mongo,
    brain: Brain,
    alphas_dir: AlphaFiles,
    workers: Workers,
) -> None:
    """Package and import some months of some accounts, and check them."""
    with as_dagster_failure():
        pairs = _pairs(context, config)
        names = CHAIN[1:]
        has = Resources(mongo=mongo, brain=brain, alphas_dir=alphas_dir, workers=workers)
        ended = load(context, names, pairs, dict.fromkeys(names, config), has)
    totals: dict[str, Any] = {f"{asset}_documents": load.metadata["documents"] for asset, load in ended.items()}
    totals["seconds"] = round(sum(load.metadata["seconds"] for load in ended.values()), 2)
    finish_selected(context, ended, totals)


def _pairs(context: dg.OpExecutionContext, config: SelectedConfig) -> list[Pair]:
    """The selected pairs; their accounts become partitions, as the files of any account do."""
    named = [month for months in config.months.values() for month in months]
    check_selected(named, ALPHA_MONTHS.get_partition_keys(), "write some of an account")
    known = dynamic_keys(context.instance, BRAIN_ACCOUNTS)
    if unknown := [account for account in config.months if account not in known]:
        raise TerminalError(f"months: {unknown[0]!r} is no account; there are {', '.join(known) or 'none'}")
    return sorted({(account, month) for account, months in config.months.items() for month in months})


@dg.job(name=JOB, config=EXAMPLE, description="Package and import months of accounts that are no rectangle.")
def selected_job() -> None:
    load_selected_alphas()


DESCRIPTIONS: dict[RecordSet, str] = {
    "pnl": "The cumulative PnL of each alpha in USD, by day.",
    "daily_pnl": "The PnL of each day of each alpha in USD, as BRAIN computes it.",
    "turnover": "The turnover of each alpha by day, a share of its book.",
    "sharpe": "The Sharpe ratio of each alpha over time.",
    "yearly_stats": "Figures of each alpha by year: PnL, Sharpe, fitness, turnover, returns, drawdown, margin.",
    "self_correlation": "The alphas of the account that each alpha correlates with most, and the bounds.",
    "prod_correlation": "How each alpha correlates with all alphas in production: counts by range, and the bounds."
    " Accounts that are no consultant's are not offered it.",
    "power_pool_correlation": "The alphas of the power pool that each alpha correlates with most, and the bounds.",
    "submission_check": "What BRAIN's check before a submission says of each alpha, by test. Fetched on request"
    " only; nothing is submitted.",
}
SELECTED = " Of the alphas that match `MARKETDATA_BRAIN_RECORDS`; fetched again only when the alpha has changed."


class RecordsConfig(dg.Config):
    """Which alphas, and which of their record sets are requested although they are stored."""

    filters: dict[str, Any] = {}  # noqa: RUF012 - a pydantic field: each config has a dictionary of its own
    """Such as {"status": ["ACTIVE"], "min_sharpe": 1.25}; those of MARKETDATA_BRAIN_RECORDS when empty."""

    max_age_days: float | None = None
    """Fetch those again that are older; correlations change with the other alphas."""

    refetch: bool = False
    """Fetch all again."""


def _record_set(record_set: RecordSet) -> dg.AssetsDefinition:
    name = asset_name(record_set)

    @asset(
        "alpha_records" if record_set in BY_TIME else "alpha_correlations",
        partitions_def=ALPHA_PARTITIONS,
        name=name,
        description=DESCRIPTIONS[record_set] + SELECTED,
        deps=["brain_api", "regular_alphas", "super_alphas"],
        kinds={"mongodb", "http"},
        code_version=RECORDS_VERSION,
        pool="alpha_api",
    )
    def records(
        context: dg.AssetExecutionContext, config: RecordsConfig, brain: Brain, mongo: Mongo
    ) -> dg.MaterializeResult:
        from marketdata_assets.alphas.fetch_records import Choice, fetch_records

        with as_dagster_failure():
            filters = alpha_filters.parse(config.filters) if config.filters else brain.filters()
            days = config.max_age_days
            fetched = fetch_records(
                mongo.server,
                record_set,
                [alpha_pair(key) for key in run_partitions(context)],
                brain.client,
                run_id=context.run.run_id,
                now=dt.datetime.now(dt.UTC),
                choice=Choice(filters, dt.timedelta(days=days) if days is not None else None, config.refetch),
                progress=ProgressLog(context.log.info, "alphas"),
            )
        return _records_fetched(context, fetched)

    return records


def _records_fetched(context: dg.AssetExecutionContext, fetched: "RecordsReport") -> dg.MaterializeResult:
    metadata: dict[str, Any] = {name: fetched.total(name) for name in ("alphas", "fetched", "stored")}
    metadata["dagster/row_count"] = fetched.documents
    metadata["alphas_failed"] = sum(len(one.failed) for one in fetched.months)
    metadata |= {"requests": fetched.requests, "seconds": round(fetched.seconds, 2)}
    notes = list(dict.fromkeys(one.error for one in fetched.months if one.outcome in ("kept", "unsupported")))
    if notes:
        metadata["not_fetched"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in notes))
    by_key: dict[str, dict[str, Any]] = {
        alpha_key(one.account, one.month): {
            "dagster/partition_row_count": one.stored,
            "alphas": one.alphas,
            "fetched": one.fetched,
            "outcome": one.outcome,
        }
        for one in fetched.months
    }
    failed: dict[str, str] = {alpha_key(one.account, one.month): one.error for one in fetched.failed}
    return finish_partitions(context, metadata, by_key, failed)


CATALOGUES: dict[catalogues.Name, str] = {
    "operators": "The operators that each account may use, with their definitions.",
    "data_sets": "The data sets of each market in which the account has alphas: region, delay and universe.",
    "data_fields": "The data fields of these data sets.",
}


def _catalogue(name: catalogues.Name) -> dg.AssetsDefinition:
    @asset(
        "alpha_catalogues",
        name=catalogues.asset_name(name),
        description=CATALOGUES[name] + " Entries are as BRAIN lists them; fetched on request.",
        deps=["brain_api", *(["regular_alphas", "super_alphas"] if catalogues.CATALOGUES[name].by_market else [])],
        kinds={"mongodb", "http"},
        code_version=catalogues.CODE_VERSION,
        pool="alpha_api",
    )
    def catalogue(context: dg.AssetExecutionContext, brain: Brain, mongo: Mongo) -> dg.MaterializeResult:
        from marketdata_assets.alphas.fetch_catalogues import fetch

        with as_dagster_failure():
            accounts = brain.ready()
            if not accounts:
                raise TerminalError("no enabled account has credentials; see marketdata alphas accounts")
            now = dt.datetime.now(dt.UTC)
            found = fetch(mongo.server, name, accounts, brain.client, run_id=context.run.run_id, now=now)
            if failed := [f"{one.account} {one.unit}: {one.error}" for one in found if one.outcome == "failed"]:
                raise TransientError(
                    f"{len(failed)} of {len(found)} failed, the others are stored: {and_more(failed, 5)}"
                )
        notes = [f"- {one.account} {one.unit}: {one.error}" for one in found if one.error]
        entries = sum(one.entries for one in found)
        metadata: dict[str, Any] = {"dagster/row_count": entries, "entries": entries, "units": len(found)}
        metadata["seconds"] = round((dt.datetime.now(dt.UTC) - now).total_seconds(), 2)
        return dg.MaterializeResult(
            metadata=metadata | ({"not_offered": dg.MetadataValue.md("\n".join(notes))} if notes else {})
        )

    return catalogue


record_sets = [_record_set(record_set) for record_set in RECORD_SETS]

catalogue_assets = [_catalogue(name) for name in catalogues.NAMES]
