"""History before the first start: records of past UTC days into the tables, from REST and from public archives.

The unit is one stream of an instrument on one UTC day; the ledger says which are loaded. The records are those of the
stream, under the same keys: a day that the collector recorded as well has each of them once.
"""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import groupby
from typing import Literal, get_args

from msgspec.structs import replace

from marketdata_assets.errors import MarketDataError
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.archive import ArchiveClient, csv_lines
from marketdata_assets.exchanges.errors import HistoryRefused
from marketdata_assets.exchanges.history_clients import HistoryHosts, open_history
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import DataType, Exchange, FundingRate, Gap, Kline, MarketType, Outcome
from marketdata_assets.exchanges.rest_history import Page, Window
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import RecordBatches
from marketdata_assets.exchanges.tables.schema import DAY_NS
from marketdata_assets.exchanges.venue import Venue
from marketdata_assets.exchanges.venue_adapter import interval_ns
from marketdata_assets.exchanges.venue_history import VenueHistory
from marketdata_assets.loading.reports import Countdown, LoadReport, UnitReport
from marketdata_assets.logs import get_logger
from marketdata_assets.progress import report
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import StoreAway, StoreFull

DATASET = "exchange_history"
CODE_VERSION = "history-1"
CANDLES = "kline_"  # a stream of candles is this and the interval
PERIOD = "5m"  # of open interest
SETTLED = dt.timedelta(minutes=10)  # so long after midnight a venue's history of the day is complete
ARCHIVED = ("trade", "open_interest")
"""What comes from an archive if there is one: REST has the others in a few requests."""

Origin = Literal["auto", "archive", "rest"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)

log = get_logger(__name__)


@dataclass(frozen=True)
class HistoryRequest:
    """Which days of which streams to load. Instruments by the venue's name or by symbol, `BTCUSDT` or `BTC-USDT`.

    `market_type` is needed where several markets list the same name. `origin` auto takes trades and open interest from
    the venue's archive where it has one, all else over REST. Loaded days are skipped unless `force`.
    """

    exchange: Exchange
    instruments: tuple[str, ...]
    types: tuple[DataType, ...]
    days: tuple[dt.date, ...]
    market_type: MarketType | None = None
    intervals: tuple[str, ...] = ("1m",)
    origin: Origin = "auto"
    force: bool = False

    @property
    def streams(self) -> list[str]:
        """The record types, and of candles the type and interval."""
        candles = [f"{CANDLES}{interval}" for interval in self.intervals]
        return [stream for name in self.types for stream in (candles if name == "kline" else [name])]


@dataclass(frozen=True)
class HistoryReport(UnitReport):
    """How one day of a stream of an instrument ended. `unsupported`: the venue does not keep it for so long."""

    day: dt.date = dt.date.min
    origin: str = ""  # archive or rest


@dataclass(frozen=True)
class HistoriesReport(LoadReport[HistoryReport]):
    """How all days ended, unchanged ones included, by instrument, stream and day."""

    @property
    def by_day(self) -> dict[dt.date, Counter[str]]:
        """For each day how many units ended how, and `rows`."""
        days: dict[dt.date, Counter[str]] = {}
        for unit in self.units:
            days.setdefault(unit.day, Counter()).update({unit.outcome: 1, "rows": unit.rows})
        return dict(sorted(days.items()))


ALIASES: dict[str, DataType] = {"trades": "trade", "klines": "kline", "funding": "funding_rate"}
TYPES: tuple[DataType, ...] = ("trade", "kline", "funding_rate", "open_interest")
"""The record types that some venue has a history of."""


def history_types(names: Iterable[str]) -> tuple[DataType, ...]:
    """Record types by name, as `kline`, `klines` or `funding`. Raises HistoryRefused."""
    found: list[DataType] = []
    for name in names:
        kind = ALIASES.get(name, name)
        if kind not in TYPES:
            raise HistoryRefused(f"no venue has a history of {name!r}; valid types: {', '.join(TYPES)}")
        found.append(kind)
    return tuple(dict.fromkeys(found))


def load_history(
    client: Client,
    hosts: HistoryHosts,
    request: HistoryRequest,
    *,
    keep_days: int | None = None,
    run_id: str = "",
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    complete: Callable[[Sequence[dt.date]], None] = lambda days: None,
) -> HistoriesReport:
    """Load past days. Idempotent; rows read before an error stay, and the day is loaded again.

    An error of the venue or of one file fails those days only. `keep_days` is after how many days the tables delete
    rows. `complete` is called with days as all that was due of them has ended without a failure.
    Raises HistoryRefused before anything is loaded, and StoreAway and StoreFull.
    """
    began = time.monotonic()
    check_request(request, now(), keep_days)
    schema.ensure(client)
    loaded = {} if request.force else _loaded(client)
    units = asyncio.run(
        _load(_Run(client, hosts, venues.find(request.exchange), request, loaded, run_id, now, complete))
    )
    return HistoriesReport(tuple(units), sum(unit.outcome == "unchanged" for unit in units), time.monotonic() - began)


