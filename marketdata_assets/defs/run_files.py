"""Files and folders that the config of a run names: those below a folder of the settings, or any for a command.

Whoever reaches the UI can start a run with any config, and must not have the files of this machine loaded into a table.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from marketdata_assets.errors import TerminalError

_OF_A_COMMAND = ContextVar("_OF_A_COMMAND", default=False)


@contextmanager
def of_a_command() -> Iterator[None]:
    """Whoever runs a command in a terminal names any file: a run inside this block may, too."""
    token = _OF_A_COMMAND.set(True)
    try:
        yield
    finally:
        _OF_A_COMMAND.reset(token)


def allowed(field: str, names: Sequence[str], folder: Path, variable: str) -> list[Path]:
    """The paths that `field` of a config names. Raises TerminalError unless they are below `folder`."""
    paths = [Path(name) for name in names]
    for path in paths:
        inside = path.is_relative_to(folder.absolute()) and ".." not in path.parts
        if not (inside or _OF_A_COMMAND.get()):
            raise TerminalError(
                f"{field}: {path} is not below {folder.absolute()}; a run that no command started reads nothing else."
                f" Move it there, set {variable} to its folder, or name it to the command"
            )
    return paths
