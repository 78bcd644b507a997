"""What is due of the alphas at night: months that MongoDB does not have as the files do, and fetches that failed."""

from collections.abc import Iterable

import dagster as dg

from marketdata_assets.defs.alphas import accounts
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.partitions import (
    ALPHA_MONTHS,
    ALPHA_PARTITIONS,
    Pair,
    alpha_key,
    alpha_pair,
    range_tags,
    rectangles,
)
from marketdata_assets.resources import AlphaFiles, Brain, Mongo

FETCH_JOB, IMPORT_JOB = "alphas", "alphas_import"


def due(instance: dg.DagsterInstance, mongo: Mongo, alphas_dir: AlphaFiles, brain: Brain) -> list[dg.RunRequest]:
    """Runs that fetch what failed to be fetched, and runs that import what is missing, failed or stale.

    Months that were never asked of the API are the business of the daily rotation, which keeps to its budget.
    """
    known = accounts.known(instance)
    fetch = _failed_fetches(instance, set(known) & set(brain.ready()))
    return [
        *_requests(FETCH_JOB, fetch, known),
        *_requests(IMPORT_JOB, _not_imported(instance, mongo, alphas_dir, known) - fetch, known),
    ]


def _failed_fetches(instance: dg.DagsterInstance, ready: Iterable[str]) -> set[Pair]:
    keys = [alpha_key(one, month) for one in sorted(ready) for month in ALPHA_MONTHS.get_partition_keys()]
    return {alpha_pair(key) for key in find_mismatches(instance, "alpha_files", ALPHA_PARTITIONS, (), keys)}


def _not_imported(
    instance: dg.DagsterInstance, mongo: Mongo, alphas_dir: AlphaFiles, known: Iterable[str]
) -> set[Pair]:
    from marketdata_assets.alphas.status import BEHIND, overview
    from marketdata_assets.stores.mongo import connect

    with connect(mongo.uri) as client:
        found = [one for one in overview(client, alphas_dir.path, exact=True) if one.account in set(known)]
    months = set(ALPHA_MONTHS.get_partition_keys())
    due = {(one.account, month) for one in found for month, state in one.states.items() if state in BEHIND}
    every = {str(alpha_key(one.account, month)) for one in found for month in one.states.keys() & months}
    due |= {alpha_pair(key) for key in find_mismatches(instance, "alpha_packages", ALPHA_PARTITIONS, (), every)}
    for kind in ("regular", "super"):
        standing = {
            str(alpha_key(one.account, month))
            for one in found
            for month, state in one.states.items()
            if one.kind == kind and state == "ok" and month in months
        }
        marks = find_mismatches(instance, f"{kind}_alphas", ALPHA_PARTITIONS, standing, every)
        due |= {alpha_pair(key) for key in marks}
    return due


def _requests(job: str, pairs: Iterable[Pair], known: list[str]) -> list[dg.RunRequest]:
    return [
        dg.RunRequest(f"{job}:{first}:{last}", job_name=job, tags=range_tags(first, last))
        for first, last in rectangles(pairs, known)
    ]
