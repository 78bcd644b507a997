"""Secrets: read from a variable or the file that `NAME_FILE` names, and masked in what people read.

Containers and systemd pass secrets as files. A variable takes precedence over its file. What is masked are the values
themselves, wherever they turn up: those of this process's variables, and those that were read from files (`hide`).
"""

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit

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
        return hide(value)
    file = environ.get(name + SUFFIX)
    return hide(_content(name + SUFFIX, file)) if file else None


def from_files(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The values of those variables that are unset but have a file. Raises BadSecretFile."""
    with_file = [name for name in names if not environ.get(name) and environ.get(name + SUFFIX)]
    values = {name: _content(name + SUFFIX, environ[name + SUFFIX]) for name in with_file}
    for name, value in values.items():
        if _SECRET_VARIABLE.search(name) or "://" in value:
            hide(value)
    return values


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


MASK = "***"
SHORTEST = 6
"""Shorter values are not masked: they are parts of ordinary words and numbers."""
LONG = 12
HARMLESS = re.compile(
    r"(?i)admin|changeme|clickhouse|dagster|default|localhost|market(data)?|password|postgres|secret|undefined|\d{1,11}"
)
"""Passwords of examples that are words of every log; nor are numbers masked that may be a date or a count."""
_HIDDEN: set[str] = set()
"""Secrets that this process read from files. Logging is of the process too."""


def hide(value: str) -> str:
    """Have a secret, or an address with one, masked in all that this process shows from now on; returns it."""
    _HIDDEN.update(_within(value) if "://" in value or "password=" in value else [value])
    return value


def masked(text: str) -> str:
    """The text without any secret that this process knows: as it is, in a URL, in JSON, or in base64."""
    return masker()(text)


def masker() -> Callable[[str], str]:
    """`masked` for many texts: with the secrets that are known now."""
    pattern = _known()
    return partial(pattern.sub, MASK) if pattern else str


def mask_bytes(body: bytes) -> bytes:
    """`masked` for UTF-8, with as many asterisks as a secret has bytes, so that a length that is announced stays."""
    pattern = _known()
    return re.sub(pattern.pattern.encode(), lambda found: b"*" * len(found[0]), body) if pattern else body


def _known() -> re.Pattern[str] | None:
    return _pattern(frozenset(_HIDDEN), tuple(os.environ.items()))


def _secrets(hidden: Iterable[str], environ: Iterable[tuple[str, str]]) -> set[str]:
    values = set(hidden)
    for name, value in environ:
        values.update(_within(value))
        if _SECRET_VARIABLE.search(name) and not os.path.exists(value):  # noqa: PTH110 - of any text, without an error
            values.add(value)
        if _SECRET_ADDRESS.search(name):
            path = urlsplit(value).path.lstrip("/")
            values |= {value, path, path.rpartition("/")[2]}
    return values


def _within(value: str) -> Iterator[str]:
    """The secrets in a URL or connection string: passwords, tokens, signatures; of a webhook the path."""
    for scheme, user, password in _USERINFO.findall(value):
        if password or scheme.lower() in _TOKEN_SCHEMES:
            yield unquote(password or user)
        if password:
            yield password
            yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode().rstrip("=")
    for key, word in (*_PASSWORD_WORD.findall(value), *_SECRET_PARAMETER.findall(value)):
        if key:
            yield unquote(word.strip("'"))


@lru_cache(16)
def _pattern(hidden: frozenset[str], environ: tuple[tuple[str, str], ...]) -> re.Pattern[str] | None:
    forms: set[str] = set()
    for value in _secrets(hidden, environ):
        whole = value.strip()
        if len(whole) < SHORTEST or HARMLESS.fullmatch(whole):
            continue
        encoded = base64.b64encode(whole.encode("utf-8", "surrogateescape")).decode().rstrip("=")
        forms |= {whole, encoded, encoded.translate(_URL_SAFE), json.dumps(whole)[1:-1], repr(whole)[1:-1]}
        forms |= {json.dumps(whole, ensure_ascii=False)[1:-1], quote_plus(whole, errors="replace")}
        forms |= {quote(whole, "", errors="replace"), quote(whole, errors="replace")}
    return re.compile("|".join(map(_anywhere, sorted(forms, key=len, reverse=True)))) if forms else None


def _anywhere(form: str) -> str:
    """A short secret may be the beginning of a longer word, such as an account's name; a long one is found anywhere."""
    pattern = re.escape(form)
    return pattern if len(form) >= LONG else rf"(?<![0-9A-Za-z]){pattern}(?![0-9A-Za-z])"


_URL_SAFE = str.maketrans("+/", "-_")
_SECRET_VARIABLE = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIAL|BRAIN_EMAIL", re.IGNORECASE
)
_SECRET_ADDRESS = re.compile("WEBHOOK|HEARTBEAT_URL", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    r"([?&;](?:[\w.-]*(?:token|signature|secret|password|passwd|api_?key|access_?key|credential)[\w.-]*|sign?|key|auth|jwt)=)"
    r"([^&#\s'\"<>]*[^&#\s'\"<>:;,.)\]])",
    re.IGNORECASE,
)
"""What signs a request in the query of a URL, such as X-Amz-Signature, sig and access_token."""
_TOKEN_SCHEMES = ("nats", "tls", "http", "https")
_USERINFO = re.compile(r"([a-zA-Z0-9+.-]+)://([^:@/?#\s]*)(?::([^\s]*))?@")
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What a terminal obeys, and what changes the order or the lines of a text that a person reads (CWE-150)."""


def escaped(text: str, keep: str = "") -> str:
    """The text with every control character as its escape in JSON, such as \\u001b, but for those in `keep`."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else json.dumps(found[0])[1:-1], text)


def shown(text: str, keep: str = "", mask: Callable[[str], str] = masked) -> str:
    """What people may read of a text from elsewhere: without secrets, and without control characters."""
    return escaped(mask(without_password(text)), keep)


def without_password(url: str) -> str:
    """A URL, or a `host=... password=...` string of PostgreSQL, with its secrets redacted; also inside a text."""
    text = _PASSWORD_WORD.sub(r"\1***", _TOKEN.sub(r"\1***", _PASSWORD_BEFORE_HOST.sub(r"\1***", url)))
    return _SECRET_PARAMETER.sub(r"\1***", text)


def unescaped(url: str) -> str:
    """The first `/`, `?` or `#` of a password that is not percent-encoded, and so ends the host's part; "" if none."""
    found = _UNESCAPED.search(url)
    return found[1] or found[2] if found else ""


# An @ in the path, or after a ? or # that follows what cannot be a port.
_UNESCAPED = re.compile(r"://[^/?#]*(/)[^?#]*@|://[^/?#@]*:(?!\d+[?#])[^/?#@]*([?#]).*@")

# Up to the last @, because a password that is not percent-encoded may contain any character.
_PASSWORD_BEFORE_HOST = re.compile(r"(://[^:@/]*:).*(?=@)")
_PASSWORD_WORD = re.compile(r"(\w*password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)
_TOKEN = re.compile(r"\b((?:nats|tls|https?)://)[^:@/\s]+(?=@)")
"""A single word before the host of such an address is a token, not a user name."""
