"""Check the configuration and create sinks from it. `service` creates the markets, and runs both."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from marketdata_assets.budget import BudgetPlace
from marketdata_assets.collector.config import Config, Connections, Market, PythonSink
from marketdata_assets.collector.connections import Network, Shard, Timing, adapter_for
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.items import TopOf
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.queue import BoundedQueue, SnapshotOf
from marketdata_assets.collector.servers import Servers, check_address
from marketdata_assets.collector.shard_files import open_spool, report_unused_spools
from marketdata_assets.collector.sink import Sink
from marketdata_assets.collector.sinks import python, stdout
from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.collector.symbols import EXCLUDE, is_pattern, resolve_symbols
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.venue_adapter import REQUEST_ERRORS, Request, VenueAdapter, request_list
from marketdata_assets.http_client import RetryPolicy

KB = 1 << 10
MB = 1 << 20
GB = 1 << 30
WHOLE = Shard(1, 1)
PATIENCE = RetryPolicy(timeout=10.0, max_retries=2)
SWITCHES = {"jetstream": "enabled", "clickhouse": "direct_write", "redis": "cache"}
"""By sink, what enables it in its part of the configuration."""
ADDRESSES = {"jetstream": "nats_url", "clickhouse": "clickhouse_url", "redis": "redis_url"}
"""The server that a sink needs."""


@dataclass(frozen=True)
class Places:
    """The folders of the collector's own files and of captures, and the budgets that all processes share."""

    own: Path
    budgets: BudgetPlace
    captures: Path


def enabled_sinks(config: Config, servers: Servers) -> tuple[str, ...]:
    """The names of the sinks that the configuration and the servers enable. Raises CollectorError."""
    wanted = {
        "jetstream": config.jetstream.enabled is True or (config.jetstream.enabled == "auto" and servers.nats_url),
        "clickhouse": config.clickhouse.direct_write,
        "redis": config.redis.cache,
    }
    for name, switch in SWITCHES.items():
        address = ADDRESSES[name]
        if wanted[name] and not getattr(servers, address):
            local = "" if name == "redis" else ", or run the local stack (marketdata up)"
            cause = f"{name}.{switch}: is enabled, but no server is set"
            raise CollectorError(f"{cause}. Set MARKETDATA_{address.upper()}{local}.")
    kept = wanted["jetstream"] or wanted["clickhouse"]
    capture = config.capture.enabled is True or (config.capture.enabled == "auto" and not kept)
    others = [*([stdout.NAME] if config.output.stdout else []), *_names(config.sinks)]
    if not kept and not capture and not others:
        raise CollectorError(
            "capture.enabled: is disabled, and no other sink keeps the data. Enable a sink besides redis."
        )
    return (*(name for name, on in (*wanted.items(), ("capture", capture)) if on), *others)


def sinks(
    config: Config, servers: Servers, places: Places, shard: Shard, snapshot_of: SnapshotOf, top_of: TopOf
) -> list[Sink]:
    """The sinks, not running yet. Raises CollectorError."""
    names = enabled_sinks(config, servers)
    own = [name for name in names if name in (*ADDRESSES, "capture", stdout.NAME)]
    made = [_sink(name, config, servers, places, shard, snapshot_of, top_of) for name in own]
    if shard.index == 1:
        report_unused_spools(places.own, names)
    named = zip(_names(config.sinks), config.sinks, strict=True)
    return [*made, *(python.PythonSink(name, one, snapshot_of) for name, one in named)]


def check(config: Config, servers: Servers, shard: Shard = WHOLE) -> None:
    """Check a configuration without network access. Raises CollectorError."""
    check_subscriptions(config, (), shard)
    for name in enabled_sinks(config, servers):
        if name in ADDRESSES:
            check_address(servers, ADDRESSES[name])
    for one in config.sinks:
        python.load(one.python)


@dataclass(frozen=True)
class PatternMatches:
    """The patterns of one market, and its `instruments`, of patterns and others. `unknown` says why the list is not
    known; then nothing else is.
    """

    exchange: Exchange
    market_type: MarketType
    matched: dict[str, list[str]] = field(default_factory=dict)  # the venue's names, by pattern
    problems: dict[str, str] = field(default_factory=dict)  # by symbol or pattern
    unknown: str = ""
    instruments: int = 0


def check_subscriptions(config: Config, matches: Iterable[PatternMatches], shard: Shard = WHOLE) -> None:
    """Compare what is to be subscribed with what an address may have. Raises CollectorError with the numbers.

    Symbols count as instruments, patterns as they match; shards as if each had its part.
    """
    matched = {(one.exchange, one.market_type): one.instruments for one in matches}
    needed: dict[Exchange, list[tuple[str, int, int]]] = {}
    for exchange, market_type, market in config.markets():
        adapter = adapter_of(exchange, market_type, market)
        if (most := adapter.address_subscriptions) is None:
            continue
        exact = sum(not (is_pattern(one) or one.startswith(EXCLUDE)) for one in market.symbols)
        any_of_them = Instrument(exchange, market_type, "ABC", "ABC-USD", "ABC", "USD", "base")
        each = len(adapter.subscriptions(any_of_them, market.data_types))
        markets = needed.setdefault(exchange, [])
        markets.append((market_type, matched.get((exchange, market_type), exact), each))
        total = sum(count * each for _, count, each in markets)
        if total > most * shard.count:
            sums = " and ".join(f"{count:,} instruments of {name} with {each} each" for name, count, each in markets)
            raise CollectorError(
                f"exchanges.{exchange}.markets: {sums} are {total:,} subscriptions; {most:,} can be planned for an"
                f" address{f', {shard.count} shards have {most * shard.count:,}' if shard.count > 1 else ''}. Name"
                " fewer symbols or data_types, or start shards on hosts with addresses of their own (--shard)."
            )


