"""Every asset with its partitions, checks and columns, and the automation: schedules, sensors, jobs."""

from typing import Any

import dagster as dg

from docs.generate.markdown import code, codes, paragraph, table
from marketdata_assets.definitions import defs
from marketdata_assets.defs.catalog import START

GROUPS = ("bars", "alphas", "ticks", "exchanges", "flows")


def page() -> str:
    repository = defs().get_repository_def()
    groups = sorted({_group(node) for node in repository.asset_graph.asset_nodes} - {START}, key=_rank)
    sections = [_listed(repository.asset_graph, group) for group in groups]
    return (
        "# Assets\n\nPages: [bars](../bars.md), [alphas](../alphas.md),"
        " [ticks](../ticks.md),\n[exchanges](../exchanges.md), [flows](../flows.md)."
        " Partitions by day and month extend up to and including the current one.\n\n"
        + "".join(sections)
        + _automation(repository)
    )


def _group(node: Any) -> str:
    return str(node.group_name)


def _rank(group: str) -> tuple[int, str]:
    return (GROUPS.index(group) if group in GROUPS else len(GROUPS), group)


def _listed(graph: Any, group: str) -> str:
    nodes = [graph.get(key) for key in graph.toposorted_asset_keys if _group(graph.get(key)) == group]
    return f"## {group}\n\n" + "".join(_asset(graph, node) for node in nodes)


def _asset(graph: Any, node: Any) -> str:
    facts = [
        ("upstream", codes(sorted(key.to_user_string() for key in node.parent_keys))),
        ("partitions", _parts(node)),
    ]
    facts += [("kinds", ", ".join(sorted(node.kinds))), ("pool", codes(sorted(getattr(node, "pools", None) or ())))]
    properties = "; ".join(f"{name}: {value}" for name, value in facts if value)
    name = node.key.to_user_string()
    text = f"### {name}\n\n" + "\n".join(paragraph(part) for part in (node.description or "").split("\n\n"))
    text += "\n" + paragraph(f"{'Table; ' if 'dagster/table_name' in node.metadata else ''}{properties}.") + "\n"
    return text + _columns(node) + _checks(graph, node)


def _parts(node: Any) -> str:
    found = node.partitions_def
    if isinstance(found, dg.MultiPartitionsDefinition):
        return " × ".join(f"{one.name} ({_part(one.partitions_def)})" for one in found.partitions_defs)
    return _part(found) if found is not None else "none" if node.is_executable else ""


def _part(found: Any) -> str:
    if isinstance(found, dg.DynamicPartitionsDefinition):
        return "dynamic"
    if isinstance(found, dg.MonthlyPartitionsDefinition):
        return f"months, {found.timezone}"
    return f"days, {found.timezone}" if isinstance(found, dg.DailyPartitionsDefinition) else type(found).__name__


def _columns(node: Any) -> str:
    schema = node.metadata.get("dagster/column_schema")
    if schema is None:
        return ""
    columns = getattr(schema, "value", schema).columns if hasattr(schema, "value") else schema.columns
    return table(("column", "type", "meaning"), [(code(c.name), c.type, c.description or "") for c in columns]) + "\n"


def _checks(graph: Any, node: Any) -> str:
    keys = sorted((key for key in graph.asset_check_keys if key.asset_key == node.key), key=lambda key: key.name)
    if not keys:
        return ""
    return (
        table(("check", "verifies that"), [(code(k.name), graph.get_check_spec(k).description or "") for k in keys])
        + "\n"
    )


def _automation(repository: dg.RepositoryDefinition) -> str:
    schedules = [
        (code(one.name), f"{code(str(one.cron_schedule))} {one.execution_timezone}", one.description or "")
        for one in sorted(repository.schedule_defs, key=lambda one: one.name)
    ]
    sensors = [
        (code(one.name), f"{one.minimum_interval_seconds} s", one.description or "")
        for one in sorted(repository.sensor_defs, key=lambda one: one.name)
    ]
    jobs = [
        (code(one.name), one.description or "")
        for one in sorted(repository.get_all_jobs(), key=lambda one: one.name)
        if not one.name.startswith("__")
    ]
    return (
        f"## Schedules\n\n{table(('schedule', 'cron', 'description'), schedules)}\n"
        f"## Sensors\n\n{table(('sensor', 'interval', 'description'), sensors)}\n"
        f"## Jobs\n\n{table(('job', 'description'), jobs)}"
    )
