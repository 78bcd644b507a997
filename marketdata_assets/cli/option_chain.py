"""`marketdata option-chain`: the options on an underlying as they were last known at an instant."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import polars.selectors as cs
import typer

from marketdata_assets import read
from marketdata_assets.cli import output
from marketdata_assets.exchanges.decimals import plain
from marketdata_assets.read.errors import BadMoment, NaiveTime, UnknownName

SHOWN = ("expiry", "strike", "kind", "bid", "ask", "mark_price", "mark_iv", "underlying_price", "delta", "size")


def option_chain(
    exchange: Annotated[str, typer.Argument(help="the venue that lists the options")],
    underlying: Annotated[str, typer.Argument(help="a coin, BTC, or a pair, BTC-USD")],
    at: Annotated[str | None, typer.Option(help="an instant, as 2026-01-05T12:00:00Z; default: now")] = None,
    within_hours: Annotated[float, typer.Option(min=0.001, help="how old a value may be")] = 24.0,
    as_json: output.Json = False,
) -> None:
    """Print the options on an underlying as they were last known at an instant.

    Expired ones are left out. With --json all columns of `read.option_chain`, times in UTC.
    """
    moment, within = at or dt.datetime.now(dt.UTC), dt.timedelta(hours=within_hours)
    try:
        chain = read.option_chain(exchange, underlying, moment, within=within)
    except (BadMoment, NaiveTime) as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error
    except UnknownName as error:
        raise typer.BadParameter(str(error)) from error
    chain = chain.with_columns(cs.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.9fZ"))  # Python's times have no ns
    rows = [{name: _value(value) for name, value in row.items()} for row in chain.iter_rows(named=True)]
    document = {"exchange": exchange, "underlying": underlying, "at": str(moment), "options": rows}
    title = f"{exchange} {underlying}: {len(rows):,} options at {moment}"
    cells = [[row[name] for name in SHOWN] for row in rows]
    output.result(as_json, document, show=lambda: output.table(title, SHOWN, cells))


def _value(value: Any) -> Any:
    return plain(value) if isinstance(value, Decimal) else value
