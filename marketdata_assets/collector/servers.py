"""Where the servers are that the collector writes to, and the token it asks for. Nothing of it is in the config file.

The environment goes before the file of secrets, and that before the local stack.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from marketdata_assets import config_files
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.secret_values import hide
from marketdata_assets.server_addresses import problem
from marketdata_assets.settings import CollectorSettings, Settings
from marketdata_assets.stores import clickhouse_address

Secret = Annotated[str | None, Field(min_length=1, repr=False)]


class Servers(config_files.Section):
    """Addresses, which may hold passwords; None where there is none."""

    nats_url: Secret = None
    clickhouse_url: Secret = None
    redis_url: Secret = None
    token: Secret = None


def find(settings: Settings, overrides: CollectorSettings, local: Servers) -> Servers:
    """Look up every server. Raises InvalidConfigFile."""
    token = settings.collector_token.get_secret_value() if settings.collector_token else None
    named = {
        "nats_url": settings.nats_url or overrides.nats_url,
        "clickhouse_url": settings.clickhouse_url,
        "redis_url": settings.redis_url,
        "token": token,
    }
    secret = read_secrets(settings.collector_secrets) if settings.collector_secrets else Servers()
    found = {key: named[key] or getattr(secret, key) or getattr(local, key) for key in Servers.model_fields}
    found["clickhouse_url"] = clickhouse_address.with_cluster(found["clickhouse_url"], settings.clickhouse_cluster)
    return Servers(**found)


def check_address(servers: Servers, key: str) -> None:
    """Raises CollectorError when an address is none."""
    if found := problem(key, getattr(servers, key) or ""):
        raise CollectorError(f"MARKETDATA_{key.upper()}, or {key} in the secrets file: {found}")


def read_secrets(file: Path) -> Servers:
    """A YAML file of mode 0600 with any of the keys of Servers. Raises InvalidConfigFile, which shows no value."""
    found = config_files.read(file, secret=True).validate(Servers)
    for value in found.model_dump(exclude_none=True).values():
        hide(value)
    return found
