"""How the address of a server may be shown."""

import re


def without_password(url: str) -> str:
    """A URL, or `host=... password=...` as PostgreSQL also takes it, as it may be shown; also inside a text."""
    return _PASSWORD_WORD.sub(r"\1***", _TOKEN.sub(r"\1***", _PASSWORD_BEFORE_HOST.sub(r"\1***", url)))


# Up to the last @, since a password that was not encoded may hold any character.
_PASSWORD_BEFORE_HOST = re.compile(r"(://[^:@/]*:).*(?=@)")
_PASSWORD_WORD = re.compile(r"(\w*password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE)
_TOKEN = re.compile(r"\b((?:nats|tls)://)[^:@/\s]+(?=@)")
"""What stands alone before the host is a token there, not a name."""
