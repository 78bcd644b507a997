"""What Dagster would not take of a flow, told with file, line, field and fix like all that is wrong in the file."""

from collections.abc import Callable, Collection, Iterator

import dagster as dg

from marketdata_assets import config_files
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import BadDefinition, Problem

Location = tuple[str | int, ...]

NAME = "is a word that Dagster or Python keep for themselves; give the flow another name"
OWNER = "is no e-mail address and no team:NAME"
CRON = "is no cron line of five fields, such as 0 18 * * 1-5"
ZONE = "is no time zone, such as UTC or Asia/Shanghai"
TAKEN = "there is an asset of this name already; give the flow another name (rename its folder, or set name)"


def check(flow: FlowDefinition, taken: Collection[str] = ()) -> None:
    """Raise BadDefinition for a name, owner, cron line or time zone that cannot be, or a name that is `taken`."""
    if wrong := list(_wrong(flow, taken)):
        lines = _lines(flow)
        raise BadDefinition(
            str(flow.file or flow.name),
            [Problem(_line(lines, at), ".".join(map(str, at)), cause) for at, cause in wrong],
        )


def _wrong(flow: FlowDefinition, taken: Collection[str]) -> Iterator[tuple[Location, str]]:
    if flow.name in taken:
        yield ("name",), f"{flow.name!r}: {TAKEN}"
    if not _takes(lambda: dg.GraphDefinition(name=flow.name)):
        yield ("name",), f"{flow.name!r} {NAME}"
    for number, owner in enumerate(flow.owners):
        if not _takes(lambda owner=owner: dg.AssetSpec("any", owners=[owner])):  # type: ignore[misc]
            yield ("owners", number), f"{owner!r} {OWNER}"
    if not _takes(lambda: _schedule("0 0 * * *", flow.timezone)):
        yield ("timezone",), f"{flow.timezone!r} {ZONE}"
    elif flow.schedule and not _takes(lambda: _schedule(flow.schedule or "", flow.timezone)):
        yield ("schedule",), f"{flow.schedule!r} {CRON}"


def _schedule(cron: str, timezone: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition("any", cron_schedule=cron, job_name="any", execution_timezone=timezone)


def _takes(make: Callable[[], object]) -> bool:
    """Whether Dagster makes it."""
    try:
        make()
    except dg.DagsterError:
        return False
    return True


def _lines(flow: FlowDefinition) -> dict[Location, int]:
    """Lines by path, as the flow's own sections are written: below `attributes` where there is one."""
    if flow.file is None:
        return {(): 1}
    lines = config_files.lines(flow.file.read_text("utf-8"))
    below = {at[1:]: line for at, line in lines.items() if at[:1] == ("attributes",)}
    return {(): 1, **(below or lines)}


def _line(lines: dict[Location, int], at: Location) -> int:
    while at not in lines:
        at = at[:-1]
    return lines[at]