def check_request(request: HistoryRequest, now: dt.datetime, keep_days: int | None = None) -> None:
    """Raise HistoryRefused for what no venue could answer, UnknownExchange for the venue; no request is sent."""
    venue = venues.find(request.exchange)
    if not request.instruments or not request.types or not request.days:
        raise HistoryRefused("instruments, types and days are required: name at least one of each")
    if request.market_type and request.market_type not in venue.markets:
        raise HistoryRefused(f"{venue.title} has no market {request.market_type}; it has {', '.join(venue.markets)}")
    if request.origin not in ORIGINS:
        raise HistoryRefused(f"source {request.origin!r} is none of {', '.join(ORIGINS)}")
    last = (now - SETTLED).date() - dt.timedelta(days=1)
    if max(request.days) > last:
        raise HistoryRefused(
            f"{max(request.days)} is not over, or has just ended: the last day with a complete history is {last}."
            " The collector records the present."
        )
    if keep_days and min(request.days) + dt.timedelta(days=keep_days) <= now.date():
        raise HistoryRefused(
            f"{min(request.days)} would be deleted at once: MARKETDATA_EXCHANGE_KEEP_DAYS keeps {keep_days} days."
            " Raise it, or load later days."
        )


def _check_streams(venue: Venue, instrument: Instrument, request: HistoryRequest) -> None:
    market = venue.markets[instrument.market_type]
    for name in request.types:
        if name not in market.history:
            raise HistoryRefused(
                f"{venue.title} has no history of {name} of {instrument.market_type} markets ({instrument.name});"
                f" it has {', '.join(market.history) or 'none'}. Leave {name} out of the types."
            )
    for interval in request.intervals if "kline" in request.types else ():
        if interval not in market.intervals:
            raise HistoryRefused(
                f"{venue.title} has no candles of {interval} ({instrument.name}); it has {', '.join(market.intervals)}"
            )
    if request.origin == "archive":
        missing = [stream for stream in request.streams if not _archived(venue, instrument, stream, request.days[0])]
        if missing:
            raise HistoryRefused(
                f"{venue.title} has no public archive of {', '.join(missing)} of {instrument.name}: use --source rest"
            )


def _archived(venue: Venue, instrument: Instrument, stream: str, day: dt.date) -> bool:
    return venue.archive is not None and venue.archive.daily_file(instrument, stream, day) is not None


def _loaded(client: Client) -> dict[tuple[str, str], Load]:
    loads = clickhouse_ledger.entries(client, DATASET)
    return {(load.source, load.unit): load for load in loads if load.outcome in ("ok", "empty")}


@dataclass
class _Run:
    """What the steps of a load share."""

    client: Client
    hosts: HistoryHosts
    venue: Venue
    request: HistoryRequest
    loaded: dict[tuple[str, str], Load]
    run_id: str
    now: Callable[[], dt.datetime]
    complete: Callable[[Sequence[dt.date]], None]
    archive: ArchiveClient | None = None


@dataclass
class _Chunk:
    """Neighbouring days of one stream of an instrument, which are requested together."""

    instrument: Instrument
    stream: str
    days: Sequence[dt.date]
    rows: Counter[dt.date] = field(default_factory=Counter)

    @property
    def source(self) -> str:
        """As the ledger names it."""
        return source_of(self.instrument, self.stream)

    @property
    def window(self) -> Window:
        return Window(_midnight(self.days[0]), _midnight(self.days[-1]) + DAY_NS)


def source_of(instrument: Instrument, stream: str) -> str:
    """The name of a stream of an instrument in the ledger and in reports."""
    return f"{instrument.exchange} {instrument.market_type} {instrument.name} {stream}"


