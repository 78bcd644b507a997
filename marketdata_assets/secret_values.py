"""Secrets: read from a variable or the file that `NAME_FILE` names, and redacted in what people read.

Containers and systemd pass secrets as files. A variable takes precedence over its file.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from marketdata_assets.errors import TerminalError

SUFFIX = "_FILE"


class BadSecretFile(TerminalError):
    """A variable names a secret file that gives no value. The content is never shown."""

    def __init__(self, variable: str, file: str, cause: str) -> None:
        super().__init__(f"{variable}: {file} {cause}. Put the value alone into the file, or unset {variable}.")


def find(name: str, environ: Mapping[str, str]) -> str | None:
    """The value of a variable, or of the file that `name`_FILE names; an empty variable counts as unset.

    Raises BadSecretFile.
    """
    if value := environ.get(name):
        return value
    file = environ.get(name + SUFFIX)
    return _content(name + SUFFIX, file) if file else None


def from_files(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The values of those variables that are unset but have a file. Raises BadSecretFile."""
    with_file = [name for name in names if not environ.get(name) and environ.get(name + SUFFIX)]
    return {name: _content(name + SUFFIX, environ[name + SUFFIX]) for name in with_file}


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


def without_password(url: str) -> str:
    """A URL, or a `host=... password=...` string of PostgreSQL, with its password redacted; also inside a text."""
    return _PASSWORD_WORD.sub(r"\1***", _TOKEN.sub(r"\1***", _PASSWORD_BEFORE_HOST.sub(r"\1***", url)))


def unescaped(url: str) -> str:
    """The first `/`, `?` or `#` of a password that is not percent-encoded, and so ends the host's part; "" if none."""
    found = _UNESCAPED.search(url)
    return found[1] or found[2] if found else ""


# An @ in the path, or after a ? or # that follows what cannot be a port.
_UNESCAPED = re.compile(r"://[^/?#]*(/)[^?#]*@|://[^/?#@]*:(?!\d+[?#])[^/?#@]*([?#]).*@")

# Up to the last @, because a password that is not percent-encoded may contain any character.
_PASSWORD_BEFORE_HOST = re.compile(r"(://[^:@/]*:).*(?=@)")
_PASSWORD_WORD = re.compile(r"(\w*password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)
_TOKEN = re.compile(r"\b((?:nats|tls)://)[^:@/\s]+(?=@)")
"""A single word before the host of a NATS address is a token, not a user name."""
