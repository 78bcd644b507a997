"""`marketdata ingest captures`, `dumps`, `history`, `days` and `drain`: records of exchanges into their tables.

Each is a run that shows in the UI like any other.
"""

import asyncio
import datetime as dt
import json
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from marketdata_assets import databases, logs
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import Instruments, among, check_market, existing_files, existing_folder
from marketdata_assets.cli.instance import RunOutcome, environment_of, finish, run_job
from marketdata_assets.cli.status import delivered
from marketdata_assets.defs.exchanges.days import CAPTURE_OUTCOMES, FEED, HISTORY, HISTORY_JOB, REJECTED, TABLES_STEP
from marketdata_assets.errors import TransientError
from marketdata_assets.exchanges import venues
from marketdata_assets.local import endpoints
from marketdata_assets.local.errors import NoServer
from marketdata_assets.settings import Settings
from marketdata_assets.standard_streams import service

SAMPLE_MINUTES = 80  # of the demo's market

Day = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC day")]


def captures(
    files: Annotated[list[Path] | None, typer.Argument(help="captures; all in the folder when left out")] = None,
    exchange: Annotated[str, typer.Option(help="venue, such as binance; default: detected from the capture")] = "",
    market_type: Annotated[
        str, typer.Option(help="spot, linear, inverse, option; default: detected from the capture")
    ] = "",
    instruments: Instruments = None,
    force: Annotated[bool, typer.Option("--force", help="reload files that were loaded before")] = False,
    as_json: output.Json = False,
) -> None:
    """Load capture files of exchanges.

    Files that were loaded before are skipped after a hash check.
    """
    settings = Settings()
    check_market(exchange, market_type)
    if files:
        existing_files(files, "FILES")
    else:
        existing_folder(settings.captures_folder, "MARKETDATA_CAPTURES_DIR")
    named = [str(path.absolute()) for path in files or ()]
    existing_files(instruments or [], "--instruments")
    lists = [str(path.absolute()) for path in instruments or ()]
    about = {"exchange": exchange, "market_type": market_type, "instruments": lists, "force": force}
    with output.bar("captures", quiet=as_json):
        outcome = None if any(about.values()) else up_to_date(settings, files or ())
        if outcome is None:
            outcome = fill(settings, stream=False, files=named, **about)
    _end(replace(outcome, files=delivered("exchanges")), as_json)


def dumps(
    paths: Annotated[list[Path], typer.Argument(help="files, and folders with everything below them")],
    exchange: Annotated[str, typer.Option(help="venue of files of a public archive; default: by their names")] = "",
    market_type: Annotated[
        str, typer.Option(help="spot, linear, inverse, of files of a public archive; default: by their folders")
    ] = "",
    instruments: Instruments = None,
    fetch: Annotated[bool, typer.Option(help="ask the venues for the values of contracts that sizes count")] = True,
    force: Annotated[bool, typer.Option("--force", help="reload files that were loaded before")] = False,
    as_json: output.Json = False,
) -> None:
    """Load downloaded files: CSV of tardis.dev, and of the venues' public archives.

    Files that were loaded before are skipped after a hash check.
    """
    from marketdata_assets.exchanges.tables.dumps import dumps_in, others_in

    check_market(exchange, market_type)
    existing_files([path for path in paths if not path.is_dir()], "PATHS")
    existing_files(instruments or [], "--instruments")
    lists = [str(path.absolute()) for path in instruments or ()]
    found = [str(one.absolute()) for path in paths for one in (dumps_in(path) if path.is_dir() else [path])]
    for other in (one for path in paths if path.is_dir() for one in others_in(path)):
        output.warn(str(other.state), f"{other.file}: {other.reason}")
    if not found:
        raise typer.BadParameter(f"no file below {paths[0]} ends in .csv, .csv.gz or .zip", param_hint="PATHS")
    about = {"exchange": exchange, "market_type": market_type, "instruments": lists, "force": force}
    with output.bar("dumps", quiet=as_json):
        outcome = fill(Settings(), stream=False, captures=False, dumps=found, contract_values=fetch, **about)
    _end(outcome, as_json, "dumps")


