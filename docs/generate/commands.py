"""Every command of `marketdata` with its options, from its help text."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from docs.generate.markdown import code, codes, paragraph, table
from marketdata_assets.cli import app

VALUES = {int: "NUMBER", float: "NUMBER", Path: "PATH", dt.datetime: "DATE"}


def page() -> str:
    commands = list(_commands(typer.main.get_command(app), ["marketdata"]))
    listed = table(("command", "description"), [(f"[{name}](#{_anchor(name)})", _first(one)) for name, one in commands])
    return "# Command line\n\n" + _INTRODUCTION + "\n" + listed + "".join(_section(name, one) for name, one in commands)


_INTRODUCTION = paragraph(
    "`marketdata` is in `.venv/bin`. Every command prints its help with `--help`. Exit code 0 means success, 1 means"
    " failure with the reason on stderr, and 2 means that the command line is invalid or names a symbol, file, folder"
    " or month that does not exist."
)


def _commands(command: Any, path: list[str]) -> Iterator[tuple[str, Any]]:
    children: dict[str, Any] = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield " ".join(path), command
    for name, child in children.items():
        yield from _commands(child, [*path, name])


def _section(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    words = [_placed(one) for one in arguments] + (["[OPTIONS]"] if options else [])
    text = f"\n## {name}\n\n{paragraph(command.help or '')}\n```text\n{' '.join([name, *words])}\n```\n"
    if command.params:
        text += "\n" + table(("option", "description", "default"), [_option(one) for one in (*arguments, *options)])
    return text


def _option(one: Any) -> tuple[str, str, str]:
    if one.param_type_name == "argument":
        return code(one.name.upper()), one.help or "", _default(one)
    names = [f"{name}{_value(one)}" for name in (*one.opts, *one.secondary_opts)]
    return codes(names), one.help or "", _default(one)


def _value(one: Any) -> str:
    if one.is_flag:
        return ""
    shown = one.metavar or VALUES.get(one.type_descriptor.annotation, "TEXT")
    return f" {shown}{'...' if one.multiple else ''}"


def _default(one: Any) -> str:
    value = one.default
    if one.required:
        return "required"
    if value is None or callable(value) or value == "" or (isinstance(value, list | tuple) and not value):
        return ""
    if isinstance(value, bool):
        chosen = (one.opts if value else one.secondary_opts) if one.param_type_name == "option" else []
        return code(chosen[0]) if one.secondary_opts and chosen else ""
    return codes(map(str, value)) if isinstance(value, list | tuple) else code(str(value))


def _placed(one: Any) -> str:
    word = one.name.upper() + ("..." if one.nargs != 1 else "")
    return word if one.required else f"[{word}]"


def _first(command: Any) -> str:
    return (command.help or "").split("\n\n")[0]


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
