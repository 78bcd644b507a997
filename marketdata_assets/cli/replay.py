"""`marketdata replay`: captures through the code that live traffic goes through."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import among, existing_files
from marketdata_assets.exchanges.records import Exchange, Level, MarketType
from marketdata_assets.exchanges.replay import Replay
from marketdata_assets.exchanges.replay import replay as run_replay

EXCHANGES = {str(name): name for name in get_args(Exchange)}
MARKET_TYPES = {str(name): name for name in get_args(MarketType)}


def replay(
    files: Annotated[
        list[Path], typer.Argument(help="captures of one market, in order; each continues the one before it")
    ],
    exchange: Annotated[
        str | None, typer.Option(help=f"{', '.join(EXCHANGES)}; default: detected from the capture")
    ] = None,
    market_type: Annotated[
        str | None, typer.Option(help=f"{', '.join(MARKET_TYPES)}; default: detected from the capture")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Replay captured traffic: records, gaps, checksums and final order books."""
    among(tuple(EXCHANGES), [exchange] if exchange else (), "--exchange")
    among(tuple(MARKET_TYPES), [market_type] if market_type else (), "--market-type")
    existing_files(files, "FILES")
    run = run_replay(files, EXCHANGES.get(exchange or ""), MARKET_TYPES.get(market_type or ""))
    if as_json:
        output.as_json(run.as_dict())
    else:
        _tell(run)
    for note in [*run.notes, *run.errors]:
        output.notes().print(note, markup=False)


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
    errors = sum(one.errors for one in run.streams.values())
    records = sum(run.records().values())
    output.console().print(
        f"{run.messages:,} messages of {run.seconds:,.1f} s, {records:,} records, "
        f"{sum(state.gaps for state in run.books().values()):,} gaps, {errors:,} errors"
    )


def _level(level: Level | None) -> str:
    return " x ".join(level) if level else ""