def drain(
    seconds: Annotated[float, typer.Option(min=1.0, help="stop taking batches after this long")] = 600.0,
    stream: Annotated[str, typer.Option(help="its name, where the collector's config gives another one")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", help="load messages as they arrive, until SIGTERM or Ctrl-C")
    ] = False,
    host: Annotated[str, typer.Option(help="with --follow: address of /health and /metrics")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="with --follow: their port; 0 takes a free one")] = 9102,
    as_json: output.Json = False,
) -> None:
    """Load pending JetStream messages into ClickHouse, then ack them.

    With --follow it is a service beside the collector: rows are in the tables within seconds. Only one drain of a
    stream runs at a time; the scheduled one leaves the stream to the service.
    """
    if follow:
        follow_stream(stream, host, port, as_json)
        return
    with output.bar("stream", quiet=as_json):
        outcome = nothing_pending(stream) or fill(Settings(), captures=False, seconds=seconds, stream_name=stream)
    _end(outcome, as_json)


@service()
def follow_stream(stream: str, host: str, port: int, as_json: bool) -> None:
    """Run the drain as a service, and print what it loaded."""
    from marketdata_assets.cli.collect import Needed

    settings = Settings()
    url, nats_url = databases.clickhouse_url(), endpoints.address(settings, "nats_url")
    with Needed():
        from marketdata_assets.collector.drain_service import DrainServer, DrainService
    from marketdata_assets.collector.jetstream.stream import Stream

    logs.configure(settings.log_format, "INFO")
    service = DrainService(url, nats_url, stream=stream or Stream.name, keep_days=settings.exchange_keep_days)
    server = DrainServer(service.progress, host, port)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await server.start()
        output.notes().print(f"health and metrics at http://{server.host}:{server.port}")
        try:
            await service.run(stop)
        finally:
            await server.stop()

    try:
        asyncio.run(run())
    finally:  # also of a service that an error ends
        done = service.progress.drained
        loaded = done.loaded()
        rows = ", ".join(f"{one.rows:,} {kind}" for kind, one in sorted(loaded.items()))
        text = f"exchanges     {rows or 'nothing loaded'}; {done.rejected:,} rejected"
        counts = {name: {kind: getattr(one, name) for kind, one in loaded.items()} for name in ("rows", "rejected")}
        output.result(as_json, counts, text)


def days(
    first: Day = None,
    last: Day = None,
    fetch: Annotated[bool, typer.Option(help="fetch missing trades from the venues")] = True,
    as_json: output.Json = False,
) -> None:
    """Fill gaps of some days and build their minute bars.

    The default is each day whose trades or gaps have changed since, or, without any, yesterday.
    """
    settings = Settings()
    if first or last:
        end = (last or first or dt.datetime.now(dt.UTC)).date()
        begin = first.date() if first else end
        if end < begin:
            raise typer.BadParameter(f"{end} is before {begin}", param_hint="--last")
        ranges = [(begin, end)]
    else:
        ranges = due_ranges()
    with output.bar("days", quiet=as_json):
        outcome = together([make_days(settings, begin, end, fetch=fetch) for begin, end in ranges])
    finish(outcome, as_json, days_json, tell_days)


def fill(settings: Settings, **config: Any) -> RunOutcome:
    """One run that fills the tables."""
    from marketdata_assets.defs.exchanges.days import TABLES_JOB

    return run_job(settings, TABLES_JOB, None, {TABLES_STEP: {"config": config}})


def up_to_date(settings: Settings, files: Sequence[Path]) -> RunOutcome | None:
    """The result without a run when the content of every file is loaded; None when there is work to do.

    Like a run, it creates missing tables and applies the retention of the settings.
    """
    from marketdata_assets.exchanges.tables import captures

    started, folder = time.monotonic(), settings.captures_folder
    paths = files or captures.captures_in(folder)
    with databases.clickhouse("exchanges") as client:
        if not files and captures.due(client, folder):
            return None
        known, due = captures.LEDGER.unchanged_and_due(client, files, force=False)
        if due or any(one.outcome == "failed" for one in known.values()):
            return None
    return _without_run(started, len(paths), stream=False)


def nothing_pending(stream: str) -> RunOutcome | None:
    """The result without a run when every message of the stream is loaded; None when there is work, or something to
    report."""
    from marketdata_assets.collector.errors import StreamMissing
    from marketdata_assets.collector.jetstream.inspection import pending_messages
    from marketdata_assets.collector.jetstream.stream import Stream

    started = time.monotonic()
    try:
        server = endpoints.address(Settings(), "nats_url")
        if asyncio.run(pending_messages(server, stream or Stream.name)):
            return None
    except (NoServer, StreamMissing, TransientError):
        return None
    return _without_run(started, 0, stream=True)


def _without_run(started: float, unchanged: int, *, stream: bool) -> RunOutcome:
    from marketdata_assets.exchanges.tables.schema import TABLES

    rows = {table.name: 0 for table in TABLES.values()}
    by_outcome = dict.fromkeys(CAPTURE_OUTCOMES, 0) | {"unchanged": unchanged}
    filled = {"rows": rows, "captures": by_outcome, "dead_letters": 0, REJECTED: 0, "stream": stream, "left": 0}
    filled |= {"notes": [], "problems": [], "seconds": round(time.monotonic() - started, 2)}
    return RunOutcome(True, None, {FEED: {"round": filled}})