async def _load(run: _Run) -> list[HistoryReport]:
    async with AsyncExitStack() as stack:
        clients = await _find(run, stack)
        for instrument, _ in clients:
            _check_streams(run.venue, instrument, run.request)
        if run.venue.archive and run.request.origin != "rest":
            url = run.hosts.urls.get(f"{run.venue.name}-archive") or run.venue.archive.url
            run.archive = await stack.enter_async_context(ArchiveClient(run.venue.name, url, run.hosts.patience))
        work = [(client, chunk) for instrument, client in clients for chunk in _chunks(run, instrument)]
        work.sort(key=lambda one: one[1].days[-1])  # so that days are complete while later ones are loaded
        units: list[HistoryReport] = []
        left = Countdown(chunk.days for _, chunk in work)
        for done, (client, chunk) in enumerate(work):
            report(done, len(work), f"{chunk.source} {chunk.days[0]}")
            ended = await _load_chunk(run, client, chunk)
            run.complete(left.ended(chunk.days, {unit.day for unit in ended if unit.outcome == "failed"}))
            units += ended
    unchanged = [
        HistoryReport(f"{source} {day}", "unchanged", day=day)
        for instrument, _ in clients
        for source in (source_of(instrument, stream) for stream in run.request.streams)
        for day in run.request.days
        if (source, str(day)) in run.loaded
    ]
    return sorted([*units, *unchanged], key=lambda unit: unit.unit)


async def _find(run: _Run, stack: AsyncExitStack) -> list[tuple[Instrument, VenueHistory]]:
    """The requested instruments, each with the client of its market. Raises HistoryRefused."""
    found: dict[str, list[tuple[Instrument, VenueHistory]]] = {name: [] for name in run.request.instruments}
    listed: dict[MarketType, set[str]] = {}
    kept = [name for name, market in run.venue.markets.items() if market.history]
    for market_type in [run.request.market_type] if run.request.market_type else kept:
        if market_type in listed:  # the list of another market had this one too
            continue
        client = await stack.enter_async_context(open_history(run.hosts, run.venue.name, market_type))
        for instrument in await client.listed(run.request.instruments):
            listed.setdefault(instrument.market_type, set()).update((instrument.name, instrument.symbol))
            if run.request.market_type in (None, instrument.market_type):
                for name in {instrument.name, instrument.symbol} & found.keys():
                    found[name].append((instrument, client))
    for name, several in found.items():
        if not several:
            near = get_close_matches(name, set().union(*listed.values()), 1)
            hint = f"did you mean {near[0]}?" if near else 'Use the venue\'s own name or BASE-QUOTE, as "BTC-USDT".'
            raise HistoryRefused(f"{run.venue.title} lists no instrument {name!r} now; {hint}")
        if len(several) > 1:
            markets = ", ".join(f"{one.name} ({one.market_type})" for one, _ in several)
            raise HistoryRefused(f"{name!r} is {markets}: choose one with --market-type, or by the venue's own name")
    return [one for [one] in found.values()]


def _chunks(run: _Run, instrument: Instrument) -> Iterator[_Chunk]:
    """The days that are not loaded yet: of trades and from an archive one by one, else those of a month together."""
    for stream in run.request.streams:
        source = source_of(instrument, stream)
        due = [day for day in sorted(set(run.request.days)) if (source, str(day)) not in run.loaded]
        if stream == "trade" or _from_archive(run, instrument, stream, due):
            yield from (_Chunk(instrument, stream, [day]) for day in due)
            continue
        for _, days in groupby(enumerate(due), lambda one: (one[1].strftime("%Y%m"), one[1].toordinal() - one[0])):
            yield _Chunk(instrument, stream, [day for _, day in days])


def _from_archive(run: _Run, instrument: Instrument, stream: str, days: Sequence[dt.date]) -> bool:
    wanted = run.request.origin == "archive" or (run.request.origin == "auto" and stream in ARCHIVED)
    return wanted and bool(days) and _archived(run.venue, instrument, stream, days[0])


async def _load_chunk(run: _Run, client: VenueHistory, chunk: _Chunk) -> list[HistoryReport]:
    started, batches = run.now(), RecordBatches(run.client, chunk.source)
    origin, digest, error, unsupported = "rest", "", "", ""
    try:
        archived = await _archive_file(run, chunk, batches)
        if archived:
            origin, digest = "archive", archived
        else:
            unsupported = _out_of_reach(run, chunk)
            if not unsupported:
                async for page in _pages(client, chunk):
                    _add(chunk, batches, page.records)
        batches.flush()
        error = batches.fault()
    except (StoreAway, StoreFull):
        raise
    except (MarketDataError, ValueError) as failure:  # a history that has no such instrument or period
        error = str(failure)
        log.warning("history_failed", source=chunk.source, day=str(chunk.days[0]), error=error)
    outcome: Literal["ok", "failed", "unsupported"] = "failed" if error else "unsupported" if unsupported else "ok"
    units = []
    for day in chunk.days:
        rows = 0 if outcome == "failed" else chunk.rows[day]
        ended = "empty" if outcome == "ok" and not rows else outcome
        rejected = batches.rejected + batches.dead_letters if day == chunk.days[-1] else 0
        about = {"rows": rows, "rejected": rejected, "error": error or unsupported or None}
        units.append(HistoryReport(f"{chunk.source} {day}", ended, read=rows, day=day, origin=origin, **about))  # type: ignore[arg-type]
    if outcome != "unsupported":
        _write_ledger(run, chunk, units, digest, started)
    return units


