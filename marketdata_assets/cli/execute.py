"""`marketdata exec`: become a command of Dagster that finds the storage and the folders of this data folder."""

import os
import shutil
import sys
from pathlib import Path

import typer

from marketdata_assets.cli.instance import adopt
from marketdata_assets.errors import TerminalError
from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings

ANY_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


class NoProgram(TerminalError):
    """What shall be executed is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no program {name!r} beside {sys.executable} or on the PATH; try: marketdata exec dagster")


def execute(context: typer.Context) -> None:
    """Become a command of Dagster, as: marketdata exec dagster-daemon run. It finds storage, servers and folders."""
    settings = Settings()
    adopt(settings, endpoints.resolve(settings))
    name = context.args[0] if context.args else "dagster"
    program = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if program is None:
        raise NoProgram(name)
    os.execv(program, [name, *context.args[1:]])  # noqa: S606 - the command is the caller's own