async def match_patterns(config: Config, budgets: BudgetPlace) -> list[PatternMatches]:
    """Ask the venues for their lists, where symbols have patterns. Raises CollectorError for what they reject."""
    markets = [one for one in config.markets() if any(map(is_pattern, one[2].symbols))]
    found = await asyncio.gather(*(_match(*one, budgets) for one in markets))
    wrong = [
        f"exchanges.{one.exchange}.markets.{one.market_type}.symbols: {symbol} {why}"
        for one in found
        for symbol, why in one.problems.items()
    ]
    if wrong:
        raise CollectorError("\n".join(wrong))
    return found


async def _match(exchange: Exchange, market_type: MarketType, market: Market, budgets: BudgetPlace) -> PatternMatches:
    adapter = adapter_of(exchange, market_type, market)
    feed = adapter.feed()

    async def ask(request: Request) -> bytes:
        answer = await rest.get(request.path, request.params, lane=request.lane, cost=request.cost)
        feed.answer(answer.url, answer.raw, answer.ts_recv)
        return answer.raw

    try:
        async with adapter.rest(budgets, PATIENCE) as rest:
            await request_list(adapter, feed.instruments, ask, market.symbols)
    except REQUEST_ERRORS as error:
        return PatternMatches(exchange, market_type, unknown=str(error))
    dollars, most = market.match_dollar_quotes, market.max_instruments
    known = feed.instruments.known
    found = resolve_symbols(known, market_type, market.symbols, match_dollar_quotes=dollars, most=most)
    problems = found.rejected | ({} if dollars else found.problems)
    return PatternMatches(exchange, market_type, found.matched, problems, instruments=len(found.instruments))


def adapter_of(exchange: Exchange, market_type: MarketType, market: Market) -> VenueAdapter:
    """The adapter of a market with the options of its configuration."""
    options = {"intervals": market.kline_intervals, "depth": market.book_depth, "choices": market.choices}
    return adapter_for(exchange, market_type, rest_url=market.base_url, socket_url=market.ws_url, **options)  # type: ignore[arg-type]


def network_of(config: Config, exchange: str) -> Network:
    """How the connections to a venue are made."""
    return Network(config.exchanges[exchange].proxy, config.connections.receive_kilobytes * KB)


def timing_of(wanted: Connections) -> Timing:
    """The durations of connections: those of the configuration, and defaults for the others."""
    return Timing(
        backoff=wanted.backoff_seconds,
        longest_backoff=wanted.longest_backoff_seconds,
        age=wanted.age_seconds,
        silence={str(tag): seconds for tag, seconds in wanted.silence_seconds.items()},
        snapshot=wanted.snapshot_seconds,
        book_checkpoint=wanted.book_checkpoint_seconds,
        book_checkpoint_updates=wanted.book_checkpoint_updates,
        polls=dict.fromkeys(Timing().polls, wanted.poll_seconds),
        listing=wanted.listing_hours * 3600.0,
        pattern_listing=wanted.pattern_seconds,
    )


def _sink(
    name: str, config: Config, servers: Servers, places: Places, shard: Shard, snapshot_of: SnapshotOf, top_of: TopOf
) -> Sink:
    """A sink that is not the user's; what only one of them needs is imported for it alone."""

    def spool(gigabytes: float) -> Spool:
        return open_spool(places.own, name, shard, round(gigabytes * GB))

    match name:
        case "jetstream":
            from marketdata_assets.collector.jetstream.publisher import Publisher
            from marketdata_assets.collector.jetstream.stream import Stream, ensure

            wanted, url = config.jetstream, servers.nats_url or ""
            stream = Stream(
                name=wanted.stream,
                max_bytes=round(wanted.max_gigabytes * GB),
                max_age_seconds=wanted.max_age_hours * 3600.0,
                duplicate_seconds=wanted.duplicate_window_seconds,
            )
            queue = BoundedQueue(wanted.queue_items, snapshot_of)
            return Publisher(url, queue, spool(wanted.spool_gigabytes), prepare=lambda: ensure(url, stream))
        case "clickhouse":
            from marketdata_assets.collector.sinks.clickhouse import ClickHouseSink

            direct, url = config.clickhouse, servers.clickhouse_url or ""
            return ClickHouseSink(url, spool(direct.spool_gigabytes), snapshot_of, direct)
        case "redis":
            from marketdata_assets.collector.sinks import redis

            return redis.RedisSink(redis.connect(servers.redis_url or ""), top_of, config.redis)
        case "capture":
            files, folder = config.capture, config.capture.folder or places.captures
            return CaptureSink(
                # The captures of one folder are loaded one after the other.
                folder if shard == WHOLE else folder / f"{shard.index}-of-{shard.count}",
                flush_seconds=files.flush_seconds,
                file_bytes=files.file_megabytes * MB,
                file_seconds=files.file_minutes * 60.0,
                buffer_bytes=files.buffer_megabytes * MB,
            )
        case stdout.NAME:
            return stdout.StdoutSink(snapshot_of, queue_items=config.output.queue_items)
    raise AssertionError(name)


def _names(configs: Sequence[PythonSink]) -> list[str]:
    """The names of the Python sinks; those of the same class are numbered."""
    paths = [one.python for one in configs]
    numbers = [paths[:index].count(path) + 1 for index, path in enumerate(paths)]
    return [f"python {path}{f' {n}' if n > 1 else ''}" for path, n in zip(paths, numbers, strict=True)]