def _out_of_reach(run: _Run, chunk: _Chunk) -> str:
    """Why REST cannot have the days; empty when it can."""
    name: DataType = "kline" if chunk.stream.startswith(CANDLES) else chunk.stream  # type: ignore[assignment]
    market = run.venue.markets[chunk.instrument.market_type]
    days = market.history[name]
    if name == "kline" and market.kept_candles:
        days = market.kept_candles * interval_ns(chunk.stream.removeprefix(CANDLES)) // DAY_NS
    if days is None or chunk.days[0] + dt.timedelta(days=days) > run.now().date():
        return ""
    return f"{run.venue.title} keeps {name} for {days} days, and no public archive has {chunk.days[0]}"


async def _archive_file(run: _Run, chunk: _Chunk, batches: RecordBatches) -> str:
    """Add the records of the archive's file of the day; its checksum, or empty when the archive has none."""
    archive, [day, *_] = run.venue.archive, chunk.days
    if run.archive is None or archive is None or not _from_archive(run, chunk.instrument, chunk.stream, chunk.days):
        return ""
    file = archive.daily_file(chunk.instrument, chunk.stream, day)
    downloaded = await run.archive.download(file.path) if file else None
    if file is None or downloaded is None:
        return ""
    content, digest = downloaded
    with content:
        _add(chunk, batches, file.read(csv_lines(content, file.path), time.time_ns()))
    return digest


def _pages(client: VenueHistory, chunk: _Chunk) -> AsyncIterator[Page]:
    name, window = chunk.instrument.name, chunk.window
    if chunk.stream.startswith(CANDLES):
        return client.klines(name, chunk.stream.removeprefix(CANDLES), window)
    if chunk.stream == "open_interest":
        return client.past_open_interest(name, PERIOD, window)
    return client.funding(name, window) if chunk.stream == "funding_rate" else client.trades(name, window)


def _add(chunk: _Chunk, batches: RecordBatches, outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, Kline):
            batches.add(replace(outcome, closed=True))  # the day is over
            chunk.rows[_day(outcome.open_time)] += 1
            continue
        batches.add(outcome)
        moment = outcome.funding_time if isinstance(outcome, FundingRate) else getattr(outcome, "ts_event", None)
        if moment is not None and not isinstance(outcome, Gap):
            day = _day(moment)
            chunk.rows[day if day in chunk.days else chunk.days[-1]] += 1


def _write_ledger(run: _Run, chunk: _Chunk, units: Sequence[HistoryReport], digest: str, started: dt.datetime) -> None:
    loads = [
        Load(
            dataset=DATASET,
            source=chunk.source,
            unit=str(unit.day),
            content_hash=digest or f"{unit.rows} rows",
            slices=[str(unit.day)],
            read=unit.read,
            rows=unit.rows,
            rejected=unit.rejected,
            origin=unit.origin,
            outcome="failed" if unit.outcome == "failed" else "ok" if unit.rows else "empty",
            attempted_hash=digest or f"{unit.rows} rows",
            error=unit.error,
            code_version=CODE_VERSION,
            run_id=run.run_id,
            started=started,
            finished=run.now(),
        )
        for unit in units
    ]
    if units[0].outcome == "failed":
        clickhouse_ledger.record_attempts(run.client, loads)
    else:
        clickhouse_ledger.record(run.client, loads, clickhouse_ledger.next_version(run.client))


def _midnight(day: dt.date) -> int:
    return int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()) * 1_000_000_000


def _day(moment_ns: int) -> dt.date:
    return dt.datetime.fromtimestamp(moment_ns // 1_000_000_000, dt.UTC).date()


def loaded_days(client: Client) -> tuple[Counter[str], int, dt.date | None]:
    """Days of all streams by outcome of their last attempt, their rows, and the last of them."""
    loads = clickhouse_ledger.entries(client, DATASET)
    newest = max((dt.date.fromisoformat(load.unit) for load in loads), default=None)
    return Counter(str(load.outcome) for load in loads), sum(load.rows for load in loads), newest
