"""`marketdata ingest captures`, `ingest days` and `drain`: records of exchanges into their tables.

Each is a run that shows in the UI like any other.
"""

import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from marketdata_assets.cli import output, stores
from marketdata_assets.cli.arguments import among, existing_files, existing_folder
from marketdata_assets.cli.instance import RunOutcome, finish, run_job
from marketdata_assets.defs.exchanges.days import CAPTURE_OUTCOMES, REJECTED, TABLES_STEP
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.settings import Settings

SAMPLE_MINUTES = 80  # of the demo's market

Day = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC day")]


def captures(
    files: Annotated[list[Path] | None, typer.Argument(help="captures; all in the folder when left out")] = None,
    exchange: Annotated[str, typer.Option(help="binance, okx, deribit; default: detected from the capture")] = "",
    market_type: Annotated[
        str, typer.Option(help="spot, linear, inverse, option; default: detected from the capture")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="reload files that were loaded before")] = False,
    as_json: output.Json = False,
) -> None:
    """Load capture files of exchanges.

    Files that were loaded before are skipped after a hash check.
    """
    settings = Settings()
    among(get_args(Exchange), [exchange] if exchange else (), "--exchange")
    among(get_args(MarketType), [market_type] if market_type else (), "--market-type")
    if files:
        existing_files(files, "FILES")
    else:
        existing_folder(settings.captures_folder, "MARKETDATA_CAPTURES_DIR")
    named = [str(path.absolute()) for path in files or ()]
    about = {"exchange": exchange, "market_type": market_type, "force": force}
    with output.bar("captures", quiet=as_json):
        outcome = None if any(about.values()) else up_to_date(settings, files or ())
        if outcome is None:
            outcome = fill(settings, stream=False, files=named, **about)
    _end(outcome, as_json)


def drain(
    seconds: Annotated[float, typer.Option(min=1.0, help="stop taking batches after this long")] = 600.0,
    stream: Annotated[str, typer.Option(help="its name, where the collector's config gives another one")] = "",
    as_json: output.Json = False,
) -> None:
    """Load pending JetStream messages into ClickHouse, then ack them."""
    with output.bar("stream", quiet=as_json):
        outcome = fill(Settings(), captures=False, seconds=seconds, stream_name=stream)
    _end(outcome, as_json)


def days(
    first: Day = None,
    last: Day = None,
    fetch: Annotated[bool, typer.Option(help="fetch missing trades from the venues")] = True,
    as_json: output.Json = False,
) -> None:
    """Fill gaps of some days and build their minute bars.

    The default is yesterday.
    """
    end = (last or first or dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).date()
    begin = first.date() if first else end
    if end < begin:
        raise typer.BadParameter(f"{end} is before {begin}", param_hint="--last")
    with output.bar("days", quiet=as_json):
        outcome = make_days(Settings(), begin, end, fetch=fetch)
    finish(outcome, as_json, days_json, tell_days)


def fill(settings: Settings, **config: Any) -> RunOutcome:
    """One run that fills the tables."""
    from marketdata_assets.defs.exchanges.days import TABLES_JOB

    return run_job(settings, TABLES_JOB, None, {TABLES_STEP: {"config": config}})


def up_to_date(settings: Settings, files: Sequence[Path]) -> RunOutcome | None:
    """The result without a run when the content of every file is loaded; None when there is work to do.

    Like a run, it creates missing tables and applies the retention of the settings.
    """
    from marketdata_assets.exchanges.tables.captures import all_loaded, captures_in
    from marketdata_assets.exchanges.tables.schema import TABLES

    started = time.monotonic()
    paths = files or captures_in(settings.captures_folder)
    with stores.exchange_tables() as client:
        if not all_loaded(client, paths):
            return None
    rows = {table.name: 0 for table in TABLES.values()}
    by_outcome = dict.fromkeys(CAPTURE_OUTCOMES, 0) | {"unchanged": len(paths)}
    filled = {"rows": rows, "captures": by_outcome, "dead_letters": 0, REJECTED: 0, "stream": False}
    filled |= {"notes": [], "problems": [], "seconds": round(time.monotonic() - started, 2)}
    return RunOutcome(True, None, {TABLES_STEP: {"round": filled}})


