"""A value that stands in a file: `NAME_FILE` in the place of `NAME`, as containers and systemd hand secrets over.

The variable itself goes before its file. What the values mean is the business of `settings` and of who asks for them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from marketdata_assets.errors import TerminalError

SUFFIX = "_FILE"


class BadSecretFile(TerminalError):
    """A variable names a file of a secret that gives no value. The content is never shown."""

    def __init__(self, variable: str, file: str, cause: str) -> None:
        super().__init__(f"{variable}: {file} {cause}. Put the value alone into the file, or unset {variable}.")


def find(name: str, environ: Mapping[str, str]) -> str | None:
    """The value of a variable, or of the file that `name`_FILE names; an empty variable counts as not set.

    Raises BadSecretFile.
    """
    if value := environ.get(name):
        return value
    file = environ.get(name + SUFFIX)
    return _content(name + SUFFIX, file) if file else None


def from_files(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The values of those variables that are not set, but whose file is. Raises BadSecretFile."""
    asked = [name for name in names if not environ.get(name) and environ.get(name + SUFFIX)]
    return {name: _content(name + SUFFIX, environ[name + SUFFIX]) for name in asked}


def _content(variable: str, file: str) -> str:
    try:
        value = Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise BadSecretFile(variable, file, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadSecretFile(variable, file, "is not UTF-8") from None
    if not value:
        raise BadSecretFile(variable, file, "is empty")
    return value
