"""From the configuration to sinks and markets. Running them is the business of `service`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Any

from marketdata_assets.collector.config import Config
from marketdata_assets.collector.config import Connections as ConnectionsConfig
from marketdata_assets.collector.config import Market as MarketConfig
from marketdata_assets.collector.connections import Market, Shard, Timing, UnknownDataTypes, speaker_of
from marketdata_assets.collector.connections.intake import OnRecords, OnTrouble, OnWire
from marketdata_assets.collector.errors import NoSink
from marketdata_assets.collector.items import moment
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.lag import Lag
from marketdata_assets.collector.queue import BoundedQueue, SnapshotOf
from marketdata_assets.collector.servers import Servers, check_address
from marketdata_assets.collector.sink import Sink
from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.exchanges.records import Exchange, MarketType

MB = 1 << 20
GB = 1 << 30
WHOLE = Shard(1, 1)
ADDRESSES = {"jetstream": "nats_url", "clickhouse": "clickhouse_url", "redis": "redis_url"}
"""What a sink needs of the servers."""


@dataclass(frozen=True)
class Places:
    """Folders: of what the collector keeps for itself, of budgets that all processes share, and of captures."""

    own: Path
    budgets: Path
    captures: Path


@dataclass(frozen=True)
class Outlet:
    """A sink, and the lag that it writes to."""

    sink: Sink
    lag: Lag


def which(config: Config, servers: Servers) -> tuple[str, ...]:
    """The sinks that the configuration and the servers mean together. Raises NoSink."""
    wanted = {
        "jetstream": config.jetstream.enabled is True or (config.jetstream.enabled == "auto" and servers.nats_url),
        "clickhouse": config.clickhouse.direct_write,
        "redis": config.redis.cache,
    }
    for name, key, url, variable in (
        ("jetstream", "jetstream.enabled", servers.nats_url, "MARKETDATA_NATS_URL"),
        ("clickhouse", "clickhouse.direct_write", servers.clickhouse_url, "MARKETDATA_CLICKHOUSE_URL"),
        ("redis", "redis.cache", servers.redis_url, "MARKETDATA_REDIS_URL"),
    ):
        if wanted[name] and not url:
            local = "" if name == "redis" else ", or run the local stack (marketdata up)"
            raise NoSink(key, f"is on, and there is no server. Set {variable}{local}.")
    kept = wanted["jetstream"] or wanted["clickhouse"]
    capture = config.capture.enabled is True or (config.capture.enabled == "auto" and not kept)
    if not kept and not capture:
        raise NoSink("capture.enabled", "is off, and nothing else keeps what comes. Turn a sink on besides redis.")
    return tuple(name for name, on in (*wanted.items(), ("capture", capture)) if on)


def outlets(config: Config, servers: Servers, places: Places, shard: Shard, snapshot_of: SnapshotOf) -> list[Outlet]:
    """The sinks, not running yet. Raises NoSink, and what a sink says of its server's address."""
    makers: dict[str, Callable[[Lag], Sink]] = {
        "jetstream": lambda lag: _jetstream(config, servers, places, shard, snapshot_of, lag),
        "clickhouse": lambda lag: _clickhouse(config, servers, places, shard, snapshot_of, lag),
        "redis": lambda lag: _redis(config, servers, lag),
        "capture": lambda lag: _capture(config, places, shard, lag),
    }
    made = []
    for name in which(config, servers):
        lag = Lag()
        made.append(Outlet(makers[name](lag), lag))
    return made


def market(
    exchange: Exchange,
    market_type: MarketType,
    wanted: MarketConfig,
    timing: Timing,
    places: Places,
    shard: Shard,
    since: int | None,
    on_records: OnRecords,
    on_trouble: OnTrouble,
    on_wire: OnWire | None,
) -> Market:
    """One market, not running yet. Raises UnknownDataTypes."""
    speaker = speaker_of(
        exchange,
        market_type,
        rest_url=wanted.base_url,
        socket_url=wanted.ws_url,
        intervals=wanted.kline_intervals,
    )
    return Market(
        speaker,
        wanted.symbols,
        wanted.data_types,
        budgets=places.budgets,
        on_records=on_records,
        on_trouble=on_trouble,
        on_wire=on_wire,
        shard=shard,
        timing=timing,
        since=since,
    )


