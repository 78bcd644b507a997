"""The commands by name, imported when they run, and the one place where an error becomes a message and an exit code."""

import importlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from marketdata_assets.errors import MarketDataError

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


@dataclass(frozen=True)
class Command:
    """A command that is not imported yet: the first line of its help, and `module:function` in this package."""

    summary: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self, name: str) -> Any:
        """Import the function; a module may also have a Typer application with commands of its own."""
        module, _, attribute = self.target.partition(":")
        function = getattr(importlib.import_module(f"marketdata_assets.cli.{module}"), attribute)
        application = function if isinstance(function, typer.Typer) else _application()
        if application is not function:
            application.command(name, **self.options)(function)
        command = typer.main.get_command(application)
        command.name = name
        return command


@dataclass(frozen=True)
class Group:
    """Commands below a word."""

    summary: str
    commands: "Mapping[str, Command | Group]"

    def load(self, name: str) -> Any:
        return LazyGroup(name=name, entries=self.commands, help=self.summary, no_args_is_help=True)


def _application(**options: Any) -> typer.Typer:
    return typer.Typer(pretty_exceptions_enable=False, add_completion=False, **options)


class _Loaded(dict[str, Any]):
    """The commands of a group by name, each loaded when it is read."""

    def __init__(self, entries: "Mapping[str, Command | Group]") -> None:
        super().__init__(entries)

    def __getitem__(self, name: str) -> Any:
        entry = super().__getitem__(name)
        if isinstance(entry, Command | Group):
            entry = self[name] = entry.load(name)
        return entry

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


class LazyGroup(TyperGroup):
    """A group whose help lists commands without importing them."""

    def __init__(self, *, entries: "Mapping[str, Command | Group] | None" = None, **options: Any) -> None:
        self._entries = COMMANDS if entries is None else entries
        super().__init__(**options | {"commands": _Loaded(self._entries)})

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self._entries)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        listed: dict[str, Any] = {name: TyperCommand(name, help=entry.summary) for name, entry in self._entries.items()}
        options: dict[str, Any] = {"help": self.help, "params": self.params, "rich_markup_mode": self.rich_markup_mode}
        TyperGroup(name=self.name, commands=listed, **options).format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        """Show an error of this project as its message alone; any other keeps its traceback."""
        try:
            return super().invoke(ctx)
        except MarketDataError as error:
            from marketdata_assets.cli import output

            output.fail(str(error))
            raise typer.Exit(1) from error