def make_days(settings: Settings, first: dt.date, last: dt.date, *, fetch: bool) -> RunOutcome:
    """One run over some days."""
    from marketdata_assets.defs.exchanges.days import DAYS_JOB, window

    known = window()
    if not known[0] <= first <= last <= known[-1]:
        raise typer.BadParameter(f"days are partitions from {known[0]} to {known[-1]}; see MARKETDATA_EXCHANGE_DAYS")
    config = {"exchange_gaps": {"config": {"fetch": fetch}}}
    return run_job(settings, DAYS_JOB, (str(first), str(last)), config)


def filled_json(outcome: RunOutcome) -> dict[str, Any]:
    """How a run that fills the tables ended, for machines."""
    return {**outcome.as_json(), **_round(outcome)}


def days_json(outcome: RunOutcome) -> dict[str, Any]:
    """How a run over days ended, for machines."""
    names = ("exchange_gaps", "exchange_ohlcv_1m")
    return {**outcome.as_json(), **{name: outcome.metadata.get(name, {}) for name in names}}


def tell(outcome: RunOutcome) -> None:
    """Print how a run that fills the tables ended."""
    outcome.print_problems()
    filled = _round(outcome)
    if not filled:
        return
    for note in filled["notes"]:
        output.notes().print(note, markup=False)
    rows = ", ".join(f"{count:,} {name.removeprefix('exchange_')}" for name, count in filled["rows"].items() if count)
    files = ", ".join(f"{count:,} {ending}" for ending, count in filled["captures"].items() if count)
    output.console().print(
        f"exchanges     {rows or 'nothing new'}; {filled['refused']:,} rejected, {filled['dead_letters']:,} unreadable,"
        f" captures: {files or 'none'}; {filled['seconds']:.1f} s, {outcome.checks_passed} checks passed"
    )


def tell_days(outcome: RunOutcome) -> None:
    """Print how a run over days ended."""
    outcome.print_problems()
    gaps, bars = (outcome.metadata.get(name) for name in ("exchange_gaps", "exchange_ohlcv_1m"))
    if gaps:
        output.console().print(
            f"exchange gaps {gaps['rows']:,} of {gaps['days']:,} days; {gaps['healed']:,} healed now with"
            f" {gaps['trades_added']:,} trades, {gaps['open']:,} open; {gaps['seconds']:.1f} s"
        )
    if bars:
        output.console().print(
            f"exchange bars {bars['rows']:,} of {bars['trades']:,} trades and {bars['days']:,} days,"
            f" {bars['seconds']:.1f} s; {outcome.checks_passed} checks passed"
        )


def _end(outcome: RunOutcome, as_json: bool) -> None:
    finish(outcome, as_json, filled_json, tell)
    if not as_json:
        output.notes().print("next: marketdata ingest days; while the UI runs, its daemon does this automatically")


def _round(outcome: RunOutcome) -> dict[str, Any]:
    return dict(outcome.metadata.get(TABLES_STEP, {}).get("round", {}))


def load_sample(settings: Settings, today: dt.date, quiet: bool) -> Sequence[RunOutcome]:
    """Write captures of an invented market around the last midnight but one, and load them, without external
    requests."""
    from marketdata_demo.venues.captures import write
    from marketdata_demo.venues.market import Plan

    midnight = dt.datetime.combine(today - dt.timedelta(days=1), dt.time(), dt.UTC)
    start = midnight - dt.timedelta(minutes=SAMPLE_MINUTES // 2)
    write(settings.captures_folder, Plan(start, minutes=SAMPLE_MINUTES))
    with output.bar("captures of exchanges", quiet=quiet):
        filled = fill(settings, stream=False)
    if not filled.success:
        return (filled,)
    with output.bar("gaps and bars of exchanges", quiet=quiet):
        # The empty day first: the UI shows the figures and the picture of what was made last.
        for first, last in ((today, today), (start.date(), midnight.date())):
            made = make_days(settings, first, last, fetch=False)
            if not made.success:
                break
        return filled, made
