"""Files of the earlier collector: each key is named with what it is now, and the whole is converted."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from typer.main import get_command

from marketdata_assets.cli import app
from marketdata_assets.collector import config, earlier_config
from marketdata_assets.config_files import InvalidConfigFile

SWITCHES = {"clickhouse_direct_write": False, "redis_cache": True, "use_real_exchanges": True, "enable_scheduler": True}
WHOLE = """
collector:
  log_level: INFO
  http_port: 8081
  redis_cache: true
  enable_scheduler: true
  window: 5
nats: {url: "nats://10.0.0.5:4222", stream_name: MARKET_DATA}
clickhouse: {host: 10.0.0.6, port: 9000}
exchanges:
  binance:
    enabled: true
    market_type: spot
    symbols: [BTCUSDT, ETHUSDT]
    data_types: [trade, orderbook, kline]
    reconnect_delay: 5
    ping_interval: 180
  binance_perpetual:
    symbols: [BTCUSDT]
    data_types: [trades, klines, trades]
    depth_limit: 20
    api_key: ""
  deribit: {enabled: false, market_type: perpetual, symbols: [BTC-PERPETUAL]}
  huobi: {symbols: [BTCUSDT]}
"""


def run(path: Path, *flags: str) -> Result:
    return CliRunner().invoke(get_command(app), ["collect", "convert", str(path), *flags], catch_exceptions=False)


@pytest.mark.parametrize("text", [yaml.safe_dump(SWITCHES), yaml.safe_dump({"collector": SWITCHES})])
def test_a_check_names_every_earlier_key_with_what_it_is_now(text: str) -> None:
    with pytest.raises(InvalidConfigFile) as caught:
        config.parse(text, "old.yaml")
    found = str(caught.value)
    for key, now in {
        "clickhouse_direct_write": "now clickhouse.direct_write",
        "redis_cache": "now redis.cache",
        "use_real_exchanges": "without a counterpart: the venues are always the real ones",
        "enable_scheduler": "without a counterpart: what has no stream is always polled",
    }.items():
        [line] = [line for line in found.splitlines() if key in line]
        assert now in line
        assert "marketdata collect convert" in line
    assert "did you mean" not in found


def test_a_name_is_suggested_only_where_one_is_near() -> None:
    with pytest.raises(InvalidConfigFile, match=r"window: unknown key; the keys here are log_level, .*health"):
        config.parse("window: 1\nexchanges: {binance: {}}", "x.yaml")
    with pytest.raises(InvalidConfigFile, match=r"helth: unknown key; did you mean 'health'\?"):
        config.parse("helth: 1\nexchanges: {binance: {}}", "x.yaml")


@pytest.mark.parametrize("text", [yaml.safe_dump(SWITCHES), yaml.safe_dump({"collector": SWITCHES})])
def test_a_converted_file_is_valid_and_says_what_has_no_counterpart(tmp_path: Path, text: str) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(text)
    found = run(path)
    assert found.exit_code == 0, found.stderr
    made = config.parse(found.stdout, "new.yaml")
    assert (made.redis.cache, made.clickhouse.direct_write) == (True, False)
    assert list(made.exchanges) == ["binance", "okx", "deribit"]
    assert "use_real_exchanges: " in found.stderr and "enable_scheduler: " in found.stderr
    assert "redis_cache" not in found.stderr
    as_json = json.loads(run(path, "--json").stdout)
    assert as_json["config"] == yaml.safe_load(found.stdout)
    assert len(as_json["notes"]) == 3


def test_venues_markets_and_types_are_those_of_this_collector(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(WHOLE)
    found = run(path)
    assert found.exit_code == 0, found.stderr
    made = config.parse(found.stdout, "new.yaml")
    assert (made.log_level, made.http.port, made.redis.cache) == ("info", 8081, True)
    assert made.jetstream.stream == "MARKET_DATA"
    assert made.connections.backoff_seconds == 5
    binance, deribit = made.exchanges["binance"], made.exchanges["deribit"]
    assert {name: market.symbols for name, market in binance.markets.items()} == {
        "spot": ["BTCUSDT", "ETHUSDT"], "linear": ["BTCUSDT"],
    }  # fmt: skip
    assert binance.markets["linear"].data_types == ["trade", "kline"]
    assert (deribit.enabled, list(deribit.markets)) == (False, ["inverse"])
    for said in (
        "collector.enable_scheduler: ", "collector.window: no key", "nats.url: ", "MARKETDATA_NATS_URL",
        "clickhouse.host: ", "clickhouse.port: ", "MARKETDATA_CLICKHOUSE_URL", "exchanges.binance.ping_interval: ",
        "exchanges.binance_perpetual.depth_limit: ", "api_key: ", "exchanges.huobi: no venue",
    ):  # fmt: skip
        assert said in " ".join(found.stderr.split())


def test_venues_may_be_a_list(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        "exchanges:\n  configs:\n  - {exchange: okx, market_type: futures, symbols: [BTC-USDT-SWAP]}\n  - bybit\n"
    )
    found = run(path)
    assert found.exit_code == 0, found.stderr
    made = config.parse(found.stdout, "new.yaml")
    assert list(made.exchanges) == ["okx", "bybit"]
    assert made.exchanges["okx"].markets["linear"].symbols == ["BTC-USDT-SWAP"]


def test_a_testnet_is_an_exchange_of_its_own_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        "exchanges:\n  okx: {enabled: false}\n  okx_swap: {testnet: true, symbols: [BTC-USDT-SWAP]}\n"
        "  deribit: {sandbox: 'true', symbols: [BTC-PERPETUAL]}\n  bybit: {testnet: false, symbols: [BTCUSDT]}\n"
    )
    found = run(path)
    assert found.exit_code == 0, found.stderr
    made = config.parse(found.stdout, "new.yaml")
    assert list(made.exchanges) == ["okx", "okx-testnet", "deribit-testnet", "bybit"]
    assert not made.exchanges["okx"].enabled
    assert made.exchanges["okx-testnet"].markets["linear"].symbols == ["BTC-USDT-SWAP"]
    path.write_text("exchanges:\n  kraken: {testnet: true, symbols: [BTC/USD]}\n")
    found = run(path)
    assert (found.exit_code, "kraken-testnet" in found.stderr) == (1, True)


def test_no_symbol_of_a_section_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        "exchanges:\n- {name: binance, market_type: [spot, perpetual], symbols: [BTCUSDT]}\n"
        "- {name: deribit, market_type: options, symbols: [BTC-PERPETUAL, BTC-27JUN25-100000-C]}\n"
        "- {name: okx, market_type: linear, symbols: [BTC-USDT]}\n"
    )
    found = run(path)
    assert found.exit_code == 0, found.stderr
    made = {name: one.markets for name, one in config.parse(found.stdout, "new.yaml").exchanges.items()}
    assert {(name, kind): market.symbols for name, markets in made.items() for kind, market in markets.items()} == {
        ("binance", "spot"): ["BTCUSDT"],
        ("binance", "linear"): ["BTCUSDT"],
        ("deribit", "inverse"): ["BTC-PERPETUAL"],
        ("deribit", "option"): ["BTC-27JUN25-100000-C"],
        ("okx", "linear"): ["BTC-USDT"],
    }
    assert "exchanges.deribit.symbols: BTC-PERPETUAL is of inverse, which is taken, not of options" in " ".join(
        found.stderr.split()
    )
    path.write_text("exchanges:\n  binance: {symbols: [BTCUSDT]}\n  binance: {symbols: [ETHUSDT]}\n")
    found = run(path)
    assert (found.exit_code, "old.yaml:3: exchanges.binance: " in found.stderr) == (1, True), found.stderr


def test_sections_of_one_market_are_united_and_a_disabled_one_is_left_out(tmp_path: Path) -> None:
    """Each order of the sections gives the same, and what cannot be said of a part of the symbols is noted."""
    path = tmp_path / "old.yaml"
    sections = [
        "{exchange: binance, market_type: perpetual, symbols: [BTCUSDT], data_types: [trade], reconnect_delay: 5}",
        "{exchange: binance, market_type: perpetual, symbols: [ETHUSDT, BTCUSDT], data_types: [orderbook]}",
        "{exchange: binance, market_type: spot, symbols: [BTCUSDT], enabled: false, reconnect_delay: 5}",
        "{exchange: okx, market_type: swap, symbols: [BTC-USDT], reconnect_delay: 6}",
    ]
    for order in (sections, sections[::-1]):
        path.write_text("exchanges:\n" + "".join(f"- {one}\n" for one in order))
        found = run(path)
        assert found.exit_code == 0, found.stderr
        binance = config.parse(found.stdout, "new.yaml").exchanges["binance"]
        assert (binance.enabled, list(binance.markets)) == (True, ["linear"])
        linear = binance.markets["linear"]
        assert sorted(linear.symbols) == ["BTCUSDT", "ETHUSDT"]
        assert sorted(linear.data_types or ()) == ["orderbook", "trade"]
        for said in (
            "exchanges.binance: disabled, so spot is left out", "linear.data_types: its sections differ",
            "reconnect_delay: ", "which is taken",
            "of BTC-USDT the name alone does not say the market; linear is taken",
        ):  # fmt: skip
            assert said in " ".join(found.stderr.split())


@pytest.mark.parametrize(
    ("exchange", "word", "symbols", "markets"),
    [
        ("okx", "swap", ["BTC-USDT-SWAP", "BTC-USD-SWAP"], {"linear": ["BTC-USDT-SWAP"], "inverse": ["BTC-USD-SWAP"]}),
        ("deribit", "derivatives", ["BTC_USDC-PERPETUAL"], {"linear": ["BTC_USDC-PERPETUAL"]}),
        ("deribit", "", ["BTC-27JUN25-100000-C"], {"option": ["BTC-27JUN25-100000-C"]}),
        ("bybit", "perpetual", ["BTCUSD", "BTCUSDT"], {"inverse": ["BTCUSD"], "linear": ["BTCUSDT"]}),
        ("binance", "inverse_perpetual", ["BTCUSD_PERP"], {"inverse": ["BTCUSD_PERP"]}),
    ],
)
def test_the_market_is_that_of_the_symbols(
    exchange: str, word: str, symbols: list[str], markets: dict[str, list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump({"exchanges": {exchange: {"market_type": word, "symbols": symbols}}}))
    found = run(path)
    assert (found.exit_code, found.stderr) == (0, "")
    made = config.parse(found.stdout, "new.yaml").exchanges[exchange].markets
    assert {name: market.symbols for name, market in made.items()} == markets


@pytest.mark.parametrize(
    ("text", "exchanges", "said"),
    [
        ("{binance: {}, deribit: false, okx: 'no'}", {"binance": True, "deribit": False, "okx": False}, ""),
        ("{binance: {enabled: 'off'}, okx: {enabled: 1}}", {"binance": False, "okx": True}, ""),
        ("{binance: [BTCUSDT]}", {"binance": {"spot": ["BTCUSDT"]}}, "spot is taken"),
        ("[{binance: {symbols: 'BTCUSDT, ETHUSDT'}}]", {"binance": {"spot": ["BTCUSDT", "ETHUSDT"]}}, "spot is taken"),
        (
            "{Binance: {spot: {symbols: [BTCUSDT]}, perp: {symbols: [ETHUSDT]}}}",
            {"binance": {"spot": ["BTCUSDT"], "linear": ["ETHUSDT"]}},
            "",
        ),
        (
            "{main: {name: binance_perpetual, exchange: binance, symbols: [BTCUSDT]}}",
            {"binance": {"linear": ["BTCUSDT"]}},
            "",
        ),
        ("{main: {exchange: okx, symbols: [BTC-USDT-SWAP]}}", {"okx": {"linear": ["BTC-USDT-SWAP"]}}, ""),
        ("{okx_testnet_swap: {symbols: [BTC-USDT-SWAP]}}", {"okx-testnet": {"linear": ["BTC-USDT-SWAP"]}}, ""),
        ("{okx: {demo: true}}", {"okx-testnet": True}, ""),
        ("{okx-testnet: {markets: {spot: {symbols: [BTC-USDT]}}}}", {"okx-testnet": {"spot": ["BTC-USDT"]}}, ""),
        ("{Binance-Futures: {symbols: [ETHUSDT]}}", {"binance": {"linear": ["ETHUSDT"]}}, ""),
        ("{okx: {}, binance: {enabled: false, spot: [BTCUSDT], swap: true}}", {"okx": True, "binance": False}, ""),
        (
            "{okx: {market_type: spot, base_url: 'https://okx.example/', ws_url: 'wss://okx.example:8443/ws/v5/public'}}",
            {"okx": {"spot": ["BTC-USDT", "ETH-USDT"]}},
            "ws_url: wss://okx.example:8443 is taken",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("below", ["", "collector: "])
def test_a_section_may_be_written_in_other_ways(
    text: str, exchanges: dict[str, Any], said: str, below: str, tmp_path: Path
) -> None:
    """No venue is collected that was off, and no symbol of one that was on is left out."""
    path = tmp_path / "old.yaml"
    path.write_text(f"{below}{{exchanges: {text}}}")
    found = run(path)
    assert found.exit_code == 0, found.stderr
    assert said in " ".join(found.stderr.split()) if said else not found.stderr
    made = config.parse(found.stdout, "new.yaml").exchanges if any(exchanges.values()) else {}
    assert made.keys() == exchanges.keys()
    for name, expected in exchanges.items():
        markets = {kind: market.symbols for kind, market in made[name].markets.items()}
        assert (made[name].enabled if isinstance(expected, bool) else markets) == expected


def test_a_file_of_this_collector_stays_as_it_is(tmp_path: Path) -> None:
    """As one of which a part was converted by hand."""
    path = tmp_path / "new.yaml"
    path.write_text(config.shipped())
    found = run(path)
    assert (found.exit_code, found.stderr) == (0, "")
    assert config.parse(found.stdout, "again.yaml") == config.read(None)
    path.write_text(
        "redis_cache: true\nredis: {host: h, ttl_seconds: 60}\nconnections: {poll_seconds: 5, depth_limit: 3}\n"
        "exchanges: {okx: {markets: {linear: {symbols: [BTC-USDT-SWAP]}}}, bybit: {market_type: inverse}}\n"
    )
    found = run(path)
    assert [line.partition(": ")[0] for line in found.stderr.splitlines()] == ["redis.host", "connections.depth_limit"]
    made = config.parse(found.stdout, "again.yaml")
    assert (made.redis.cache, made.redis.ttl_seconds, made.connections.poll_seconds) == (True, 60, 5)
    assert [list(one.markets) for one in made.exchanges.values()] == [["linear"], ["inverse"]]


def test_a_value_that_is_not_valid_is_named_after_the_file_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("http_port: many\nexchanges: {binance: {symbols: [BTCUSDT], market_type: moon}}\n")
    found = run(path)
    assert found.exit_code == 1
    assert yaml.safe_load(found.stdout)["http"] == {"port": "many"}
    said = " ".join(found.stderr.split())
    assert "http.port" in said and "'moon' is no market" in said
    path.write_text("[]")
    assert run(path).exit_code == 1


def test_every_key_of_a_market_is_converted() -> None:
    assert {*earlier_config.OF_MARKET} == {*config.Market.model_fields}
