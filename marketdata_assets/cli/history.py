"""`marketdata ingest history`: past days of instruments from the venues' histories; a run that shows in the UI."""

import datetime as dt
import json
from collections.abc import Sequence
from typing import Annotated, Any, get_args

import typer

from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import among
from marketdata_assets.cli.exchanges import Day
from marketdata_assets.cli.instance import RunOutcome, environment_of, finish, run_job
from marketdata_assets.defs.exchanges.days import HISTORY, HISTORY_JOB
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.settings import Settings

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

    among(venues.names(), [exchange], "--exchange")
    among(get_args(MarketType), [market_type] if market_type else (), "--market-type")
    among(SOURCES, [source], "--source")
    try:
        wanted = history_types(_listed(types))
    except HistoryRefused as error:
        raise typer.BadParameter(str(error), param_hint="--types") from error
    begin, end = _days(first, last)
    config: dict[str, Any] = {"exchange": exchange, "instruments": _listed(instruments), "types": list(wanted)}
    config |= {"market_type": market_type, "intervals": _listed(intervals), "source": source, "force": force}
    with output.bar("history", quiet=as_json):
        outcome = run_job(Settings(), HISTORY_JOB, (str(begin), str(end)), {HISTORY: {"config": config}})
    finish(outcome, as_json, as_document, tell)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _days(first: dt.datetime | None, last: dt.datetime | None) -> tuple[dt.date, dt.date]:
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


def as_document(outcome: RunOutcome) -> dict[str, Any]:
    """How the run ended, for machines."""
    return {**outcome.as_json(), HISTORY: outcome.metadata.get(HISTORY, {})}


def tell(outcome: RunOutcome) -> None:
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


def load_sample(settings: Settings, today: dt.date, quiet: bool) -> RunOutcome:
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
