"""`marketdata ingest reference`: calendar, instruments, suspensions, adjustment factors and price limits."""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from marketdata_assets.cli import output
from marketdata_assets.cli.instance import RunOutcome, months_between, run_job
from marketdata_assets.months import bar_months
from marketdata_assets.settings import Settings

WHOLE = ("trading_calendar", "instruments")
STEP = "reference_tables"


def ingest(
    months: Annotated[str | None, typer.Option(help="2024-01 or 2024-01:2024-06; this month when left out")] = None,
    refetch: Annotated[bool, typer.Option("--refetch", help="request days again that are final")] = False,
    as_json: output.Json = False,
) -> None:
    """Load reference data of A-shares: the calendar, the instruments, and tables by day of some months.

    A request for each day and table; the runs show in the UI.
    """
    wanted = months_between(months) if months else bar_months(dt.datetime.now(dt.UTC))[-1:]
    with output.bar("reference data", quiet=as_json):
        outcomes = run(Settings(), wanted, refetch=refetch)
    if as_json:
        output.as_json(loaded_json(outcomes))
    else:
        tell(outcomes)
    if not all(outcome.success for outcome in outcomes):
        raise typer.Exit(1)


def run(
    settings: Settings, months: Sequence[str], *, refetch: bool = False, providers: Sequence[str] = ()
) -> list[RunOutcome]:
    """A run of the calendar and the instruments, and one of the tables by day."""
    who = {"providers": list(providers)}
    whole = {name: {"config": who} for name in WHOLE}
    days = {STEP: {"config": who | {"refetch": refetch}}}
    return [
        run_job(settings, "symbols", None, whole, assets=WHOLE),
        run_job(settings, "reference_days", (months[0], months[-1]), days),
    ]


def loaded_json(outcomes: Sequence[RunOutcome]) -> dict[str, Any]:
    """How the runs ended, for machines."""
    whole, daily = outcomes
    tables: dict[str, Any] = {name: whole.metadata[name] for name in WHOLE if name in whole.metadata}
    for metadata in tables.values():
        metadata.pop("dagster/column_schema", None)
    tables |= daily.metadata.get(STEP, {}).get("tables", {})
    return {"success": whole.success and daily.success, "runs": [one.as_json() for one in outcomes], "tables": tables}


def tell(outcomes: Sequence[RunOutcome]) -> None:
    """Print the failures, and a line for each table."""
    for outcome in outcomes:
        outcome.print_problems()
    for name, table in loaded_json(outcomes)["tables"].items():
        if name in WHOLE:
            line = f"{table['dagster/row_count']:,} rows, {table.get('provider', 'no provider')}"
            notes = [table["note"]] if "note" in table else []
        else:
            line = f"{table['rows']:,} rows, {table['final_days']:,} of {table['days']:,} trading days are final"
            notes = table["notes"]
        output.console().print(f"{name:<17} {line}")
        for note in notes:
            output.console().print(f"{'':<17} {note}")
