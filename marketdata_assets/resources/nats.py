"""NATS with JetStream: what the collector publishes to."""

import asyncio

import dagster as dg

from marketdata_assets.local import endpoints
from marketdata_assets.resources.health import Health, examine
from marketdata_assets.secret_values import without_password
from marketdata_assets.server_versions import require
from marketdata_assets.settings import Settings


class Nats(dg.ConfigurableResource):
    """A NATS server. An empty `url` means MARKETDATA_NATS_URL, else the running local stack."""

    url: str = ""

    @property
    def server(self) -> str:
        """The server's URL; raises NoServer when nothing names one."""
        return self.url or endpoints.address(Settings(), "nats_url")

    def check(self) -> Health:
        """Ask for the version, the round trip and whether JetStream is on."""
        return examine("nats_url", self.url, lambda url: asyncio.run(_ask(url)))


async def _ask(url: str) -> Health:
    import nats
    from nats.js.errors import ServiceUnavailableError

    # By default the library retries for two minutes and prints the error of each attempt with its traceback.
    client = await nats.connect(
        url, connect_timeout=3, max_reconnect_attempts=1, reconnect_time_wait=0, allow_reconnect=False, error_cb=_quiet
    )
    try:
        version = client.connected_server_version
        latency = await client.rtt() * 1000
        try:
            await client.jetstream().account_info()
            jetstream = True
        except (ServiceUnavailableError, nats.errors.NoRespondersError, nats.errors.TimeoutError):
            jetstream = False
    finally:
        await client.close()
    text = f"{version.major}.{version.minor}.{version.patch}"
    require("NATS", text)
    missing, remedy = [], []
    if not jetstream:
        missing.append("JetStream is off")
        remedy.append("add jetstream {} to the server's configuration")
    edition = "JetStream" if jetstream else "core"
    return Health("NATS", True, without_password(url), text, edition, latency, tuple(missing), "; ".join(remedy))


async def _quiet(error: Exception) -> None:
    """The last error is raised."""
