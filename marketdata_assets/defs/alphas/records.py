"""The record sets of alphas as assets: PnL, turnover, Sharpe, yearly figures and correlations, by month and account.

Fetching is in `marketdata_assets.alphas.fetch_records`.
"""

import datetime as dt
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.alphas import filters as alpha_filters
from marketdata_assets.alphas.record_sets import CODE_VERSION, RECORD_SETS, RecordSet, asset_name
from marketdata_assets.defs.metadata import asset
from marketdata_assets.defs.partition_results import as_dagster_failure, finish_partitions, run_partitions
from marketdata_assets.partitions import ALPHA_PARTITIONS, alpha_key, alpha_pair
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import Brain, Mongo

if TYPE_CHECKING:
    from marketdata_assets.alphas.fetch_records import RecordsReport

DESCRIPTIONS: dict[RecordSet, str] = {
    "pnl": "The cumulative PnL of each alpha in USD, by day.",
    "turnover": "The turnover of each alpha by day, a share of its book.",
    "sharpe": "The Sharpe ratio of each alpha over time.",
    "yearly_stats": "Figures of each alpha by year: PnL, Sharpe, fitness, turnover, returns, drawdown, margin.",
    "self_correlation": "The alphas of the account that each alpha correlates with most, and the bounds.",
    "prod_correlation": "How each alpha correlates with all alphas in production: counts by range, and the bounds."
    " Accounts that are no consultant's are not offered it.",
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


def _asset(record_set: RecordSet) -> dg.AssetsDefinition:
    name = asset_name(record_set)

    @asset(
        "alpha_records",
        partitions_def=ALPHA_PARTITIONS,
        name=name,
        description=DESCRIPTIONS[record_set] + SELECTED,
        deps=["brain_api", "regular_alphas", "super_alphas"],
        kinds={"mongodb", "http"},
        code_version=CODE_VERSION,
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
        return _report(context, fetched)

    return records


def _report(context: dg.AssetExecutionContext, fetched: "RecordsReport") -> dg.MaterializeResult:
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


record_sets = [_asset(record_set) for record_set in RECORD_SETS]
