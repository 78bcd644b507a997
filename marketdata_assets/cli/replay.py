"""`marketdata replay`: captures through the code that live traffic goes through."""

import datetime as dt
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer

from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import Instruments, check_market, existing_files
from marketdata_assets.exchanges.records import Gap, Level, MarketType, Record
from marketdata_assets.exchanges.replay import Replay
from marketdata_assets.exchanges.replay import replay as run_replay

_encode = msgspec.json.Encoder().encode
SHOWN_GAPS = 50
MARKET_TYPES = {str(name): name for name in get_args(MarketType)}


def replay(
    files: Annotated[
        list[Path], typer.Argument(help="captures of one market, in order; each continues the one before it")
    ],
    exchange: Annotated[
        str | None, typer.Option(help="venue, such as binance; default: detected from the capture")
    ] = None,
    market_type: Annotated[
        str | None, typer.Option(help=f"{', '.join(MARKET_TYPES)}; default: detected from the capture")
    ] = None,
    instruments: Instruments = None,
    records: Annotated[
        bool, typer.Option("--records", help="print records and gaps as lines of JSON; the summary goes to stderr")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Replay captured traffic: records, gaps, checksums and final order books.

    Exits with 1 when more than a twentieth of the messages cannot be read.
    """
    check_market(exchange, market_type)
    existing_files(files, "FILES")
    existing_files(instruments or [], "--instruments")
    venue = exchange or None, MARKET_TYPES.get(market_type or "")
    run = run_replay(files, *venue, _print_record if records else None, instruments or ())
    with redirect_stdout(sys.stderr) if records else nullcontext():
        if as_json:
            output.as_json(run.as_dict())
        else:
            _tell(run)
    for note in [*run.notes, *run.errors]:
        output.notes().print(note)
    if not run.is_readable:
        errors = sum(one.errors for one in run.streams.values())
        market = " ".join(filter(None, (run.feed.venue, run.feed.market_type)))
        remedy = (
            f"They were read as {market}. Are --exchange and --market-type right? If they are, the venue has changed"
            " its messages."
        )
        output.fail(f"{errors:,} of {run.messages:,} messages cannot be read, or are errors of the venue. {remedy}")
        raise typer.Exit(1)


def _print_record(record: Record | Gap) -> None:
    sys.stdout.buffer.write(_encode(record) + b"\n")


def _tell(run: Replay) -> None:
    streams = [
        (
            name,
            one.messages,
            f"{one.messages / run.seconds:,.1f}" if run.seconds else "",
            " ".join(f"{kind}={count:,}" for kind, count in sorted(one.records.items())),
            one.gaps,
            one.errors,
        )
        for name, one in sorted(run.streams.items())
    ]
    output.table("Streams", ["stream", "messages", "per second", "records", "gaps", "errors"], streams)
    books = []
    for name, state in run.books().items():
        bid, ask = state.book.bbo()
        checks = (state.checksum_ok, state.checksum_bad)
        books.append((name, state.status, state.gaps, state.applied, *checks, _level(bid), _level(ask)))
    if books:
        columns = ["instrument", "book", "gaps", "applied", "checksums ok", "bad", "best bid", "best offer"]
        output.table("Books", columns, books)
    if run.gaps:
        output.table("Gaps", ["began (UTC)", "seconds", "instrument", "stream", "cause", "ids", "healed"], _gaps(run))
    if len(run.gaps) > SHOWN_GAPS:
        output.console().print(f"and {len(run.gaps) - SHOWN_GAPS:,} more gaps; --json has all")
    errors = sum(one.errors for one in run.streams.values())
    records = sum(run.records().values())
    output.console().print(
        f"{run.messages:,} messages of {run.seconds:,.1f} s, {records:,} records, "
        f"{sum(state.gaps for state in run.books().values()):,} gaps, {errors:,} errors"
    )


def _gaps(run: Replay) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for gap in list(run.gaps.values())[:SHOWN_GAPS]:
        began = dt.datetime.fromtimestamp(gap.ts_from / 1e9, dt.UTC)
        ids = "" if gap.last_id is None and gap.next_id is None else f"{gap.last_id} to {gap.next_id}"
        healed = "no" if gap.healed_at is None else f"after {(gap.healed_at - gap.ts_from) / 1e9:.3f} s"
        seconds = f"{(gap.ts_to - gap.ts_from) / 1e9:.3f}"
        rows.append((f"{began:%Y-%m-%d %H:%M:%S.%f}", seconds, gap.instrument, gap.stream, gap.cause, ids, healed))
    return rows


def _level(level: Level | None) -> str:
    return " x ".join(level) if level else ""
