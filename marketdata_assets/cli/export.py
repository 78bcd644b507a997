"""`marketdata export`: bars as Parquet files or in the format of qlib, and records of exchanges for other tools."""

import datetime as dt
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from marketdata_assets import export
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import among
from marketdata_assets.exchanges.tables.schema import TABLES
from marketdata_assets.export.folder import Report, Tally
from marketdata_assets.export.records import MARKET_DATA, Layout
from marketdata_assets.read.adjusting import Adjust
from marketdata_assets.read.bar_sources import Source
from marketdata_assets.read.bars import Query
from marketdata_assets.read.errors import CannotAdjust, UnknownName
from marketdata_assets.read.resampling import Frequency
from marketdata_assets.read.tables import ashare_codes
from marketdata_assets.reference.records import Label

Codes = Annotated[list[str] | None, typer.Option(help="600000.SH 000001.SZ ...; all stocks when left out")]
From = Annotated[Source, typer.Option(help="stock_1min_qfq, tick_data or stock_daily")]
Freq = Annotated[Frequency, typer.Option(help="the frequency of the bars")]
Adjusted = Annotated[Adjust, typer.Option(help="how prices are adjusted; minutes are always forward-adjusted")]
AsOf = Annotated[
    dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="use nothing that became known after this day")
]
Workers = Annotated[int, typer.Option(min=1, help="stocks at a time")]


def parquet(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="where year=2024/code=600000.SH/bars.parquet are written")
    ],
    codes: Codes = None,
    years: Annotated[str | None, typer.Option(help="2024 or 2020:2024; all when left out")] = None,
    source: From = "minutes",
    freq: Freq = "1m",
    adjust: Adjusted = "forward",
    as_of: AsOf = None,
    label: Annotated[Label, typer.Option(help="the end of its period that a bar is labelled with")] = "end",
    workers: Workers = 2,
    as_json: output.Json = False,
) -> None:
    """Export bars as Parquet files by year and stock; only what has changed is written again."""
    chosen = _years(years)

    def work(tally: Tally) -> Report:
        query = Query(source, freq, adjust, label, as_of and as_of.date())
        report = export.parquet(folder, query, ashare_codes(codes), chosen, workers=workers, tally=tally)
        if chosen and not (report.written or report.unchanged or report.removed or report.failed):
            cause = f"{years!r}: there are no bars of these years; marketdata status says what is loaded"
            raise typer.BadParameter(cause, param_hint="--years")
        return report

    _run(work, "files", as_json)


def qlib(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="qlib's provider_uri: calendars, instruments, features")
    ],
    codes: Codes = None,
    source: From = "minutes",
    freq: Freq = "1d",
    adjust: Adjusted = "forward",
    as_of: AsOf = None,
    workers: Workers = 2,
    as_json: output.Json = False,
) -> None:
    """Export bars in the binary format of qlib; only stocks that have changed are written again."""

    def work(tally: Tally) -> Report:
        query = Query(source, freq, adjust, as_of=as_of and as_of.date())
        return export.qlib(folder, query, ashare_codes(codes), workers=workers, tally=tally)

    _run(work, "stocks", as_json)


def records(
    folder: Annotated[Path, typer.Argument(help="where the files are written")],
    first: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="the first day, UTC")],
    last: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="the last day")],
    layout: Annotated[Layout, typer.Option(help="plain is Parquet; the others are read by these programs")] = "plain",
    types: Annotated[
        list[str] | None, typer.Option("--type", help=f"{', '.join(TABLES)}; default: {', '.join(MARKET_DATA)}")
    ] = None,
    exchange: Annotated[str | None, typer.Option(help="default: all")] = None,
    market_type: Annotated[str | None, typer.Option(help="spot, linear, inverse or option; default: all")] = None,
    instruments: Annotated[list[str] | None, typer.Option(help="the venue's own names; default: all")] = None,
    as_json: output.Json = False,
) -> None:
    """Export records of exchanges by instrument and day; only what has changed is written again."""
    among(tuple(TABLES), types or (), "--type")
    if last < first:
        raise typer.BadParameter(f"{last.date()} is before {first.date()}", param_hint="--last")
    kinds: list[Any] = types or [*MARKET_DATA]
    market: Any = market_type
    which = {"exchange": exchange, "market_type": market, "instruments": instruments}

    def work(tally: Tally) -> Report:
        return export.records(folder, first.date(), last.date(), layout=layout, types=kinds, **which, tally=tally)

    _run(work, "files", as_json)


def _run(work: Callable[[Tally], Report], what: str, as_json: bool) -> None:
    began, tally = time.monotonic(), Tally()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with output.bar("export", quiet=as_json):
            report = work(tally)
    except (UnknownName, CannotAdjust) as error:
        raise typer.BadParameter(str(error)) from error
    except typer.BadParameter:
        raise
    except BaseException:
        if tally.total:  # what ended it is said by who takes the error
            with suppress(typer.Exit):
                _print(tally.report, tally.total - tally.reached, what, as_json, began)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    _print(report, None, what, as_json, began)


def _print(report: Report, left: int | None, what: str, as_json: bool, began: float) -> None:
    """What an export did; one that was ended early left so many."""
    seconds = round(time.monotonic() - began, 2)
    for code, cause in () if as_json else report.failed.items():
        output.fail(f"{code}: {cause}")
    line = (
        f"{report.written:,} {what} written, {report.unchanged:,} unchanged, {report.removed:,} removed;"
        f" {report.rows:,} rows, {report.bytes / 1e6:,.1f} MB, {seconds:.1f} s"
    )
    line += "" if left is None else f"; ended early with {left:,} {what} left: run it again for these"
    success = not report.failed and left is None
    document = {"success": success, **asdict(report), "left": left or 0, "seconds": seconds}
    output.result(as_json, document, line, success=success)


def _years(text: str | None) -> list[int] | None:
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not all(year.isdecimal() and len(year) == 4 for year in (first, last if colon else first)):
        raise typer.BadParameter(f"{text!r} is not a year or a range; write 2024 or 2020:2024", param_hint="--years")
    chosen = list(range(int(first), int(last if colon else first) + 1))
    if not chosen:
        raise typer.BadParameter(f"{text!r} ends before it starts; write {last}:{first}", param_hint="--years")
    return chosen