def due_ranges() -> list[tuple[dt.date, dt.date]]:
    """The days that have to be computed, or yesterday; days with trades before the first partition are named."""
    from marketdata_assets.defs.exchanges.days import window
    from marketdata_assets.exchanges.tables import status
    from marketdata_assets.exchanges.tables.gap_backfill import SETTLED_NS
    from marketdata_assets.exchanges.tables.ohlcv import days_with_trades
    from marketdata_assets.partitions import day_ranges

    days = window()
    with databases.clickhouse("exchanges") as client:
        due = {*status.outdated_days(client, days), *status.with_open_gaps(client, days, time.time_ns(), SETTLED_NS)}
        older = [day for day in days_with_trades(client) if day < days[0]]
    if older:
        output.notes().print(
            f"{len(older)} days with trades, {older[0]} to {older[-1]}, are before the first partition {days[0]}: set"
            " MARKETDATA_EXCHANGE_DAYS to compute their bars too",
            markup=False,
        )
    return [
        (dt.date.fromisoformat(first), dt.date.fromisoformat(last)) for first, last in day_ranges(due or [days[-2]])
    ]


def together(outcomes: Sequence[RunOutcome]) -> RunOutcome:
    """The outcome of runs over several ranges of days: figures are added up, and the id is that of the last run."""
    if len(outcomes) == 1:
        return outcomes[0]
    metadata: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        for name, values in outcome.metadata.items():
            known = metadata.setdefault(name, {})
            for key, value in values.items():
                if isinstance(value, int | float):
                    known[key] = round(known.get(key, 0) + value, 2)
                elif isinstance(value, dict):
                    known[key] = dict(Counter(known.get(key, {})) + Counter(value))
    return RunOutcome(
        all(outcome.success for outcome in outcomes),
        outcomes[-1].run_id,
        metadata,
        tuple(dict.fromkeys(name for outcome in outcomes for name in outcome.checks_failed)),
        sum(outcome.checks_passed for outcome in outcomes),
        "\n".join(outcome.error for outcome in outcomes if outcome.error) or None,
        examples={name: found for outcome in outcomes for name, found in outcome.examples.items()},
    )


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


