"""Every error class of the project, with its message template from the code."""

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator

import marketdata_assets
from docs.generate.markdown import code, paragraph
from marketdata_assets.errors import MarketDataError, TerminalError, TransientError

LIBRARY = ["bars", "alphas", "ticks", "exchanges", "collector", "flows", "stores", "local"]


def page() -> str:
    packages: dict[str, list[type[MarketDataError]]] = {}
    for kind in sorted(_kinds(), key=lambda kind: kind.__name__):
        packages.setdefault(_package(kind), []).append(kind)
    order = sorted(packages, key=lambda name: (LIBRARY.index(name) if name in LIBRARY else len(LIBRARY), name))
    return (
        "# Errors\n\n"
        + paragraph(
            "An error names the place, the value and the fix. In the messages below, words in braces are placeholders."
            " After a terminal error a retry does not help: a person has to act. A transient error may disappear at"
            " the next attempt; runs retry it automatically."
        )
        + "".join(f"\n## {name}\n" + "".join(map(_section, packages[name])) for name in order)
    )


def _kinds() -> Iterator[type[MarketDataError]]:
    """All classes with a message; classes that only group others have none."""
    for module in pkgutil.walk_packages(marketdata_assets.__path__, "marketdata_assets."):
        importlib.import_module(module.name)
    todo = [TerminalError, TransientError]
    seen = set()
    while todo:
        for kind in todo.pop().__subclasses__():
            if kind in seen or not kind.__module__.startswith("marketdata_assets."):
                continue
            seen.add(kind)
            todo.append(kind)
            if "__init__" in vars(kind) or not kind.__subclasses__():
                yield kind


def _package(kind: type[MarketDataError]) -> str:
    name = kind.__module__.split(".")[1]
    return name if name != "defs" else kind.__module__.split(".")[2]


def _section(kind: type[MarketDataError]) -> str:
    nature = "transient" if issubclass(kind, TransientError) else "terminal"
    message = _message(kind)
    shown = (
        "\n" + textwrap.indent("\n".join(textwrap.wrap(message, 110, break_long_words=False)), "    ") + "\n"
        if message
        else ""
    )
    return f"\n### {kind.__name__}\n\n{paragraph(f'{inspect.getdoc(kind) or code(kind.__name__)} ({nature})')}{shown}"


def _message(kind: type[MarketDataError]) -> str:
    """The argument of the root's constructor, with names instead of values; empty when the caller passes the text."""
    written = vars(kind).get("__init__")
    if written is None:
        return ""
    for call in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(written)))):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__" and call.args:
            text = _text(call.args[0])
            return " ".join(text.split()) if not text.startswith("{") or " " in text else ""
    return ""


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=value):
            return str(value)
        case ast.JoinedStr(values=values):
            return "".join(map(_text, values))
        case ast.FormattedValue(value=value):
            return "{" + _name(value) + "}"
        case ast.BinOp(left=left, right=right, op=ast.Add()):
            return _text(left) + _text(right)
        case _:
            return "{" + _name(node) + "}"


def _name(node: ast.expr) -> str:
    """The name that describes a value best."""
    words = [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]
    words += [one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)]
    known = [word for word in words if word not in ("self", "str", "len", "map", "sorted", "repr")]
    return known[0].lower() if known else ".."
