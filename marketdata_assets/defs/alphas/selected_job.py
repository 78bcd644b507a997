"""The job over accounts and months of alphas that are no rectangle: packages and imports them in one run.

It does what the steps of the assets do, and evaluates their checks. Nothing is fetched.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from marketdata_assets.alphas.layout import KINDS, Kind
from marketdata_assets.defs.alphas import accounts, checks, report
from marketdata_assets.defs.alphas.assets import ImportConfig
from marketdata_assets.defs.marks import Partitions
from marketdata_assets.defs.metadata import check_evaluation
from marketdata_assets.defs.partition_results import as_dagster_failure
from marketdata_assets.defs.selection import BadRunConfig, config_of
from marketdata_assets.partitions import ALPHA_MONTHS, Pair, alpha_key
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import AlphaFiles, Brain, Mongo, Workers

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
    from marketdata_assets.alphas import summary
    from marketdata_assets.alphas.ingest import import_accounts
    from marketdata_assets.alphas.packaging import package_months

    with as_dagster_failure():
        pairs = _pairs(context, config)
        fanout = workers.fanout("marketdata_assets.alphas.packaging", "marketdata_assets.alphas.ingest")
        progress, complete = ProgressLog(context.log.info, "months"), _marks(context, "alpha_packages")
        ended = {
            "alpha_packages": report.of_packages(package_months(alphas_dir.path, pairs, fanout, progress, complete))
        }
        for kind in KINDS:
            imported = import_accounts(
                mongo.server,
                alphas_dir.path,
                kind,
                pairs,
                run_id=context.run.run_id,
                fanout=fanout,
                options=config.options(),
                fields=brain.fields(),
                force=config.force,
                progress=ProgressLog(context.log.info, "packages"),
                complete=_marks(context, f"{kind}_alphas"),
            )
            ended[f"{kind}_alphas"] = report.of_import(mongo, imported)
        with mongo.databases() as databases:
            result = report.summary(summary.rows(databases))
        context.log_event(dg.AssetMaterialization("alpha_summary", metadata=result.metadata))
        for kind in KINDS:
            _check(context, kind, pairs, mongo, alphas_dir, brain)
    report.finish_selected(context, ended)


def _pairs(context: dg.OpExecutionContext, config: SelectedConfig) -> list[Pair]:
    """The selected pairs; their accounts become partitions, as the files of any account do."""
    keys = ALPHA_MONTHS.get_partition_keys()
    if wrong := [month for months in config.months.values() for month in months if month not in keys]:
        raise BadRunConfig(f"months: {wrong[0]!r} is no month from {keys[0]} to {keys[-1]}; write 2024-01")
    known = accounts.known(context.instance)
    if unknown := [account for account in config.months if account not in known]:
        raise BadRunConfig(f"months: {unknown[0]!r} is no account; there are {', '.join(known) or 'none'}")
    pairs = sorted({(account, month) for account, months in config.months.items() for month in months})
    if not pairs:
        raise BadRunConfig("months: there are none; write some of an account, such as 2024-01")
    return pairs


def _marks(context: dg.OpExecutionContext, asset: str) -> Callable[[Sequence[Pair]], None]:
    marks = Partitions(context, dg.AssetKey(asset))
    return lambda pairs: marks(str(alpha_key(*pair)) for pair in pairs)


def _check(
    context: dg.OpExecutionContext, kind: Kind, pairs: list[Pair], mongo: Mongo, alphas_dir: AlphaFiles, brain: Brain
) -> None:
    with mongo.databases() as databases:
        for answer in checks.answers(databases, alphas_dir.path, kind, pairs, brain.fields(), checks.DESCRIPTIONS):
            context.log_event(check_evaluation(answer))  # type: ignore[arg-type]  # taken, though not annotated


@dg.job(name=JOB, config=EXAMPLE, description="Package and import months of accounts that are no rectangle.")
def selected_job() -> None:
    load_selected_alphas()


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(jobs=[selected_job])
