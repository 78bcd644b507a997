"""Every error class of the project, with its message templates from the code."""

import ast
import importlib
import inspect
import pkgutil
import sys
import textwrap
from collections.abc import Iterator

import marketdata_assets
from docs.generate.markdown import code, paragraph
from marketdata_assets.errors import MarketDataError, TerminalError, TransientError

LIBRARY = ["bars", "alphas", "ticks", "exchanges", "collector", "flows", "stores", "local"]


def page() -> str:
    packages: dict[str, list[tuple[type[MarketDataError], list[str]]]] = {}
    for kind in sorted(_kinds(), key=lambda kind: kind.__name__):
        packages.setdefault(_package(kind.__module__), []).append((kind, _messages(kind)))
    for kind in (TerminalError, TransientError):
        for package, messages in _raised(kind).items():
            packages.setdefault(package, []).append((kind, messages))
    order = sorted(packages, key=lambda name: (LIBRARY.index(name) if name in LIBRARY else len(LIBRARY), name))
    return (
        "# Errors\n\n"
        + paragraph(
            "An error names the place, the value and the fix. In the messages below, words in braces are placeholders."
            " After a terminal error a retry does not help: a person has to act. A transient error may disappear at"
            " the next attempt; runs retry it automatically. Under TerminalError and TransientError are the messages of"
            " a package that need no class of their own."
        )
        + "".join(f"\n## {name}\n" + "".join(_section(*one) for one in packages[name]) for name in order)
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
            if _messages(kind) or not kind.__subclasses__():
                yield kind


def _package(module: str) -> str:
    _, name, *rest = module.split(".")
    return name if name != "defs" else rest[0]


def _section(kind: type[MarketDataError], messages: list[str]) -> str:
    nature = "transient" if issubclass(kind, TransientError) else "terminal"
    shown = "".join(
        "\n" + textwrap.indent("\n".join(textwrap.wrap(message, 110, break_long_words=False)), "    ") + "\n"
        for message in messages
    )
    return f"\n### {kind.__name__}\n\n{paragraph(f'{inspect.getdoc(kind) or code(kind.__name__)} ({nature})')}{shown}"


def _messages(kind: type[MarketDataError]) -> list[str]:
    """The argument of the root's constructor, with names instead of values, or the texts that callers pass."""
    written = vars(kind).get("__init__")
    if written is None:
        return [text for texts in _raised(kind).values() for text in texts]
    return _texts(ast.parse(textwrap.dedent(inspect.getsource(written))), "super().__init__")


def _raised(kind: type[MarketDataError]) -> dict[str, list[str]]:
    """The texts with which modules make an error of a class, by package."""
    found: dict[str, list[str]] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("marketdata_assets.") and vars(module).get(kind.__name__) is kind:
            texts = _texts(ast.parse(inspect.getsource(module)), kind.__name__)
            found.setdefault(_package(name), []).extend(texts)
    return {package: texts for package, texts in found.items() if texts}


def _texts(tree: ast.AST, function: str) -> list[str]:
    """The texts in the calls of a function; none where it gets one that was made elsewhere."""
    calls = (call for call in ast.walk(tree) if isinstance(call, ast.Call) and ast.unparse(call.func) == function)
    texts = (_text(call.args[0]) for call in calls if call.args)
    return [" ".join(text.split()) for text in texts if not text.startswith("{") or " " in text]


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
