"""The collector's file: what it rejects, that every key has an effect, and what the environment changes."""

import asyncio
import json
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from marketdata_assets.collector import assembly, config
from marketdata_assets.collector.config import Config, Variables, parse, read
from marketdata_assets.collector.connections import Timing
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.servers import Servers, find
from marketdata_assets.collector.service import Collector
from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.settings import Settings
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.service_runs import market, running, text_of

SHIPPED = config.shipped()
PROJECT = Path(__file__).parents[2]
PLAIN: dict[str, Any] = {"spot": {"symbols": ["A"], "data_types": ["trade"]}}


def test_the_shipped_file_equals_the_defaults() -> None:
    shipped = read(None)
    assert Config(exchanges=shipped.exchanges) == shipped
    assert set(yaml.safe_load(SHIPPED)) == set(Config.model_fields), "a section that the file does not show"
    assert {name for name, venue in shipped.exchanges.items() if venue.enabled} == {"binance", "okx", "deribit"}


def test_the_shipped_file_shows_every_key() -> None:
    written = yaml.safe_load(SHIPPED)
    shown = {".".join(path) for path, _ in leaves(written)}
    for path, _ in leaves(read(None).model_dump(mode="json")):
        if path[0] != "exchanges" or path[1:4] == ("binance", "markets", "spot"):
            assert ".".join(path) in shown


def test_the_file_beside_the_readme_is_the_shipped_one() -> None:
    assert read(PROJECT / "config" / "collector.yaml") == read(None)


def test_every_changed_key_takes_effect() -> None:
    given = read(None).model_dump(mode="json")
    for path, value in leaves(given):
        if path[-1] in ("book_depth", "book_speed", "book_channel", "trade_channel"):  # of venues that have several
            continue
        changed = json.loads(json.dumps(given))
        section = changed
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = other(path[-1], value)
        try:
            found = parse(json.dumps(changed), "f").model_dump(mode="json")
        except InvalidConfigFile as error:
            pytest.fail(f"{path}: {error}")
        assert found == changed, path
        assert found != given, path


def test_depth_of_books_is_chosen_by_market() -> None:
    market = {"symbols": ["BTCUSDT"], "data_types": ["orderbook"], "book_depth": 1000}
    config = parse(json.dumps({"exchanges": {"bybit": {"markets": {"spot": market}}}}), "f")
    assert config.exchanges["bybit"].markets["spot"].book_depth == 1000