def tell(outcome: RunOutcome, kind: str = "captures") -> None:
    """Print how a run that fills the tables from files of a kind ended."""
    outcome.print_problems()
    filled = _round(outcome)
    if not filled:
        return
    for note in filled["notes"]:
        output.notes().print(note)
    rows = ", ".join(f"{count:,} {name.removeprefix('exchange_')}" for name, count in filled["rows"].items() if count)
    files = ", ".join(f"{count:,} {ending}" for ending, count in filled["captures"].items() if count)
    is_proven = outcome.success and not (filled["notes"] or filled["problems"] or filled["left"])
    rows = rows or ("nothing new" if is_proven else "nothing loaded")
    rows += f", {filled['left']:,} messages left in the stream" if filled["left"] else ""
    output.console().print(
        f"exchanges     {rows}; {filled['rejected']:,} rejected, {filled['dead_letters']:,} unreadable,"
        f" {kind}: {files or 'none'}; {filled['seconds']:.1f} s, {outcome.checks_passed} checks passed"
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
        for reason, count in sorted(gaps.get("open_reasons", {}).items(), key=lambda one: -one[1]):
            output.console().print(f"  {count:,} open: {reason}")
    if bars:
        output.console().print(
            f"exchange bars {bars['rows']:,} of {bars['trades']:,} trades and {bars['days']:,} days,"
            f" {bars['seconds']:.1f} s; {outcome.checks_passed} checks passed"
        )


def _end(outcome: RunOutcome, as_json: bool, kind: str = "captures") -> None:
    finish(outcome, as_json, filled_json, partial(tell, kind=kind))
    if not as_json:
        output.notes().print("next: marketdata ingest days; while the UI runs, its daemon does this automatically")


def _round(outcome: RunOutcome) -> dict[str, Any]:
    return dict(outcome.metadata.get(FEED, {}).get("round", {}))


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


SOURCES = ("auto", "archive", "rest")
HOSTS = "MARKETDATA_EXCHANGE_HOSTS"
FIRST_DAY = dt.date(2017, 1, 1)  # of the partitions


def history(
    exchange: Annotated[str, typer.Option(help="venue, such as binance")],
    instruments: Annotated[str, typer.Option(help="by the venue's name or by symbol, as BTCUSDT,ETH-USDT")],
    types: Annotated[str, typer.Option(help="of trade, kline, funding_rate, open_interest")] = "trade,kline",
    first: Day = None,
    last: Day = None,
    market_type: Annotated[
        str, typer.Option(help="spot, linear, inverse, option; needed where several list the same name")
    ] = "",
    intervals: Annotated[str, typer.Option(help="of candles, as 1m,1h")] = "1m",
    source: Annotated[
        str, typer.Option(help="archive, rest, or auto: trades and open interest from a public archive if there is one")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="load days again that are loaded")] = False,
    as_json: output.Json = False,
) -> None:
    """Load past days of instruments: trades, candles, funding rates, open interest.

    The default is yesterday. Days that are loaded are skipped.
    """
    from marketdata_assets.exchanges.errors import HistoryRefused
    from marketdata_assets.exchanges.tables.history import history_types

    among(venues.known(), [exchange], "--exchange")
    check_market(exchange, market_type)
    among(SOURCES, [source], "--source")
    try:
        wanted = history_types(_listed(types))
    except HistoryRefused as error:
        raise typer.BadParameter(str(error), param_hint="--types") from error
    begin, end = _past_days(first, last)
    config: dict[str, Any] = {"exchange": exchange, "instruments": _listed(instruments), "types": list(wanted)}
    config |= {"market_type": market_type, "intervals": _listed(intervals), "source": source, "force": force}
    with output.bar("history", quiet=as_json):
        outcome = run_job(Settings(), HISTORY_JOB, (str(begin), str(end)), {HISTORY: {"config": config}})
    finish(outcome, as_json, history_json, tell_history)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _past_days(first: dt.datetime | None, last: dt.datetime | None) -> tuple[dt.date, dt.date]:
    """The first and the last day. Raises BadParameter when they are no partitions."""
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    end = last.date() if last else yesterday
    begin = first.date() if first else end
    for day, flag in ((begin, "--first"), (end, "--last")):
        if not FIRST_DAY <= day <= yesterday:
            raise typer.BadParameter(f"{day} is not from {FIRST_DAY} to yesterday, {yesterday}", param_hint=flag)
    if end < begin:
        raise typer.BadParameter(f"{end} is before {begin}", param_hint="--last")
    return begin, end


def history_json(outcome: RunOutcome) -> dict[str, Any]:
    """How the run ended, for machines."""
    return {**outcome.as_json(), HISTORY: outcome.metadata.get(HISTORY, {})}


def tell_history(outcome: RunOutcome) -> None:
    """Print how the run ended."""
    outcome.print_problems()
    loaded = outcome.metadata.get(HISTORY)
    if not loaded:
        return
    notes: Sequence[str] = loaded["notes"]
    for note in notes:
        output.notes().print(note)
    days = ", ".join(
        f"{loaded[name]:,} {name}" for name in ("ok", "empty", "unchanged", "unsupported", "failed") if loaded[name]
    )
    output.console().print(
        f"exchange history {loaded['rows']:,} rows, {loaded['rejected']:,} rejected; days of streams: {days};"
        f" {loaded['seconds']:.1f} s, {outcome.checks_passed} checks passed"
    )


SAMPLE_DAYS = 5
SAMPLE_TYPES = ["kline", "funding_rate", "open_interest"]  # trades would make the days of bars due


def load_history_sample(settings: Settings, today: dt.date, quiet: bool) -> RunOutcome:
    """Load days of an invented instrument from a simulated venue, without external requests."""
    from marketdata_demo.venues.binance_venue import BinanceServer

    first, last = today - dt.timedelta(days=SAMPLE_DAYS + 2), today - dt.timedelta(days=3)
    begin = int(dt.datetime.combine(first, dt.time(), dt.UTC).timestamp()) * 1000
    minutes = range(0, SAMPLE_DAYS * 24 * 60, 5)
    config = {"exchange": "binance", "market_type": "linear", "instruments": ["ABCUSDT"], "types": SAMPLE_TYPES}
    with BinanceServer() as venue, output.bar("history of exchanges", quiet=quiet):
        venue.kept = [begin + minute * 60_000 for minute in minutes]
        venue.paid = [begin + minute * 60_000 for minute in minutes if minute % 480 == 0]
        with environment_of({HOSTS: json.dumps({"binance": venue.url})}):
            days = str(first), str(last)
            return run_job(settings, HISTORY_JOB, days, {HISTORY: {"config": {**config, "source": "rest"}}})
