"""The commands by name, and the one place where an error of ours becomes a message and an exit code."""

from typing import Any

import typer
from typer.core import TyperGroup

from marketdata_assets.cli import (
    alphas,
    backup,
    bars,
    brain,
    collect,
    demo,
    doctor,
    exchanges,
    execute,
    flows,
    metrics,
    output,
    quarantine,
    replay,
    status,
    symbols,
    ticks,
    up,
)
from marketdata_assets.cli.many import ManyValues
from marketdata_assets.errors import MarketDataError


class _Commands(TyperGroup):
    """Shows an error of ours as its message alone; any other keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MarketDataError as error:
            output.fail(str(error))
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    help="Raw market data to query-ready tables, kept right.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("up")(up.up)
app.command("demo")(demo.demo)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("metrics")(metrics.metrics)
app.command("exec", context_settings=execute.ANY_OPTIONS, add_help_option=False)(execute.execute)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("replay")(replay.replay)
app.command("drain")(exchanges.drain)

collector = typer.Typer(help="The live collector.", invoke_without_command=True)
collector.callback()(collect.collect)
collector.command("check")(collect.check)
collector.command("metrics")(collect.metrics)
app.add_typer(collector, name="collect")

config_group = typer.Typer(help="The collector's configuration.", no_args_is_help=True)
config_group.command("check")(collect.check)
app.add_typer(config_group, name="config")

ingest = typer.Typer(help="Load data of some partitions now, with a progress bar.", no_args_is_help=True)
ingest.command("bars")(bars.ingest)
ingest.command("alphas")(alphas.ingest)
ingest.command("ticks", cls=ManyValues)(ticks.ingest)
ingest.command("captures")(exchanges.captures)
ingest.command("days")(exchanges.days)
app.add_typer(ingest, name="ingest")

brain_group = typer.Typer(help="Alphas from the BRAIN API: accounts, logins, fetching.", no_args_is_help=True)
brain_group.command("accounts")(brain.accounts)
brain_group.command("login")(brain.login)
brain_group.command("fetch")(alphas.fetch)
app.add_typer(brain_group, name="alphas")

flows_group = typer.Typer(
    help="Pipelines of CSV files into Postgres: shipped ones, and your own.", no_args_is_help=True
)
flows_group.command("new")(flows.new)
flows_group.command("list")(flows.show)
flows_group.command("check")(flows.check)
flows_group.command("run")(flows.run)
flows_group.command("schema")(flows.schema)
app.add_typer(flows_group, name="flows")

symbols_group = typer.Typer(help="Which symbols of ticks there are.", no_args_is_help=True)
symbols_group.command("refresh", cls=ManyValues)(symbols.refresh)
symbols_group.command("list")(symbols.show)
app.add_typer(symbols_group, name="symbols")

quarantine_group = typer.Typer(help="What was refused, and why.", no_args_is_help=True)
quarantine_group.command("show")(quarantine.show)
app.add_typer(quarantine_group, name="quarantine")

kline = typer.Typer(help="The monthly K-line.", no_args_is_help=True)
kline.command("rebuild")(bars.rebuild_kline)
app.add_typer(kline, name="kline")