def check(config: Config, servers: Servers) -> None:
    """What can be said of a configuration without a network. Raises NoSink, BadServer, UnknownDataTypes."""
    for name in which(config, servers):
        if name in ADDRESSES:
            check_address(servers, ADDRESSES[name])
    for exchange, market_type, wanted in config.markets():
        known = speaker_of(exchange, market_type, intervals=wanted.kline_intervals).data_types
        if unknown := [one for one in wanted.data_types if one not in known]:
            raise UnknownDataTypes(f"{exchange} {market_type}", unknown, known)


def timing_of(wanted: ConnectionsConfig) -> Timing:
    """The seconds that connections go by, those that nobody configures as they are."""
    usual = Timing()
    return Timing(
        backoff=wanted.backoff_seconds,
        longest_backoff=wanted.longest_backoff_seconds,
        age=wanted.age_seconds,
        silence=_by_name(wanted.silence_seconds),
        snapshot=wanted.snapshot_seconds,
        polls=dict.fromkeys(usual.polls, wanted.poll_seconds),
        listing=wanted.listing_hours * 3600.0,
    )


def own_folder(places: Places, name: str, shard: Shard) -> Path:
    """A folder that only one shard uses."""
    return places.own / (name if shard == WHOLE else f"{name}-{shard.index}-of-{shard.count}")


def _by_name(seconds: Mapping[Any, float]) -> dict[str, float]:
    return dict(seconds)


def _redis(config: Config, servers: Servers, lag: Lag) -> Sink:
    from marketdata_assets.collector.sinks import redis

    one = config.redis
    return redis.RedisSink(
        redis.connect(servers.redis_url or ""),
        prefix=one.prefix,
        ttl_seconds=one.ttl_seconds,
        flush_seconds=one.flush_seconds,
        lag=lag,
    )


def _capture(config: Config, places: Places, shard: Shard, lag: Lag) -> CaptureSink:
    one = config.capture
    folder = one.folder or places.captures
    return CaptureSink(
        # The captures of a folder are read one after the other.
        folder if shard == WHOLE else folder / f"{shard.index}-of-{shard.count}",
        flush_seconds=one.flush_seconds,
        file_bytes=one.file_megabytes * MB,
        file_seconds=one.file_minutes * 60.0,
        buffer_bytes=one.buffer_megabytes * MB,
        lag=lag,
    )


def _jetstream(
    config: Config, servers: Servers, places: Places, shard: Shard, snapshot_of: SnapshotOf, lag: Lag
) -> Sink:
    from marketdata_assets.collector.jetstream.publisher import Publisher
    from marketdata_assets.collector.jetstream.stream import Stream, Wanted, ensure

    one, url = config.jetstream, servers.nats_url or ""
    wanted = Wanted(
        Stream(
            name=one.stream,
            max_bytes=round(one.max_gigabytes * GB),
            max_age_seconds=one.max_age_hours * 3600.0,
            duplicate_seconds=one.duplicate_window_seconds,
        )
    )
    return Publisher(
        url,
        BoundedQueue(one.queue_items, snapshot_of),
        Spool(own_folder(places, "jetstream", shard), round(one.spool_gigabytes * GB)),
        prepare=lambda: ensure(url, wanted),
        on_acked=lambda acked: lag.observe_since((moment(item.record) for item in acked), time_ns()),
    )


def _clickhouse(
    config: Config, servers: Servers, places: Places, shard: Shard, snapshot_of: SnapshotOf, lag: Lag
) -> Sink:
    from marketdata_assets.collector.sinks.clickhouse import ClickHouseSink

    one = config.clickhouse
    return ClickHouseSink(
        servers.clickhouse_url or "",
        Spool(own_folder(places, "clickhouse", shard), round(one.spool_gigabytes * GB)),
        snapshot_of,
        queue_items=one.queue_items,
        batch_rows=one.batch_rows,
        batch_seconds=one.batch_seconds,
        lag=lag,
    )
