"""`marketdata web`: a read-only page of the market, behind the guard of the Dagster UI."""

from typing import Annotated

import typer

from marketdata_assets import logs
from marketdata_assets.cli import output, stores
from marketdata_assets.cli.ui import login_token, where
from marketdata_assets.local.errors import PortTaken
from marketdata_assets.local.process import port_is_free
from marketdata_assets.settings import Settings

STOP_SECONDS = 5


def web(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 3100,
    no_login: Annotated[
        bool, typer.Option("--no-login", help="ask for no token: a reverse proxy in front has a login")
    ] = False,
) -> None:
    """Serve a read-only page of the market: what is loaded, candles, order books, coverage, gaps.

    Login, token and host names are those of the Dagster UI: MARKETDATA_UI_TOKEN, or the file dagster/ui_token in the
    data folder, and MARKETDATA_UI_HOSTS. Runs until SIGTERM or Ctrl-C.
    """
    import uvicorn

    from marketdata_assets.ui.guard import Guard
    from marketdata_assets.web.application import application
    from marketdata_assets.web.database import Servers

    settings = Settings()
    logs.configure(settings.log_format)
    if host in ("127.0.0.1", "localhost") and not port_is_free(port):
        raise PortTaken("marketdata web", port, "--port")
    token = None if no_login else login_token(settings)
    output.notes().print(f"market page at http://{host}:{port}" + ("" if no_login else f"; {where(settings)}"))
    servers = Servers(stores.postgres_dsn, stores.clickhouse_url, stores.mongo_server)
    guarded = Guard(application(servers), settings.ui_host_names, token)
    uvicorn.run(guarded, host=host, port=port, log_level="warning", timeout_graceful_shutdown=STOP_SECONDS)
