"""Names, owners, schedules and time zones of a flow that Dagster rejects, as problems of its file."""

from collections.abc import Callable, Collection, Iterator

import dagster as dg

from marketdata_assets.config_files import Document, Location
from marketdata_assets.flows import definition
from marketdata_assets.flows.definition import FlowDefinition


def check(flow: FlowDefinition, taken: Collection[str] = ()) -> None:
    """Raise InvalidConfigFile for values that Dagster rejects, and for a name that is `taken`."""
    if problems := list(_problems(flow, taken)):
        (definition.document(flow.file) if flow.file else Document(flow.name, None)).check(problems)


def _problems(flow: FlowDefinition, taken: Collection[str]) -> Iterator[tuple[Location, str]]:
    if flow.name in taken:
        cause = "an asset of this name exists already; give the flow another name (rename its folder, or set name)"
        yield ("name",), f"{flow.name!r}: {cause}"
    if not _accepts(lambda: dg.GraphDefinition(name=flow.name)):
        yield ("name",), f"{flow.name!r} is reserved by Dagster or Python; give the flow another name"
    for number, owner in enumerate(flow.owners):
        if not _accepts(lambda owner=owner: dg.AssetSpec("any", owners=[owner])):  # type: ignore[misc]
            yield ("owners", number), f"{owner!r} is no e-mail address and no team:NAME"
    if not _accepts(lambda: _schedule("0 0 * * *", flow.timezone)):
        yield ("timezone",), f"{flow.timezone!r} is no time zone, such as UTC or Asia/Shanghai"
    elif flow.schedule and not _accepts(lambda: _schedule(flow.schedule or "", flow.timezone)):
        yield ("schedule",), f"{flow.schedule!r} is no cron line of five fields, such as 0 18 * * 1-5"


def _schedule(cron: str, timezone: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition("any", cron_schedule=cron, job_name="any", execution_timezone=timezone)


def _accepts(make: Callable[[], object]) -> bool:
    try:
        make()
    except dg.DagsterError:
        return False
    return True
