"""The functions of `marketdata_assets.read`, with signature and docstring."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from docs.generate.markdown import code, paragraph, table
from marketdata_assets import read


def page() -> str:
    functions = {name: getattr(read, name) for name in read.__all__}
    listed = table(
        ("function", "returns"),
        [(f"[{name}](#{name})", _first_sentence(function)) for name, function in functions.items()],
    )
    introduction = paragraph(
        "All functions are in `marketdata_assets.read` and return a polars DataFrame. A range includes `start` and"
        " excludes `end`. An omitted argument means all. `connection` is an address or an open client; without it the"
        " servers come from the settings. Examples: [read the data](../read.md)."
    )
    return f"# Read API\n\n{introduction}\n{listed}" + "".join(_section(*item) for item in functions.items())


def _section(name: str, function: Callable[..., Any]) -> str:
    text = f"\n## {name}\n\n```text\n{_signature(name, function)}\n```\n"
    return f"{text}\n" + "\n".join(_blocks(inspect.getdoc(function) or ""))


def _signature(name: str, function: Callable[..., Any]) -> str:
    """As written in the code, one parameter per line, without private ones."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef)
    parameters = definition.args
    required = len(parameters.args) - len(parameters.defaults)
    lines = [
        _parameter(argument, parameters.defaults[at - required] if at >= required else None)
        for at, argument in enumerate(parameters.args)
    ]
    keyword_only = [
        _parameter(argument, default)
        for argument, default in zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True)
        if not argument.arg.startswith("_")
    ]
    inside = "".join(f"    {line},\n" for line in [*lines, *(["*"] if keyword_only else []), *keyword_only])
    return f"{name}(\n{inside})"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    typed = argument.arg + (f": {ast.unparse(argument.annotation)}" if argument.annotation else "")
    return typed + (f" = {ast.unparse(default)}" if default is not None else "")


def _blocks(docstring: str) -> Iterator[str]:
    """Paragraphs are filled; a list or an indented block stays as it is; a heading with dashes below becomes bold."""
    for block in docstring.split("\n\n"):
        heading = re.match(r"(\w[\w ]*)\n-{3,}\n?", block)
        if heading:
            yield f"**{heading[1]}**\n"
            block = re.sub(r"^(\w+)(?: : .*)?\n {4}", r"- `\1`: ", block[heading.end() :], flags=re.MULTILINE)
        if not block.strip():
            continue
        yield f"{block}\n" if re.search(r"^(- |\* |    )", block, re.MULTILINE) else paragraph(block)


def _first_sentence(function: Callable[..., Any]) -> str:
    text = " ".join((inspect.getdoc(function) or code(function.__name__)).split("\n\n")[0].split())
    return re.split(r"(?<=[.;]) (?=[A-Z`])", text)[0]
