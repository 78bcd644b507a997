"""Nightly repair of alphas: runs for months whose documents differ from the files, and for fetches that failed."""

from collections.abc import Iterable

import dagster as dg

from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.defs.alphas import accounts
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import range_requests
from marketdata_assets.loading.states import State
from marketdata_assets.partitions import ALPHA_MONTHS, ALPHA_PARTITIONS, Pair, alpha_key, alpha_pair, rectangles
from marketdata_assets.resources import AlphaFiles, Brain, Mongo

FETCH_JOB, IMPORT_JOB = "alphas", "alphas_import"


def due(instance: dg.DagsterInstance, mongo: Mongo, alphas_dir: AlphaFiles, brain: Brain) -> list[dg.RunRequest]:
    """Runs that fetch failed months again, and runs that import missing, failed and stale months.

    Months that were never fetched are left to the daily rotation, which keeps to its request budget.
    """
    known = accounts.known(instance)
    ready = sorted(set(known) & set(brain.ready()))
    keys = [alpha_key(account, month) for account in ready for month in ALPHA_MONTHS.get_partition_keys()]
    fetch = {alpha_pair(key) for key in find_mismatches(instance, "alpha_files", ALPHA_PARTITIONS, (), keys)}
    outdated = _not_imported(instance, mongo, alphas_dir, known) - fetch
    return [
        request
        for job, pairs in ((FETCH_JOB, fetch), (IMPORT_JOB, outdated))
        for request in range_requests(rectangles(pairs, known), before=f"{job}:", job_name=job)
    ]


def _not_imported(
    instance: dg.DagsterInstance, mongo: Mongo, alphas_dir: AlphaFiles, known: Iterable[str]
) -> set[Pair]:
    from marketdata_assets.alphas import status
    from marketdata_assets.stores.mongo import connect

    with connect(mongo.uri) as client:
        rows = [row for row in status.in_mongo(client, alphas_dir.path, exact=True) if row.account in set(known)]
    months = set(ALPHA_MONTHS.get_partition_keys())
    outdated = {(row.account, month) for row in rows for month in row.outdated}
    every = {str(alpha_key(row.account, month)) for row in rows for month in row.states.keys() & months}
    outdated |= {alpha_pair(key) for key in find_mismatches(instance, "alpha_packages", ALPHA_PARTITIONS, (), every)}
    for kind in KINDS:
        loaded = {
            str(alpha_key(row.account, month))
            for row in rows
            for month, state in row.states.items()
            if row.kind == kind and state is State.OK and month in months
        }
        mismatches = find_mismatches(instance, f"{kind}_alphas", ALPHA_PARTITIONS, loaded, every)
        outdated |= {alpha_pair(key) for key in mismatches}
    return outdated
