"""Serve an aiohttp application on a port."""

from aiohttp import web

from marketdata_assets.collector.errors import PortTaken

SHUTDOWN_SECONDS = 2.0


async def listen(app: web.Application, host: str, port: int, remedy: str) -> tuple[web.AppRunner, int]:
    """Serve `app`; its runner, which ends it with `cleanup`, and the port, chosen by the system for port 0.

    Raises PortTaken with the remedy.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise PortTaken(f"{host}:{port}: {error.strerror or error}. {remedy}") from error
    return runner, runner.addresses[0][1]