def test_every_key_is_read_by_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By attribute, while a collector with every sink runs, is asked how it is, and ends; no server is needed."""
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        asyncio.run(_collect_noting(venue, tmp_path, monkeypatch))


async def _collect_noting(venue: BinanceVenue, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on: dict[str, Any] = {
        "jetstream": {"enabled": True},
        "clickhouse": {"direct_write": True},
        "redis": {"cache": True},
    }
    on["orderbook_top"] = {"levels": 5}
    on["output"] = {"stdout": True}
    capture = {"enabled": True, "flush_seconds": 0.05}
    quick = {"health": {"start_seconds": 0.01}, "capture": capture, "shutdown_seconds": 1.0}
    text = text_of({"spot": market(venue, ["ABCUSDT"], ["trade", "orderbook"])}, **quick, **on)
    known = {(kind, name) for kind in sections(Config) for name in kind.model_fields}
    seen: set[tuple[type[BaseModel], str]] = set()

    def noting(section: BaseModel, name: str) -> Any:
        if (type(section), name) in known:
            seen.add((type(section), name))
        return object.__getattribute__(section, name)

    for kind in sections(Config):
        monkeypatch.setattr(kind, "__getattribute__", noting)
    urls = {"clickhouse_url": "http://127.0.0.1:9/x", "redis_url": "redis://127.0.0.1:9/0"}
    async with running(text, home, Servers(nats_url="nats://127.0.0.1:9", **urls)) as run:
        await run.subscribed()
        await run.emit(venue, 10)
        await run.until(lambda: run.collector.status().markets[0].last_message_at)
        run.collector.judged()
    unread = {f"{kind.__name__}.{name}" for kind, name in known - seen}
    assert unread == {"Config.log_level"}, "the command line reads that one, see test_collect"


@pytest.mark.parametrize(
    ("variable", "value", "path", "effect"),
    [
        ("enable_okx", False, ("exchanges", "okx", "enabled"), False),
        ("enable_binance", False, ("exchanges", "binance", "enabled"), False),
        ("enable_deribit", False, ("exchanges", "deribit", "enabled"), False),
        ("clickhouse_direct_write", True, ("clickhouse", "direct_write"), True),
        ("redis_cache", True, ("redis", "cache"), True),
        ("log_level", "DEBUG", ("log_level",), "debug"),
        ("http_port", 9000, ("http", "port"), 9000),
        ("symbols", "AUSDT, BUSDT", ("exchanges", "okx", "markets", "linear", "symbols"), ["AUSDT", "BUSDT"]),
    ],
)
def test_variables_override_the_file(variable: str, value: Any, path: tuple[str, ...], effect: Any) -> None:
    found: Any = parse(SHIPPED, "f", Variables(**{variable: value})).model_dump(mode="json")
    for key in path:
        found = found[key]
    assert found == effect


def test_enabling_an_exchange_that_the_file_does_not_have_takes_the_shipped_section() -> None:
    text = text_of(PLAIN)
    assert "okx" not in parse(text, "f", Variables(enable_okx=False)).exchanges
    found = parse(text, "f", Variables(enable_okx=True))
    assert found.exchanges["okx"] == read(None).exchanges["okx"]


@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("LOG_LEVEL", "loud", "^LOG_LEVEL: should be 'debug'.* was 'loud'"),
        ("HTTP_PORT", "70000", "^HTTP_PORT: .*was 70000"),
        ("HTTP_PORT", "http", "^HTTP_PORT: .*was 'http'"),
        ("ENABLE_OKX", "perhaps", "^ENABLE_OKX: .*was 'perhaps'"),
        ("SYMBOLS", ",", "^SYMBOLS: list should have at least 1 item"),
    ],
)
def test_an_invalid_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, cause: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidConfigFile, match=cause):
        parse(SHIPPED, "f", config.environment())


def test_every_variable_is_documented() -> None:
    page = (PROJECT / "docs" / "collector.md").read_text()
    names = ("enable_<venue>" if name.startswith("enable_") else name for name in Variables.model_fields)
    assert [name for name in names if f"`{name.upper()}`" not in page] == []
    assert all(field.description for field in Variables.model_fields.values())


def test_addresses_come_from_variables_then_the_file_of_secrets_then_the_local_stack(tmp_path: Path) -> None:
    file = tmp_path / "secrets.yaml"
    file.write_text("nats_url: nats://file\nredis_url: redis://file\ntoken: file\n")
    file.chmod(0o600)
    local = Servers(nats_url="nats://local", clickhouse_url="http://local")
    settings = Settings(nats_url="nats://env", collector_secrets=file, clickhouse_url=None, redis_url=None)
    assert find(settings, Variables(nats_url="nats://old"), local) == Servers(
        nats_url="nats://env", clickhouse_url="http://local", redis_url="redis://file", token="file"
    )
    unset = Settings(nats_url=None, clickhouse_url=None, redis_url=None, collector_token="canary")
    assert find(unset, Variables(nats_url="nats://old"), local).nats_url == "nats://old"
    found = find(unset, Variables(nats_url=None), local)
    assert (found.nats_url, found.token) == ("nats://local", "canary")
    assert "canary" not in repr(found)
    assert "canary" not in repr(unset)


def test_enabled_sinks() -> None:
    def meant(servers: Servers, **sections: Any) -> tuple[str, ...]:
        return assembly.enabled_sinks(parse(text_of(PLAIN, **sections), "f"), servers)

    nats, house = Servers(nats_url="nats://x"), Servers(clickhouse_url="http://x/y")
    assert meant(Servers()) == ("capture",)
    assert meant(nats) == ("jetstream",)
    assert meant(nats, jetstream={"enabled": False}) == ("capture",)
    assert meant(nats, capture={"enabled": True}) == ("jetstream", "capture")
    assert meant(house, clickhouse={"direct_write": True}) == ("clickhouse",)
    assert meant(Servers(redis_url="redis://x"), redis={"cache": True}) == ("redis", "capture")


@pytest.mark.parametrize(
    ("key", "urls"),
    [
        ("nats_url", ["http://me:canary@h:1", "canary", "nats://me:canary@h:port", "nats://", "nats://me:canary@[h"]),
        ("clickhouse_url", ["me:canary@h", "nats://canary@h", "http://me:canary@h:99999/x"]),
        ("redis_url", ["http://:canary@h", "redis://:canary@h:port/0"]),
    ],
)
def test_an_invalid_address_is_named_and_not_shown(tmp_path: Path, key: str, urls: list[str]) -> None:
    on: dict[str, Any] = {
        "nats_url": {"jetstream": {"enabled": True}},
        "clickhouse_url": {"clickhouse": {"direct_write": True}},
        "redis_url": {"redis": {"cache": True}},
    }[key]
    found = parse(text_of(PLAIN, **on), "f")
    places = assembly.Places(tmp_path / "own", tmp_path / "budgets", tmp_path / "captures")
    for url in urls:
        with pytest.raises(CollectorError, match=f"MARKETDATA_{key.upper()}, or {key}") as caught:
            Collector(found, Servers(**{key: url}), places)
        assert "canary" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_connection_settings_reach_the_connections() -> None:
    values = {
        "backoff_seconds": 1.5,
        "longest_backoff_seconds": 7.0,
        "age_seconds": 8.0,
        "silence_seconds": {"trade": 9.0},
        "snapshot_seconds": 10.0,
        "book_checkpoint_seconds": 12.0,
        "book_checkpoint_updates": 13,
        "poll_seconds": 11.0,
        "listing_hours": 2.0,
    }
    found = parse(text_of(PLAIN, connections=values), "f")
    timing = assembly.timing_of(found.connections)
    assert (timing.backoff, timing.longest_backoff, timing.age, timing.snapshot) == (1.5, 7.0, 8.0, 10.0)
    assert (timing.silence, timing.listing) == ({"trade": 9.0}, 7200.0)
    assert (timing.book_checkpoint, timing.book_checkpoint_updates) == (12.0, 13)
    assert set(timing.polls.values()) == {11.0}
    usual = assembly.timing_of(read(None).connections)
    assert usual == Timing(), "the shipped file has the defaults of the code"


def leaves(section: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            found += leaves(value, (*path, key))
        else:
            found.append(((*path, key), value))
    return found


def other(key: str, value: Any) -> Any:
    """Another value that makes sense."""
    special = {
        "log_level": "debug",
        "enabled": not value if isinstance(value, bool) else True,
        "ws_url": "wss://other.example",
        "base_url": "https://other.example",
        "folder": "/somewhere",
        "proxy": "http://proxy:3128",
        "age_seconds": 5.0,
        "silence_seconds": {"trade": 5.0},
        "symbols": ["XYZ"],
        "data_types": ["trade"],
        "kline_intervals": ["1h"],
        "queue_share": 0.5,
        "sinks": [{"python": "a:b", "types": ["trade"], "options": {"c": 1}, "queue_items": 9, "batch_items": 8}],
    }
    if key in special and not (key == "silence_seconds" and value):
        return special[key]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else "other"


def sections(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """A section's class and those of the sections below it."""
    found = {kind}
    for field in kind.model_fields.values():
        below = get_args(field.annotation)[1] if get_origin(field.annotation) is dict else field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            found |= sections(below)
    return found
