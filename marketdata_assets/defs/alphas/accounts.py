"""The account partitions, synchronised with the accounts file and with the folders of the archive.

An account becomes a partition when it is enabled, or has files. The partition is removed only when neither holds and
nothing was ever materialised for it; otherwise Dagster would hide data that is in MongoDB. So a disabled account keeps
its history and is not fetched any more.
"""

from collections.abc import Iterable

import dagster as dg

from marketdata_assets.alphas import file_index
from marketdata_assets.defs.runs import sensor
from marketdata_assets.partitions import BRAIN_ACCOUNTS, alpha_pair
from marketdata_assets.resources import AlphaFiles, Brain

NAME = str(BRAIN_ACCOUNTS.name)
PARTITIONED = tuple(map(dg.AssetKey, ("alpha_files", "alpha_packages", "regular_alphas", "super_alphas")))


def known(instance: dg.DagsterInstance) -> list[str]:
    """The accounts that are partitions, in Dagster's order."""
    return list(instance.get_dynamic_partitions(NAME))


def changes(instance: dg.DagsterInstance, brain: Brain, folder: AlphaFiles) -> tuple[list[str], list[str]]:
    """The accounts to add and those to remove. Raises InvalidConfigFile."""
    present = known(instance)
    wanted = [*brain.enabled(), *file_index.accounts_on_disk(folder.path)]
    gone = [account for account in present if account not in wanted]
    if gone:
        keys = (key for asset in PARTITIONED for key in instance.get_materialized_partitions(asset))
        materialized = {alpha_pair(key)[0] for key in keys}
        gone = [account for account in gone if account not in materialized]
    return missing(present, wanted), gone


def missing(present: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Of `wanted`, those that are not partitions yet, each once."""
    have = set(present)
    return [account for account in dict.fromkeys(wanted) if account not in have]


@sensor(
    minimum_interval_seconds=30,
    description="Synchronises the account partitions with the accounts file and the folders of the archive.",
)
def alphas_accounts(
    context: dg.SensorEvaluationContext, brain: Brain, alphas_dir: AlphaFiles
) -> dg.SensorResult | dg.SkipReason:
    added, removed = changes(context.instance, brain, alphas_dir)
    if not added and not removed:
        return dg.SkipReason(f"{len(known(context.instance))} accounts, nothing to add or remove")
    additions = [BRAIN_ACCOUNTS.build_add_request(added)] if added else []
    removals = [BRAIN_ACCOUNTS.build_delete_request(removed)] if removed else []
    return dg.SensorResult(dynamic_partitions_requests=[*additions, *removals])
