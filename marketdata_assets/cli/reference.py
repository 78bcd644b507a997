"""`marketdata ingest reference`: calendar, instruments, suspensions, adjustment factors and price limits."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marketdata_assets import databases
from marketdata_assets.cli import output
from marketdata_assets.cli.instance import RunOutcome, months_between, run_job
from marketdata_assets.cli.status import delivered
from marketdata_assets.months import bar_months
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.reference.status import TableStatus

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
        *first, last = run(Settings(), wanted, refetch=refetch)
        outcomes = [*first, replace(last, files=delivered("reference"))]
    if as_json:
        output.as_json(loaded_json(outcomes, wanted))
    else:
        tell(outcomes, wanted)
        outcomes[-1].print_files()
    if not all(outcome.success and "files_read" not in outcome.checks_in_error for outcome in outcomes):
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


def loaded_json(outcomes: Sequence[RunOutcome], months: Sequence[str]) -> dict[str, Any]:
    """How the runs ended, and the tables over these months, for machines."""
    return {
        "success": all(outcome.success for outcome in outcomes),
        "runs": [outcome.as_json() for outcome in outcomes],
        "tables": {one.table: vars(one) for one in _tables(months)},
    }


def tell(outcomes: Sequence[RunOutcome], months: Sequence[str]) -> None:
    """Print the failures, what is unknown, and a line for each table."""
    for outcome in outcomes:
        outcome.print_problems()
    for one in _tables(months):
        states = ", ".join(f"{count:,} {state}" for state, count in one.states.items())
        unknown = f"; {one.unknown_days:,} trading days are unknown" if one.unknown_days else ""
        output.console().print(f"{one.table:<17} {one.rows:,} rows, until {one.newest or 'no day'}; {states}{unknown}")
    for note in dict.fromkeys(outcomes[0].metadata.get(name, {}).get("note") for name in WHOLE):
        if note:
            output.console().print(note)


def _tables(months: Sequence[str]) -> "list[TableStatus]":
    from marketdata_assets.reference.status import overview

    with databases.clickhouse() as client:
        return overview(client, months, dt.datetime.now(dt.UTC))
