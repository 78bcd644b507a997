"""Evaluations of `backfill_missing`, over whatever servers the environment names."""

import json
from dataclasses import dataclass, field

import dagster as dg
from bar_runs import repository

from marketdata_assets import resources
from marketdata_assets.defs.repair.nightly import NAME, RESOURCES

EARLIER = "2024-01-01"


@dataclass(frozen=True)
class Night:
    """What the sensor asks for, its cursor, and its notes where it asks for nothing."""

    run_requests: list[dg.RunRequest] = field(default_factory=list)
    cursor: str = ""
    skip_message: str = ""

    def checked(self) -> set[str]:
        """The domains that need no further check tonight."""
        return {name for name, night in json.loads(self.cursor)["nights"].items() if night != EARLIER}


def check(instance: dg.DagsterInstance, cursor: str | None) -> Night:
    """One evaluation, as the daemon makes it."""
    found = repository()
    with dg.build_sensor_context(
        instance=instance,
        repository_def=found,
        cursor=cursor,
        resources={name: one for name, one in resources.by_name().items() if name in RESOURCES},
    ) as context:
        said = found.get_sensor_def(NAME).evaluate_tick(context)
    return Night(list(said.run_requests or []), said.cursor or "", said.skip_message or "")


def later(cursor: str, seconds: float = 3600.0) -> str:
    """The cursor as if its files had been observed so much earlier."""
    content = json.loads(cursor)
    content["observed"] = {name: [since - seconds * 1e9, seen] for name, (since, seen) in content["observed"].items()}
    return json.dumps(content)


def evening(instance: dg.DagsterInstance) -> str:
    """The cursor of a sensor that has run since an earlier night."""
    content = json.loads(check(instance, None).cursor)
    return json.dumps(content | {"nights": dict.fromkeys(content["nights"], EARLIER)})


def night(instance: dg.DagsterInstance, cursor: str | None = None) -> Night:
    """What is asked for in one night, in which files do not change."""
    first = check(instance, cursor or evening(instance))
    if not json.loads(first.cursor)["observed"]:
        return first
    second = check(instance, later(first.cursor))
    return Night([*first.run_requests, *second.run_requests], second.cursor, second.skip_message or first.skip_message)
