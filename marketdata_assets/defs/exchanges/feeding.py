"""What comes into the tables in one run: what waits in JetStream, and captures in a folder."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import dagster as dg

from marketdata_assets.errors import MarketDataError, TerminalError
from marketdata_assets.resources import ClickHouse, Exchanges, Nats, NoServer
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from marketdata_assets.collector.drain import Drained
    from marketdata_assets.exchanges.tables.captures import CapturesReport


class FeedConfig(dg.Config):
    """What is loaded."""

    stream: bool = True
    """Take what waits in JetStream; without a NATS server there is nothing to take."""

    stream_name: str = ""
    """As in the collector's config; the usual one when left out."""

    seconds: float = 240.0
    """Take no further batch from the stream after so long; the rest is for the next run."""

    captures: bool = True
    """Load captures. Those that were loaded before cost a hash."""

    files: list[str] = []  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """These captures; all in the folder when left out."""

    exchange: str = ""
    """Whose captures they are, where they do not say it: binance, okx, deribit."""

    market_type: str = ""
    """Of which market: spot, linear, inverse, option."""

    force: bool = False
    """Read captures even when they were loaded before."""


class BadFeedConfig(TerminalError):
    """What shall be loaded cannot be told."""


@dataclass(frozen=True)
class Fed:
    """What a run brought. `problems` are what failed while the rest went on."""

    drained: "Drained | None"
    captures: "CapturesReport | None"
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    seconds: float


def prepare(client: "Client") -> None:
    """Create the tables and the ledger where they are missing; rows go after as many days as the settings say."""
    from marketdata_assets.exchanges.tables import schema
    from marketdata_assets.stores import clickhouse_ledger

    schema.ensure(client, Settings().exchange_keep_days)
    clickhouse_ledger.ensure(client)


def feed(
    client: "Client",
    clickhouse: ClickHouse,
    nats: Nats,
    exchanges: Exchanges,
    config: FeedConfig,
    wanted: Sequence[str],
    run_id: str,
) -> Fed:
    """Load what the config asks for. A stream that is away, or a capture that cannot be read, is a problem that leaves
    the rest alone; raises what ClickHouse raises."""
    from marketdata_assets.collector.errors import StreamMissing

    began = time.monotonic()
    notes, problems = list[str](), list[str]()
    drained = captures = None
    if config.stream:
        try:
            drained = _drain(clickhouse, nats, config, wanted)
        except (NoServer, StreamMissing) as error:
            notes.append(f"no stream: {error}")
        except MarketDataError as error:
            problems.append(f"stream: {error}")
    if config.captures:
        captures = _captures(client, exchanges, config, run_id)
        problems += [str(one.error) for one in captures.failed]
        notes += [note for one in captures.files for note in one.notes]
    return Fed(drained, captures, tuple(notes), tuple(problems), time.monotonic() - began)


def _drain(clickhouse: ClickHouse, nats: Nats, config: FeedConfig, wanted: Sequence[str]) -> "Drained":
    """Gaps are drained with any table: whoever sees trades must see what is missing among them."""
    from marketdata_assets.collector.drain import Pace, drain
    from marketdata_assets.collector.jetstream.stream import Stream
    from marketdata_assets.exchanges.tables.schema import TABLES

    server = nats.server
    types = [name for name, table in TABLES.items() if table.name in wanted or name == "gap"]
    name = config.stream_name or Stream.name
    return asyncio.run(drain(clickhouse.dsn, server, stream=name, types=types, pace=Pace(seconds=config.seconds)))


def waiting(server: str, stream_name: str = "") -> int:
    """Messages of the stream that are not in the tables yet. Raises StreamMissing and what else the stream raises."""
    from marketdata_assets.collector.jetstream.stream import Stream, consumers, pending

    async def count() -> int:
        names = [one.name for one in consumers().values()]
        return sum([await pending(server, stream_name or Stream.name, name) for name in names])

    return asyncio.run(count())


def _captures(client: "Client", exchanges: Exchanges, config: FeedConfig, run_id: str) -> "CapturesReport":
    from marketdata_assets.exchanges.records import Exchange, MarketType
    from marketdata_assets.exchanges.tables.captures import load_captures
    from marketdata_assets.exchanges.tables.watch import captures_in

    paths = [Path(name) for name in config.files] or captures_in(exchanges.path)
    told: dict[str, Any] = {
        "exchange": _one_of("exchange", config.exchange, get_args(Exchange)),
        "market_type": _one_of("market_type", config.market_type, get_args(MarketType)),
    }
    return load_captures(client, paths, run_id=run_id, force=config.force, **told)


def _one_of(what: str, name: str, known: Sequence[str]) -> str | None:
    if name and name not in known:
        raise BadFeedConfig(f"{what}: {name!r} is none of {', '.join(known)}")
    return name or None
