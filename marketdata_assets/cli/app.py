"""The commands by name, imported when they run, and the one place where an error becomes a message and an exit code."""

import csv
import datetime as dt
import importlib
import os
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from traceback import format_exception
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from marketdata_assets import domains
from marketdata_assets.errors import MarketDataError
from marketdata_assets.standard_streams import guarded

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


@dataclass(frozen=True)
class Command:
    """A command that is not imported yet: the first line of its help, and `module:function` in this package."""

    summary: str
    domain: str
    target: str
    options: Mapping[str, Any]

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
    domain: str
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
        known = {"", *_domains()}
        return [name for name, entry in self._entries.items() if entry.domain in known]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name in self._entries and name not in self.list_commands(ctx):
            domain, chosen = self._entries[name].domain, ",".join(_domains())
            ctx.fail(f"{name} belongs to the domain {domain}, and MARKETDATA_DOMAINS is {chosen}; add {domain} to it.")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        summaries = {name: self._entries[name].summary for name in self.list_commands(ctx)}
        listed: dict[str, Any] = {name: TyperCommand(name, help=text) for name, text in summaries.items()}
        options: dict[str, Any] = {"help": self.help, "params": self.params, "rich_markup_mode": self.rich_markup_mode}
        TyperGroup(name=self.name, commands=listed, **options).format_help(ctx, formatter)

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Show a file, or the standard output, that cannot be read or written as a message alone."""
        try:
            dt.datetime.now().astimezone()
        except ValueError:  # TZ=XYZ-25:99; others that nobody knows count as UTC
            os.environ["TZ"] = "UTC"
            time.tzset()
        try:
            with guarded():
                return super().main(*arguments, **options)
        except OSError as error:
            from marketdata_assets.cli import output

            if not output.failed_file(error):
                raise
            sys.exit(1)

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


def _domains() -> Sequence[str]:
    """The chosen ones; all where the variable is wrong, which the command reports."""
    try:
        return domains.chosen(os.environ.get("MARKETDATA_DOMAINS"))
    except ValueError:
        return domains.chosen(None)


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


OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "many": {"cls": ManyValues},
    "through": {"context_settings": PASS_THROUGH, "add_help_option": False},
}


def _commands() -> "Mapping[str, Command | Group]":
    """The rows of `commands.csv`: a command each, or a group, below which its commands are."""
    top: dict[str, Command | Group] = {}
    groups = {"": top}
    text = files(__package__).joinpath("commands.csv").read_text("utf-8")
    for row in csv.DictReader(text.splitlines()):
        group, _, name = row["command"].rpartition(" ")
        if row["target"]:
            groups[group][name] = Command(row["summary"], row["domain"], row["target"], OPTIONS[row["options"]])
        else:
            groups[name] = {}
            groups[group][name] = Group(row["summary"], row["domain"], groups[name])
    return top


COMMANDS = _commands()

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
    sys.excepthook = _show_unexpected


def _show_unexpected(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print the traceback of an error that is not of this project, without secrets and control characters."""
    from marketdata_assets.secret_values import shown

    sys.stderr.write(shown("".join(format_exception(kind, error, traceback)), "\n"))
