"""The user's own functions that a flow calls, and where they are found."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from marketdata_assets.flows.errors import BadFunction

Function = Callable[..., Any]


def function(path: str, file: Path | None) -> Function:
    """The function at the dotted `path`; with a leading dot, in a module beside `file`. Raises BadFunction."""
    module_name, _, name = path.rpartition(".")
    try:
        if not module_name.startswith("."):
            module = importlib.import_module(module_name)
        elif file is None:
            raise ImportError("the flow was not read from a file, so there are no modules beside it")
        else:
            module = _beside(file.parent, module_name[1:])
    except Exception as error:
        raise BadFunction(path, f"cannot be imported ({type(error).__name__}: {error})") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise BadFunction(path, f"the module has no function {name!r}" if found is None else f"{name!r} is no function")
    return found  # type: ignore[no-any-return]


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
