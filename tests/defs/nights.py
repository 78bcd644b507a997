"""Evaluations of the nightly repair, over whatever servers the environment names."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import dagster as dg

from marketdata_assets import resources
from marketdata_assets.defs.repair.nightly import NAME, RESOURCES, SELECTED
from marketdata_assets.partitions import range_tags
from tests.defs.bar_runs import repository

EARLIER = "2024-01-01"
SENSORS = (NAME, SELECTED)


@dataclass(frozen=True)
class Night:
    """What the sensors ask for, their cursors, and their notes where they ask for nothing."""

    run_requests: list[dg.RunRequest] = field(default_factory=list)
    """Of a backfill, the runs that it starts."""
    cursor: str = ""
    skip_message: str = ""
    backfills: list[dg.RunRequest] = field(default_factory=list)

    def checked(self) -> set[str]:
        """The domains that need no further check tonight."""
        nights: dict[str, set[str]] = {}
        for cursor in json.loads(self.cursor).values():
            for name, night in json.loads(cursor)["nights"].items():
                nights.setdefault(name, set()).add(night)
        return {name for name, found in nights.items() if EARLIER not in found}

    def observed(self) -> bool:
        """Whether a domain waits for its files."""
        return any(json.loads(cursor)["observed"] for cursor in json.loads(self.cursor).values())


def check(instance: dg.DagsterInstance, cursor: str | None) -> Night:
    """One evaluation of each sensor, as the daemon makes it."""
    found, cursors = repository(), json.loads(cursor) if cursor else {}
    requests, backfills, notes = list[dg.RunRequest](), list[dg.RunRequest](), list[str]()
    for name in SENSORS:
        with dg.build_sensor_context(
            instance=instance,
            repository_def=found,
            cursor=cursors.get(name),
            resources={name: one for name, one in resources.by_name().items() if name in RESOURCES},
        ) as context:
            said = found.get_sensor_def(name).evaluate_tick(context)
        for one in said.run_requests or []:
            if one.requires_backfill_daemon():
                backfills.append(one)
                requests += started(instance, one)
            else:
                requests.append(one)
        cursors[name] = said.cursor or ""
        notes += [said.skip_message] if said.skip_message else []
    return Night(requests, json.dumps(cursors), "; ".join(notes), backfills)


def started(instance: dg.DagsterInstance, backfill: dg.RunRequest) -> Iterator[dg.RunRequest]:
    """The runs of a backfill: of the job that has exactly these assets, one for each range of their partitions."""
    subset = backfill.asset_graph_subset
    assert subset is not None
    [job] = [
        name
        for name in repository().job_names
        if name != "__ASSET_JOB" and {*repository().get_job(name).asset_layer.selected_asset_keys} == subset.asset_keys
    ]
    ranges = {
        one
        for key, partitions in subset.partitions_subsets_by_asset_key.items()
        for one in neighbours(known_of(key, instance), {*partitions.get_partition_keys()})
    } or {None}
    for found in sorted(ranges, key=str):
        yield dg.RunRequest(job_name=job, tags={**backfill.tags, **(range_tags(*found) if found else {})})


def known_of(key: dg.AssetKey, instance: dg.DagsterInstance) -> list[str]:
    found = repository().asset_graph.get(key).partitions_def
    assert found is not None
    return list(found.get_partition_keys(dynamic_partitions_store=instance))


def neighbours(known: list[str], inside: set[str]) -> Iterator[tuple[str, str]]:
    """The ranges of `known` keys that are all `inside`, as first and last."""
    for is_inside, keys in groupby(known, inside.__contains__):
        if is_inside:
            first, *others = keys
            yield first, (others or [first])[-1]


def without(cursor: str, domain: str) -> str:
    """The cursors as if a domain was never seen."""
    left = {}
    for name, text in json.loads(cursor).items():
        content = json.loads(text)
        content["nights"].pop(domain, None)
        left[name] = json.dumps(content)
    return json.dumps(left)


def waiting(cursor: str, ticks: int = 0) -> str:
    """The cursors as if each domain had waited for another in so many ticks of tonight."""
    waited = {}
    for name, text in json.loads(cursor).items():
        content = json.loads(text)
        idle = {domain: (tonight, 0, ticks) for domain, (tonight, *_) in content["idle"].items()}
        waited[name] = json.dumps(content | {"idle": idle})
    return json.dumps(waited)


def later(cursor: str, seconds: float = 3600.0) -> str:
    """The cursors as if their files had been observed so much earlier."""
    aged = {}
    for name, text in json.loads(cursor).items():
        content = json.loads(text)
        seen = {key: [since - seconds * 1e9, states] for key, (since, states) in content["observed"].items()}
        aged[name] = json.dumps(content | {"observed": seen})
    return json.dumps(aged)


def evening(instance: dg.DagsterInstance, *only: str) -> str:
    """The cursors of sensors that have run since an earlier night, or have tonight seen all domains but some; no domain
    waits for another."""
    cursors = {}
    for name, text in json.loads(check(instance, None).cursor).items():
        content = json.loads(text)
        tonight = content["nights"]
        nights = {domain: EARLIER if not only or domain in only else seen for domain, seen in tonight.items()}
        idle = {domain: (seen, 9, 9) for domain, seen in tonight.items()}
        cursors[name] = json.dumps(content | {"nights": nights, "idle": idle})
    return json.dumps(cursors)


def night(instance: dg.DagsterInstance, *only: str, cursor: str | None = None) -> Night:
    """What is asked for in one night, of all domains or of some, in which files do not change."""
    first = check(instance, cursor or evening(instance, *only))
    if not first.observed():
        return first
    second = check(instance, later(first.cursor))
    return Night(
        [*first.run_requests, *second.run_requests],
        second.cursor,
        second.skip_message or first.skip_message,
        [*first.backfills, *second.backfills],
    )
