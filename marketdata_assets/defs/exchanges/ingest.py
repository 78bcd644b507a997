"""What one run loads into the tables: pending messages of JetStream, and captures of a folder."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import dagster as dg

from marketdata_assets.defs.run_files import allowed
from marketdata_assets.errors import MarketDataError, TerminalError
from marketdata_assets.resources import ClickHouse, Exchanges, Nats, NoServer
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    from marketdata_assets.collector.drain import Drained
    from marketdata_assets.exchanges.tables.loaded_files import FilesReport


CAPTURES = "MARKETDATA_CAPTURES_DIR"


class IngestConfig(dg.Config):
    """What a run loads."""

    stream: bool = True
    """Load pending messages of JetStream; skipped without a NATS server."""

    stream_name: str = ""
    """As in the collector's config; empty means the default stream."""

    seconds: float = 240.0
    """Fetch no further batch from the stream after so many seconds; the rest is for the next run."""

    captures: bool = True
    """Load captures. Those already loaded are skipped after a hash check."""

    files: list[str] = []  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """Paths of captures, below MARKETDATA_CAPTURES_DIR except in a command; empty means all captures of the folder."""

    dumps: list[str] = []  # noqa: RUF012 - the same
    """Paths of downloaded files, of tardis.dev or of a venue's public archive, to load instead of captures.

    Except in a command they are below MARKETDATA_CAPTURES_DIR.
    """

    contract_values: bool = True
    """Ask the venues for the values of contracts that sizes of dumps count."""

    exchange: str = ""
    """Venue of captures that do not name it, such as binance."""

    market_type: str = ""
    """Market type of captures that do not name it: spot, linear, inverse, option."""

    instruments: list[str] = []  # noqa: RUF012 - the same
    """Paths of lists of instruments, for files of instruments whose names alone do not say what they are.

    Each is the response of the venue's REST. Except in a command they are below MARKETDATA_CAPTURES_DIR.
    """

    force: bool = False
    """Load captures again even when they are unchanged."""


@dataclass(frozen=True)
class IngestReport:
    """What a run loaded. `problems` are failures that left the rest unaffected."""

    drained: "Drained | None"
    captures: "FilesReport | None"
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    seconds: float


def ingest(
    client: Client,
    clickhouse: ClickHouse,
    nats: Nats,
    exchanges: Exchanges,
    config: IngestConfig,
    wanted: Sequence[str],
    run_id: str,
) -> IngestReport:
    """Load what the config names. An unavailable stream, or a capture that fails, is a problem that does not stop the
    rest; what was loaded of the stream before is reported. Raises what ClickHouse raises."""
    began = time.monotonic()
    notes, problems = list[str](), list[str]()
    drained = _drained(clickhouse, nats, config, wanted, f"run {run_id}", notes, problems) if config.stream else None
    captures = None
    if config.captures or config.dumps:
        load = _dumps if config.dumps else _captures
        captures = load(client, exchanges, config, run_id)
        problems += [str(unit.error) for unit in captures.failed]
        notes += [note for unit in captures.units for note in unit.notes]
    return IngestReport(drained, captures, tuple(notes), tuple(problems), time.monotonic() - began)


def _drained(
    clickhouse: ClickHouse,
    nats: Nats,
    config: IngestConfig,
    wanted: Sequence[str],
    owner: str,
    notes: list[str],
    problems: list[str],
) -> "Drained | None":
    """What was loaded of the stream, also before a failure; None when nothing was, because of a note or a problem.

    Gaps are drained with any table: a reader of trades must see what is missing among them.
    """
    from marketdata_assets.collector.drain import Drained, Pace, drain
    from marketdata_assets.collector.errors import Claimed, StreamMissing
    from marketdata_assets.collector.jetstream.stream import Stream
    from marketdata_assets.exchanges.tables.schema import TABLES

    types = [name for name, table in TABLES.items() if table.name in wanted or name == "gap"]
    pace, stream, drained = Pace(seconds=config.seconds), config.stream_name or Stream.name, Drained()
    try:
        loading = drain(clickhouse.dsn, nats.dsn, stream=stream, types=types, pace=pace, drained=drained, owner=owner)
        return asyncio.run(loading)
    except (NoServer, StreamMissing) as error:
        notes.append(f"no stream: {error}")
    except Claimed as error:
        notes.append(f"stream: {error}")
    except MarketDataError as error:
        problems.append(f"stream: {error}")
    return drained if drained.loaded() else None


def pending_messages(server: str) -> int:
    """How many messages of the stream are not loaded yet. Raises StreamMissing and what else the stream raises."""
    from marketdata_assets.collector.jetstream.inspection import pending_messages
    from marketdata_assets.collector.jetstream.stream import Stream

    return asyncio.run(pending_messages(server, Stream.name))


def drain_in_progress(server: str) -> str | None:
    """Who drains the stream now, for people; None when nobody does. Raises what the stream raises."""
    from marketdata_assets.collector.drain import claim_of
    from marketdata_assets.collector.jetstream.claim import owner_of
    from marketdata_assets.collector.jetstream.stream import Stream, connected

    async def ask() -> str | None:
        async with connected(server) as client:
            return await owner_of(client, claim_of(Stream.name))

    return asyncio.run(ask())


def _captures(client: Client, exchanges: Exchanges, config: IngestConfig, run_id: str) -> "FilesReport":
    from marketdata_assets.exchanges.tables.captures import captures_in, load_captures

    paths = allowed("files", config.files, exchanges.path, CAPTURES) or captures_in(exchanges.path)
    lists = allowed("instruments", config.instruments, exchanges.path, CAPTURES)
    return load_captures(client, paths, lists=lists, run_id=run_id, force=config.force, **_source(config))


def _dumps(client: Client, exchanges: Exchanges, config: IngestConfig, run_id: str) -> "FilesReport":
    from marketdata_assets.exchanges.tables.dumps import load_dumps

    paths = allowed("dumps", config.dumps, exchanges.path, CAPTURES)
    lists = allowed("instruments", config.instruments, exchanges.path, CAPTURES)
    hosts = exchanges.hosts() if config.contract_values else None
    return load_dumps(client, paths, hosts, lists=lists, run_id=run_id, force=config.force, **_source(config))


def _source(config: IngestConfig) -> dict[str, Any]:
    """The venue and market of files that do not name them."""
    from marketdata_assets.exchanges import venues
    from marketdata_assets.exchanges.records import MarketType

    return {
        "exchange": _one_of("exchange", config.exchange, venues.known()),
        "market_type": _one_of("market_type", config.market_type, get_args(MarketType)),
    }


def _one_of(what: str, name: str, known: Sequence[str]) -> str | None:
    if name and name not in known:
        raise TerminalError(f"{what}: unknown value {name!r}; valid values: {', '.join(known)}")
    return name or None
