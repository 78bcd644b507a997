"""What the address of each kind of server looks like, so that a malformed one is named before anything connects; and
under which names servers of our own answer.

No part of an address is quoted: any part may be a password at the wrong place. Who connects is the clients' business.
"""

import re
import socket
from urllib.parse import urlsplit

from marketdata_assets.proxies import LOOPBACK
from marketdata_assets.secret_values import unescaped

POSTGRES = (("postgresql", "postgres"), "postgresql://USER:PASSWORD@HOST:5432/DATABASE")
FORMS = {
    "postgres_dsn": POSTGRES,
    "budgets": POSTGRES,
    "mongo_uri": (("mongodb", "mongodb+srv"), "mongodb://USER:PASSWORD@HOST:27017"),
    "clickhouse_url": (("http", "https"), "http://USER:PASSWORD@HOST:8123/DATABASE"),
    "nats_url": (("nats", "tls"), "nats://HOST:4222"),
    "redis_url": (("redis", "rediss"), "redis://HOST:6379/0"),
    "ray_address": (("ray",), "HOST:6379 or ray://HOST:10001"),
    "alert_smtp": (("smtp", "smtps"), "smtp://USER:PASSWORD@HOST:587"),
}
"""By the name of the setting: the schemes of the address, and an example."""
WITHOUT_SCHEME = ("mongo_uri", "ray_address")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\[\]:@\s]*)(?::(?P<port>[^\[\]:]*))?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def problem(name: str, address: str) -> str:
    """Why `address` is none of the kind that the setting `name` takes, and the form that works; "" when it is one."""
    if mark := unescaped(address):
        return f"its password has {mark!r}, which ends the host's part of a URL; write it as %{ord(mark):02X}"
    schemes, form = FORMS[name]
    cause = _cause(name, address, schemes)
    return cause and f"{cause}; write it as {form}"


def _cause(name: str, address: str, schemes: tuple[str, ...]) -> str:
    if FORMS[name] == POSTGRES and "://" not in address:
        return _conninfo_cause(address)
    if name in WITHOUT_SCHEME and "//" not in address:
        address = f"{schemes[0]}://{address}"
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.lower() not in schemes:
        return f"it does not begin with {' or '.join(f'{one}://' for one in schemes)}"
    if name == "nats_url":
        rest = re.sub(r",\s*(nats|tls)://", ",", rest)  # each of several servers may have its own
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, _, hosts = authority.rpartition("@")
    if _BAD_ESCAPE.search(user if FORMS[name] == POSTGRES else ""):
        return "a % in it is no percent-encoded character, write that as %25"
    if "@" in user and name in ("postgres_dsn", "budgets", "mongo_uri"):
        return "it has two @; write that of the password as %40"
    for host in hosts.rpartition("@")[2].split(","):
        found = _HOST.fullmatch(host)
        if found is None:
            return "its host cannot be read; put the address of IPv6 into [ ], and encode other characters as %XX"
        if not found["name"] and FORMS[name] != POSTGRES:
            return "it names no host"
        if not is_port(found["port"]):
            return "its port is no number from 1 to 65535"
    if scheme == "mongodb+srv" and ":" in hosts:
        return "mongodb+srv:// takes no port"
    return _conninfo_cause(address) if FORMS[name] == POSTGRES and "?" in address else ""


def _conninfo_cause(address: str) -> str:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        ports = str(conninfo_to_dict(address).get("port") or "").split(",")
    except psycopg.ProgrammingError:
        return "PostgreSQL's library cannot read it"
    return "" if all(map(is_port, ports)) else "its port is no number from 1 to 65535"


def is_port(text: str | None) -> bool:
    """Whether a text is a number of a port, or empty for the usual one."""
    return not text or (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535)


def answers_to(host: str, named: str) -> bool:
    """Whether a server that listens at `host` answers a request for the host `named`: a name that resolves to this
    machine makes a page of it the same site.

    A name of the public DNS has a dot; those of a local network, of containers and addresses stay allowed.
    """
    name = name_of(named) or ""
    if name in LOOPBACK or name == host:
        return True
    if host in LOOPBACK or not name:
        return False
    address = re.fullmatch(r"[0-9.]+|[0-9a-f:.]+:[0-9a-f:.]*", name)
    local = "." not in name or name.endswith((".local", ".internal", ".svc", ".localhost", ".lan"))
    return bool(address) or local or name in (socket.gethostname(), socket.getfqdn())


def name_of(text: str) -> str | None:
    """The name in a Host header; None where it has none that can be read."""
    try:
        return urlsplit(f"//{text}").hostname
    except ValueError:
        return None