class ManyValues(TyperCommand):
    """A command that takes several values after one flag: `--symbols A B C`, as well as `--symbols A --symbols B`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        many = {flag for parameter in self.params if getattr(parameter, "multiple", False) for flag in parameter.opts}
        return super().parse_args(ctx, [*repeat_flags(args, many)])


def repeat_flags(args: Iterable[str], flags: Collection[str]) -> Iterator[str]:
    """`--symbols A B` as `--symbols A --symbols B`, for these flags."""
    flag, values = "", 0
    for word in args:
        if word.startswith("-"):
            flag, values = (word if word in flags else ""), 0
        elif flag:
            values += 1
            if values > 1:
                yield flag
        yield word


COMMANDS: Mapping[str, Command | Group] = {
    "up": Command("Start the local stack and the Dagster UI; Ctrl-C stops both, the data stays.", "servers:up"),
    "demo": Command("Start the local stack, load sample files into every table, and open the Dagster UI.", "demo:demo"),
    "status": Command("Show what is loaded, and which partitions are missing, stale or failed.", "status:status"),
    "files": Command("List every file of the watched folders: its state, and what became of its rows.", "files:files"),
    "doctor": Command("Check every server: version, latency, missing features and how to fix them.", "servers:doctor"),
    "ui": Command("Serve the Dagster UI behind a guard, until SIGTERM or Ctrl-C.", "ui:ui"),
    "web": Command(
        "Serve a read-only page of the market: what is loaded, candles, order books, coverage, gaps.", "ui:web"
    ),
    "metrics": Command(
        "Serve Prometheus metrics for servers, tables and runs at http://HOST:PORT/metrics.", "metrics:metrics"
    ),
    "run-containers": Command(
        "Start each run in a container of its own, for the daemon and the UI of the compose file.",
        "run_containers:run_containers",
    ),
    "exec": Command(
        "Run a Dagster command with this project's environment, as: marketdata exec dagster-daemon run.",
        "servers:execute",
        {"context_settings": PASS_THROUGH, "add_help_option": False},
    ),
    "create-tables": Command(
        "Create the missing tables in every database, for users who may only read.", "stores:create_tables"
    ),
    "backup": Command("Back up rows and ledgers of the databases into a folder.", "backup:backup"),
    "restore": Command("Restore a backup into empty databases.", "backup:restore"),
    "replay": Command("Replay captured traffic: records, gaps, checksums and final order books.", "replay:replay"),
    "drain": Command("Load pending JetStream messages into ClickHouse, then ack them.", "exchanges:drain"),
    "collect": Command("Collect live market data until SIGTERM or Ctrl-C.", "collect:application"),
    "config": Group(
        "The collector's configuration.",
        {"check": Command("Print the effective configuration, without secrets.", "collect:check")},
    ),
    "ingest": Group(
        "Load data of some partitions now, with a progress bar.",
        {
            "bars": Command("Load minute bars of some months and refresh their monthly K-line.", "bars:ingest"),
            "alphas": Command("Package raw files of alphas and import them into MongoDB.", "alphas:ingest"),
            "ticks": Command("Load ticks of some symbols and days.", "ticks:ingest", {"cls": ManyValues}),
            "reference": Command(
                "Load reference data of A-shares: the calendar, the instruments, and tables by day of some months.",
                "reference:ingest",
            ),
            "captures": Command("Load capture files of exchanges.", "exchanges:captures"),
            "dumps": Command(
                "Load downloaded files: CSV of tardis.dev, and of the venues' public archives.", "exchanges:dumps"
            ),
            "history": Command(
                "Load past days of instruments: trades, candles, funding rates, open interest.", "history:history"
            ),
            "days": Command("Fill gaps of some days and build their minute bars.", "exchanges:days"),
        },
    ),
    "export": Group(
        "Bars, alphas and records of exchanges as files for other tools.",
        {
            "parquet": Command(
                "Export bars as Parquet files by year and stock; only what has changed is written again.",
                "export:parquet",
                {"cls": ManyValues},
            ),
            "qlib": Command(
                "Export bars in the binary format of qlib; only stocks that have changed are written again.",
                "export:qlib",
                {"cls": ManyValues},
            ),
            "alphas": Command(
                "Export alphas, or one of their record sets, as a CSV or Parquet file.",
                "alpha_records:export_alphas",
                {"cls": ManyValues},
            ),
            "records": Command(
                "Export records of exchanges by instrument and day; only what has changed is written again.",
                "export:records",
                {"cls": ManyValues},
            ),
        },
    ),
    "alphas": Group(
        "Alphas from the BRAIN API: accounts, logins, fetching, record sets.",
        {
            "accounts": Command("List accounts, their credentials and sessions.", "brain:accounts"),
            "login": Command(
                "Log an account in; with an identity check, print the verification link and wait for it to be"
                " completed.",
                "brain:login",
            ),
            "fetch": Command("Fetch alphas of some months from BRAIN into raw files.", "alphas:fetch"),
            "changes": Command(
                "Fetch alphas of all months that were submitted or changed, that match filters, or by id.",
                "alpha_records:changes",
                {"cls": ManyValues},
            ),
            "records": Command(
                "Fetch record sets and correlations of alphas in MongoDB: PnL, turnover, Sharpe, yearly figures.",
                "alpha_records:records",
                {"cls": ManyValues},
            ),
        },
    ),
    "flows": Group(
        "Pipelines of files into Postgres: shipped ones, and your own.",
        {
            "new": Command("Scaffold a new pipeline, made of a file or as an example with a test.", "flows:new"),
            "preview": Command("Show the rows of one file after each step, without a database.", "flows:preview"),
            "list": Command("List the flows of the package and your own.", "flows:show"),
            "check": Command("Validate flows without a database, and try one file.", "flows:check"),
            "run": Command("Load the new and changed files of a flow, or with --all of every flow.", "flows:run"),
            "plan": Command(
                "Show what a run of a flow would alter in its table and load, and do nothing.", "flows:plan"
            ),
            "rebuild": Command(
                "Rebuild the table of a flow from its files, beside it, then swap them.", "flows:rebuild"
            ),
            "forget": Command(
                "Delete the rows of files that a flow has loaded, and what is recorded of them.", "flows:forget"
            ),
            "schema": Command("Print the JSON schema of a flow's defs.yaml, for editors.", "flows:schema"),
        },
    ),
    "symbols": Group(
        "Manage the tick symbol registry.",
        {
            "refresh": Command(
                "Refresh the symbol registry from its providers.", "ticks:refresh_symbols", {"cls": ManyValues}
            ),
            "list": Command("List registered symbols.", "ticks:list_symbols"),
            "remove": Command(
                "Remove symbols from the registry, and with --rows what is loaded of them.", "ticks:remove_symbols"
            ),
            "restore": Command("Let the next refresh register removed symbols again.", "ticks:restore_symbols"),
        },
    ),
    "quarantine": Group(
        "Rejected rows, and why.",
        {"show": Command("Show rejected rows: source, reason and content.", "quarantine:show")},
    ),
    "bars": Group(
        "Delivered files of minute bars.",
        {"forget": Command("Take wrong files back: delete their rows, and do not load them again.", "bars:forget")},
    ),
    "ticks": Group(
        "Dropped files of ticks.",
        {"forget": Command("Take wrong files back: delete their rows, and do not load them again.", "ticks:forget")},
    ),
    "kline": Group(
        "The monthly K-line.",
        {
            "refresh": Command("Refresh the monthly K-line of stale months, or of those given.", "bars:refresh_kline"),
            "rebuild": Command("Rebuild the monthly K-line for every month.", "bars:rebuild_kline"),
        },
    ),
}

app = _application(cls=LazyGroup, no_args_is_help=True)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"marketdata {version('marketdata-assets')}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Load raw market data into query-ready tables, and keep them correct."""
