"""The code that makes rows: the user's functions, and fingerprints, whose change makes the rows stale.

Of a module counts what it does, not its comments, docstrings and layout; and all that it imports of the user's modules.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from marketdata_assets.flows.errors import FlowError

Function = Callable[..., Any]

ROW_MAKERS = (
    *("flows.casting", "flows.conform", "flows.delimited", "flows.dialect"),
    *("flows.excel", "flows.frames", "flows.handlers", "flows.header", "flows.json_lines"),
    *("flows.numbers", "flows.prepare", "flows.reading", "flows.times", "flows.types"),
    *("loading.text", "loading.text_table", "stores.pgcopy"),
)
"""Modules of this package whose code makes the rows of flows."""
PARSES = 10
"""Attempts to parse a module, see `_parsed`."""
INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def function(path: str, file: Path | None) -> Function:
    """The function at the dotted `path`; with a leading dot, in a module beside `file`. Raises FlowError."""
    module_name, _, name = path.rpartition(".")
    try:
        if not module_name.startswith("."):
            module = importlib.import_module(module_name)
        elif file is None:
            raise ImportError("the flow was not read from a file, so there are no modules beside it")
        else:
            module = _beside(file.parent, module_name[1:])
    except Exception as error:
        raise _bad(path, f"cannot be imported ({type(error).__name__}: {error})") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise _bad(path, f"the module has no function {name!r}" if found is None else f"{name!r} is no function")
    return found  # type: ignore[no-any-return]


def _bad(path: str, cause: str) -> FlowError:
    return FlowError(f"{path}: {cause}. Write package.module.function, or .module.function beside the flow's file.")


def _beside(folder: Path, name: str) -> ModuleType:
    """A module of the user's folder, under a name that no other flow's module has; read again when it has changed."""
    place = folder.joinpath(*name.split(".")).with_suffix(".py")
    known = f"marketdata_flow_{abs(hash(str(place)))}_{place.stat().st_mtime_ns if place.is_file() else 0}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, place)
    if spec is None or spec.loader is None or not place.is_file():
        raise ImportError(f"there is no {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


def digest(*parts: str) -> str:
    """A short hash of texts."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()


@cache
def of_library() -> str:
    """The fingerprint of the modules of this package that make rows."""
    package = Path(__file__).parents[1]
    found = hashlib.blake2b(digest_size=8)
    for name in ROW_MAKERS:
        found.update(package.joinpath(*name.split(".")).with_suffix(".py").read_bytes())
    return found.hexdigest()


def of_function(path: str, file: Path | None) -> str:
    """The fingerprint of the module of a user's function, and of those that it imports. Raises FlowError."""
    module = sys.modules[function(path, file).__module__]
    if getattr(module, "__file__", None) is None:
        return str(getattr(module, "__version__", ""))
    sources = dict(_modules(module.__name__, Path(str(module.__file__)), set()))
    return digest(*(text for _, text in sorted(sources.items())))


def _modules(name: str, file: Path, seen: set[Path]) -> Iterator[tuple[str, str]]:
    """The modules from `name` on that are the user's: of the same package, or not installed; with their code."""
    if file in seen or file.suffix != ".py":
        return
    seen.add(file)
    tree = _parsed(file)
    yield str(file), _meaning(tree)
    for imported in _imports(tree, name, file):
        found = _file_of(imported)
        if found is None:
            continue
        users = _package(imported) != _package(__name__) and not str(found).startswith(INSTALLED)
        if users or _package(imported) == _package(name):
            yield from _modules(imported, found, seen)


def _package(name: str) -> str:
    return name.partition(".")[0]


def _imports(tree: ast.Module, name: str, file: Path) -> Iterator[str]:
    """The dotted names that a module may import; of `from a import b` both `a` and `a.b`."""
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _file_of(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # of a user's package, which is imported on the way
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.has_location else None


def _parsed(file: Path) -> ast.Module:
    """The syntax tree of a module; parsed again when a thread or a finalizer has parsed other code meanwhile.

    Python 3.11 keeps one count of depth for all that is parsed, and raises SystemError when two of them mix it up.
    """
    source = file.read_bytes()
    for _ in range(PARSES - 1):
        try:
            return ast.parse(source, str(file))
        except SystemError:
            continue
    return ast.parse(source, str(file))


def _meaning(tree: ast.Module) -> str:
    """The code without comments, docstrings and layout."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
