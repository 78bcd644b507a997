"""Selections of partitions that are no range: the months in the config of one run, and read back from it.

A backfill of Dagster cuts such a selection into a run for each range. Imports nothing of Dagster, so that the command
line starts quickly.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from marketdata_assets.errors import TerminalError

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def config_of(op: str, months: Any, **options: Any) -> dict[str, Any]:
    """The run config of a job whose only op loads `months`: a list of them, or a mapping by month or to months."""
    return {"ops": {op: {"config": {"months": months, **options}}}}


def step_config(config: Mapping[str, Any], asset: str) -> dict[str, Any]:
    """The part of a run config that is for the step of an asset."""
    return dict(config.get("ops", {}).get(asset, {}).get("config", {}))


def check_months(months: Iterable[str]) -> None:
    """Raises TerminalError."""
    if wrong := [month for month in months if not _MONTH.fullmatch(month)]:
        raise TerminalError(f"months: {wrong[0]!r} is no month; write 2026-01")


def check_selected(months: Collection[str], keys: Sequence[str], such_as: str = "write some") -> list[str]:
    """The months, ascending, each once. Raises TerminalError where one is no partition, and where there is none."""
    if wrong := [month for month in months if month not in keys]:
        raise TerminalError(f"months: {wrong[0]!r} is no month from {keys[0]} to {keys[-1]}; write 2024-01")
    if not months:
        raise TerminalError(f"months: there are none; {such_as}, such as 2024-01")
    return sorted({*months})


def months_of(config: Mapping[str, Any]) -> set[str]:
    """The months that the run config of such a job names; none when it is of another job."""
    found = set[str]()
    for op in config.get("ops", {}).values():
        months = op.get("config", {}).get("months", ())
        for one in (months, *(months.values() if isinstance(months, Mapping) else ())):
            found |= {month for month in one if _MONTH.fullmatch(month)}
    return found


def only(config: Mapping[str, Any], months: Collection[str]) -> dict[str, Any]:
    """The run config of such a job without other months."""
    [(op, found)] = config["ops"].items()
    named, keep = found["config"]["months"], set(months)
    if not isinstance(named, Mapping):
        rest: Any = [month for month in named if month in keep]
    elif keep & named.keys():
        rest = {month: names for month, names in named.items() if month in keep}
    else:
        rest = {name: left for name, own in named.items() if (left := [month for month in own if month in keep])}
    return {**config, "ops": {op: {**found, "config": {**found["config"], "months": rest}}}}
