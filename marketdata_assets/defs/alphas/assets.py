"""The assets of the alphas domain: API -> raw files -> packages -> MongoDB, by UTC month and account.

Fetching, packaging and importing are in `marketdata_assets.alphas`. MongoDB's client and httpx are imported where they
are used, as every run and every page of the UI loads this module.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from functools import partial

import dagster as dg

from marketdata_assets.alphas.errors import BadOptions
from marketdata_assets.alphas.import_modes import BATCH_SIZE, CODE_VERSION, ImportOptions
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.merge import MergePolicy
from marketdata_assets.defs.alphas import report
from marketdata_assets.defs.marks import Partitions
from marketdata_assets.defs.metadata import OWNERS, table_schema
from marketdata_assets.defs.partition_results import as_dagster_failure
from marketdata_assets.partitions import ALPHA_PARTITIONS, Pair, alpha_key, alpha_pair
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import AlphaFiles, Brain, Mongo, Workers

monthly = partial(
    dg.asset,
    partitions_def=ALPHA_PARTITIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="alphas",
    owners=OWNERS,
)
FOLLOW = dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window())
"""After every partition of the upstream asset, however old its month."""

brain_api = dg.AssetSpec(
    "brain_api",
    group_name="alphas",
    kinds={"http", "json"},
    owners=OWNERS,
    description="The BRAIN API of `MARKETDATA_BRAIN_URL`: the alphas of each account, as they are now. Old alphas"
    " change too: they are renamed, tagged, checked again and submitted.",
    metadata=report.API_SCHEMA,
)


def _marks(context: dg.AssetExecutionContext) -> Callable[[Sequence[Pair]], None]:
    """Logs partitions of the asset as they are complete."""
    marks = Partitions(context, context.asset_key)
    return lambda pairs: marks(str(alpha_key(*pair)) for pair in pairs)


class FetchConfig(dg.Config):
    """Which windows are requested from the API."""

    fetch: bool = True
    """Fetch from the API; without it the files on disk are used."""

    refetch: bool = False
    """Fetch finished windows again, to find alphas that have changed."""


@monthly(
    deps=[brain_api],
    kinds={"json", "file"},
    code_version="fetch-1",
    pool="alpha_api",
    metadata=table_schema("alpha_files", table=False),
)
def alpha_files(
    context: dg.AssetExecutionContext, config: FetchConfig, brain: Brain, alphas_dir: AlphaFiles
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
            [alpha_pair(key) for key in context.partition_keys],
            brain.client if config.fetch else None,
            now=dt.datetime.now(dt.UTC),
            refetch=config.refetch,
            progress=ProgressLog(context.log.info, "windows"),
            complete=_marks(context),
        )
    if fetched.fetched:
        context.log_event(report.api(brain_api.key, fetched))
    return report.files(context, fetched)


@monthly(
    deps=[alpha_files],
    automation_condition=FOLLOW,
    kinds={"json", "file"},
    code_version="package-1",
    metadata=table_schema("alpha_files", table=False),
)
def alpha_packages(context: dg.AssetExecutionContext, alphas_dir: AlphaFiles, workers: Workers) -> dg.MaterializeResult:
    """Alphas of one UTC day as NDJSON, each once and in its newest version, from all raw files there are.

    Equal content gives equal bytes, so days that did not change are not imported again.
    """
    from marketdata_assets.alphas.packaging import package_months

    pairs = [alpha_pair(key) for key in context.partition_keys]
    fanout = workers.fanout("marketdata_assets.alphas.packaging")
    return report.packages(
        context,
        package_months(alphas_dir.path, pairs, fanout, ProgressLog(context.log.info, "months"), _marks(context)),
    )


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


def _import(kind: Kind, description: str) -> dg.AssetsDefinition:
    @monthly(
        name=f"{kind}_alphas",
        description=description,
        deps=[alpha_packages],
        automation_condition=FOLLOW,
        kinds={"mongodb"},
        code_version=CODE_VERSION,
        pool="mongo",
        metadata=table_schema(f"{kind}_alphas"),
    )
    def alphas(
        context: dg.AssetExecutionContext,
        config: ImportConfig,
        mongo: Mongo,
        brain: Brain,
        alphas_dir: AlphaFiles,
        workers: Workers,
    ) -> dg.MaterializeResult:
        from marketdata_assets.alphas.ingest import import_accounts

        with as_dagster_failure():
            imported = import_accounts(
                mongo.server,
                alphas_dir.path,
                kind,
                [alpha_pair(key) for key in context.partition_keys],
                run_id=context.run.run_id,
                fanout=workers.fanout("marketdata_assets.alphas.ingest"),
                options=config.options(),
                fields=brain.fields(),
                force=config.force,
                progress=ProgressLog(context.log.info, "packages"),
                complete=_marks(context),
            )
        return report.alphas(context, mongo, imported)

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


@dg.asset(
    deps=[regular_alphas, super_alphas],
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing()),
    group_name="alphas",
    kinds={"polars", "matplotlib", "table"},
    owners=OWNERS,
    code_version="summary-1",
    pool="mongo",
    metadata=table_schema("alpha_summary", table=False),
)
def alpha_summary(context: dg.AssetExecutionContext, mongo: Mongo) -> dg.MaterializeResult:
    """How many alphas there are by account, kind, month and region, and how their Sharpe and turnover spread."""
    from marketdata_assets.alphas import summary

    with mongo.databases() as databases:
        return report.summary(summary.rows(databases))


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(assets=[brain_api, alpha_files, alpha_packages, regular_alphas, super_alphas, alpha_summary])
