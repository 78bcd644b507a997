"""`marketdata collect`: the live collector in this process, and what its configuration comes to."""

import asyncio
import signal
import sys
from contextlib import ExitStack, nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from marketdata_assets import config_files, logs
from marketdata_assets.cli import output
from marketdata_assets.cli.arguments import existing_files
from marketdata_assets.collector import config as configuration
from marketdata_assets.collector import earlier_config
from marketdata_assets.collector import servers as places_of_servers
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.servers import Servers
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.venue import SIMULATED
from marketdata_assets.local.endpoints import exchange_budgets, resolve
from marketdata_assets.secret_values import without_password
from marketdata_assets.settings import Settings
from marketdata_assets.standard_streams import service

if TYPE_CHECKING:
    from marketdata_assets.collector.assembly import PatternMatches
    from marketdata_assets.collector.service import Collector
    from marketdata_assets.collector.status import Report

EXTRA = ("picows", "aiohttp", "prometheus_client", "redis")
NONE = "none"
STDOUT = "-"
SHOWN = 5
"""Instruments of a pattern that `check` names; `--json` has all."""

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML; default is the file of the package")]


def collect(
    context: typer.Context,
    config: ConfigFile = None,
    duration: Annotated[float | None, typer.Option(min=0.0, help="stop after so many seconds")] = None,
    shard: Annotated[str, typer.Option(help="part of the instruments, as 1/2")] = "1/1",
    to: Annotated[str, typer.Option("--output", help="- writes records as lines of JSON to stdout")] = "",
    simulated: Annotated[
        bool, typer.Option("--simulated", help="collect invented markets of simulated venues on this machine instead")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as one JSON object")] = False,
) -> None:
    """Collect live market data until SIGTERM or Ctrl-C.

    Then it delivers everything it holds, and ends. With --simulated it needs no network: each market of the
    configuration is a simulated venue in this process, and its records are of the exchange <venue>-simulated.
    """
    if context.invoked_subcommand is None:
        try:
            with service(), ExitStack() as simulators:
                collector = _made(config, shard, to, simulators if simulated else None)
                report = asyncio.run(_run(collector, duration))
        except asyncio.CancelledError:
            output.fail("stopped immediately; the next start records undelivered data as a gap")
            raise typer.Exit(1) from None
        with redirect_stdout(sys.stderr) if collector.config.output.stdout else nullcontext():
            _tell(report, as_json)


def check(
    config: ConfigFile = None,
    shard: Annotated[str, typer.Option(help="part of the instruments, as 1/2")] = "1/1",
    as_json: output.Json = False,
) -> None:
    """Print the effective configuration, without secrets.

    Environment variables are included. Patterns of symbols are matched with the venues' instrument lists.
    """
    found, servers = _read(config)
    with Needed():
        from marketdata_assets.collector import assembly
        from marketdata_assets.collector.connections import Shard
    of = Shard.read(shard)
    assembly.check(found, servers, of)
    patterns = asyncio.run(assembly.match_patterns(found, exchange_budgets(Settings())))
    assembly.check_subscriptions(found, patterns, of)
    values = found.model_dump(mode="json")
    about = {
        "nats": without_password(servers.nats_url or NONE),
        "clickhouse": without_password(servers.clickhouse_url or NONE),
        "redis": without_password(servers.redis_url or NONE),
        "token": "set" if servers.token else "not set",
        "sinks": ", ".join(assembly.enabled_sinks(found, servers)),
    }
    if as_json:
        output.as_json({"config": values, "servers": about, "patterns": [asdict(one) for one in patterns]})
        return
    for name, value in about.items():
        output.console().print(f"# {name}: {value}")
    for market in patterns:
        _tell_matches(market)
    output.console().print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")


def _tell_matches(market: "PatternMatches") -> None:
    name = f"{market.exchange} {market.market_type}"
    if market.unknown:
        output.console().print(f"# {name}: patterns not matched, {market.unknown}")
    for pattern, names in market.matched.items():
        more = ", ..." if len(names) > SHOWN else ""
        output.console().print(f"# {name}: {pattern} matches {len(names):,}: {', '.join(names[:SHOWN])}{more}")


def convert(
    file: Annotated[Path, typer.Argument(help="YAML of the earlier collector, MarketPrism's")],
    as_json: output.Json = False,
) -> None:
    """Print a configuration of the earlier collector as one of this collector.

    What has no counterpart is printed to standard error. Exits with 1 when a value that was taken over is not valid.
    """
    existing_files([file], "FILE")
    document = config_files.read(file)
    if not isinstance(document.data, dict):
        document.check([((), "expected a section; a configuration of a collector has keys")])
    document.check([])  # what is written twice
    fields = configuration.Config.model_fields
    current = {name: getattr(one.annotation, "model_fields", ()) for name, one in fields.items()}
    made = earlier_config.convert(document.data, configuration.read(None).exchanges, current)
    text = yaml.safe_dump(made.values, sort_keys=False, allow_unicode=True)
    if as_json:
        output.as_json({"config": made.values, "notes": made.notes})
    else:
        sys.stdout.write(text)
    for note in made.notes if not as_json else ():
        output.notes().print(note)
    configuration.parse(text, f"{file}, converted")


def metrics() -> None:
    """Print the table of all metrics, as in the documentation."""
    with Needed():
        from marketdata_assets.collector.metrics import table
    sys.stdout.write(table())


class Needed:
    """Says which package is missing instead of showing where it was imported."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, ModuleNotFoundError) and error.name in EXTRA:
            raise CollectorError(
                f"{error.name} is not installed; run: pip install 'marketdata-assets[live]'"
            ) from error


def _read(file: Path | None) -> tuple[configuration.Config, Servers]:
    overrides, settings = configuration.environment(), Settings()
    existing_files([file] if file else (), "--config")
    HistoryHosts(exchange_budgets(settings), settings.exchange_hosts)  # raises where a host is wrong
    local = resolve(settings)
    stack = Servers(nats_url=local.nats_url, clickhouse_url=local.clickhouse_url)
    return configuration.read(file, overrides), places_of_servers.find(settings, overrides, stack)


def _made(file: Path | None, shard: str, to: str, simulators: ExitStack | None) -> "Collector":
    if to not in ("", STDOUT):
        cause = f"{to!r} is not -, the standard output. Other programs read records from JetStream, or a Python sink"
        raise typer.BadParameter(cause, param_hint="--output")
    found, servers = _read(file)
    if to:
        found = found.model_copy(update={"output": found.output.model_copy(update={"stdout": True})})
    with Needed():
        from marketdata_assets.collector.assembly import Places
        from marketdata_assets.collector.connections import Shard
        from marketdata_assets.collector.service import Collector
    settings = Settings()
    logs.configure(settings.log_format, found.log_level.upper())
    own = "collector"
    if simulators is not None:
        own, found = "collector-simulated", simulate(found, simulators)
        _tell_simulated(found, servers, settings)
    places = Places(settings.root / own, exchange_budgets(settings), settings.captures_folder)
    return Collector(found, servers, places, Shard.read(shard))


def simulate(found: configuration.Config, simulators: ExitStack) -> configuration.Config:
    """The configuration with simulated venues, which end with `simulators`, instead of its own.

    Raises CollectorError for a market that is not simulated.
    """
    markets: dict[Exchange, dict[MarketType, configuration.Market]] = {}
    for exchange, market_type, market in found.markets():
        simulator = venues.find(venues.main_of(exchange)).simulator
        known = resolve_name(simulator) if simulator else None
        if known is None or market_type not in known.invented:
            raise CollectorError(f"{exchange} {market_type} has no simulated venue; take it out of the configuration")
        venue = simulators.enter_context(known.by_itself(market_type))
        place = {"symbols": [*venue.markets], "ws_url": venue.ws_url, "base_url": venue.url}
        own = markets.setdefault(f"{venues.main_of(exchange)}-{SIMULATED}", {})
        own[market_type] = configuration.Market(data_types=market.data_types, **place)
    exchanges = {name: configuration.Venue(markets=own) for name, own in markets.items()}
    return found.model_copy(update={"exchanges": exchanges})


def _tell_simulated(found: configuration.Config, servers: Servers, settings: Settings) -> None:
    """Say what is invented, and where its records go."""
    from marketdata_assets.collector.assembly import enabled_sinks

    for exchange, market_type, market in found.markets():
        output.notes().print(f"{exchange} {market_type}: {', '.join(market.symbols)} at {market.base_url}")
    captures = found.capture.folder or settings.captures_folder
    into = {
        "jetstream": f"the stream {found.jetstream.stream}, which marketdata drain loads into the tables exchange_*",
        "clickhouse": "the tables exchange_*",
        "capture": f"{captures}, which marketdata ingest captures loads into the tables exchange_*",
    }
    for name in enabled_sinks(found, servers):
        output.notes().print(f"invented records go into {into.get(name, name)}")


async def _run(collector: "Collector", duration: float | None) -> "Report":
    """Run until a signal; a second one does not wait for records that are not delivered yet."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()
    assert running

    def on_signal() -> None:
        if stop.is_set():
            running.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return await collector.run(stop, duration)


def _tell(report: "Report", as_json: bool) -> None:
    if as_json:
        output.as_json(report.as_dict())
    else:
        kinds = " ".join(f"{name}={count:,}" for name, count in report.records.items())
        for name, sink in report.sinks.items():
            waits = f", {sink.spooled:,} spooled on disk" if sink.spooled else ""
            output.console().print(f"{name:10} {sink.acked:,} safe, {sink.dropped:,} in gaps{waits}")
        output.console().print(
            f"{report.messages:,} messages of {report.seconds:,.1f} s, {sum(report.records.values()):,} records"
            f" ({kinds}), {report.gaps:,} gaps, {sum(report.errors.values()):,} errors"
        )
    if report.remaining:
        output.fail(f"{report.remaining:,} items could not be delivered in time; the next start records them as a gap")
        raise typer.Exit(1)


application = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False, add_completion=False)
application.callback()(collect)
application.command("check")(check)
application.command("convert")(convert)
application.command("metrics")(metrics)
