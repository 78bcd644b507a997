"""Serve an aiohttp application on a port."""

from aiohttp import web

from marketdata_assets.collector.errors import PortTaken

SHUTDOWN_SECONDS = 2.0


class HttpServer:
    """Serves an aiohttp application."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._runner: web.AppRunner | None = None

    async def listen(self, app: web.Application, remedy: str) -> None:
        """Serve `app`; `port` is then what the system chose for port 0. Raises PortTaken with the remedy."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError as error:
            await runner.cleanup()
            raise PortTaken(f"{self.host}:{self.port}: {error.strerror or error}. {remedy}") from error
        self._runner, self.port = runner, runner.addresses[0][1]

    async def stop(self) -> None:
        """Finish requests in progress, and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
