"""`marketdata ui` and `marketdata web`: the Dagster UI alone, and a read-only page of the market, behind one guard;
`marketdata code-server`, which serves the definitions to the UI.

For service managers and containers; `marketdata up` starts the Dagster UI too.
"""

from pathlib import Path
from typing import Annotated

import typer

from marketdata_assets import logs
from marketdata_assets.cli import output, stores
from marketdata_assets.cli.instance import PACKAGE, adopt, dagster_instance
from marketdata_assets.local.errors import PortTaken
from marketdata_assets.local.process import free_port, port_is_free
from marketdata_assets.settings import Settings
from marketdata_assets.standard_streams import service
from marketdata_assets.ui.guard import TOKEN, token_file

STOP_SECONDS = 5  # of the market page
WEB_PORT = 3100
Host = Annotated[str, typer.Option(help="address to listen on")]
NoLogin = Annotated[bool, typer.Option("--no-login", help="ask for no token: a reverse proxy in front has a login")]


@service()
def ui(
    host: Host = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="port; default MARKETDATA_UI_PORT")] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="workspace.yaml that names the code servers; default one of its own")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="show everything, start and change nothing")] = False,
    no_login: NoLogin = False,
) -> None:
    """Serve the Dagster UI behind a guard, until SIGTERM or Ctrl-C.

    Requests of other sites, and to unknown host names, are rejected. The login is a token: MARKETDATA_UI_TOKEN, or
    the file dagster/ui_token in the data folder. Behind a reverse proxy, name the UI's host in MARKETDATA_UI_HOSTS.
    """
    from marketdata_assets.ui.server import serve

    settings = Settings()
    port = port or settings.ui_port
    logs.configure(settings.log_format)
    port_to_use("the Dagster UI", port, port, "--port", host)
    with dagster_instance(settings) as instance:
        token = _login(settings, f"Dagster UI at http://{host}:{port}", no_login)
        serve(
            instance,
            workspace or PACKAGE / "workspace.yaml",
            host,
            port,
            hosts=settings.ui_host_names,
            token=token,
            read_only=read_only,
        )


def code_server(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 4000,
) -> None:
    """Serve the definitions to the UI and the daemon, and run what they start, until SIGTERM.

    It is `dagster code-server start` for this project: *Reload definitions* in the UI brings new and changed flows.
    SIGTERM lets the runs in progress end first. Exit code 1 when the process that has the code was killed.
    """
    from marketdata_assets.ui.code_server import PROJECT, serve

    adopt(Settings())
    raise typer.Exit(serve(["--host", host, "--port", str(port), *PROJECT]))


@service()
def web(
    host: Host = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="port to listen on; default 3100, or a free one")
    ] = None,
    no_login: NoLogin = False,
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
    port = port_to_use("marketdata web", port, WEB_PORT, "--port", host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    token = login_token(settings) if not no_login else None
    output.login_link("market page at", f"{address}/?{TOKEN}={token}" if token else address)
    servers = Servers(stores.postgres_dsn, stores.clickhouse_url, stores.mongo_server)
    guarded = Guard(application(servers), settings.ui_host_names, token)
    uvicorn.run(
        guarded,
        host=host,
        port=port,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def port_to_use(what: str, given: int | None, default: int, setting: str, host: str = "127.0.0.1") -> int:
    """The port that somebody gave, or the default, or a free one that is said where another process has that.

    Raises PortTaken when another process of this machine has the given one.
    """
    port = given or default
    if host not in ("127.0.0.1", "localhost") or port_is_free(port):
        return port
    if given:
        raise PortTaken(what, port, setting)
    free = free_port()
    output.notes().print(f"{what}: port {port} is in use, so it takes port {free}; {setting} names another")
    return free


def _login(settings: Settings, address: str, no_login: bool) -> str | None:
    """Print the address and where the token of its login is; the token, unless there is no login."""
    token = None if no_login else login_token(settings)
    where = (
        "is MARKETDATA_UI_TOKEN" if settings.ui_token is not None else f"is in {token_file(settings.root / 'dagster')}"
    )
    output.notes().print(address if no_login else f"{address}; the token of its login {where}")
    return token


def login_token(settings: Settings) -> str:
    """The token of the UI's login: the configured one, or that of the data folder."""
    if settings.ui_token is not None:
        return settings.ui_token.get_secret_value()
    return token_file(settings.root / "dagster").read_text().strip()


def link(settings: Settings) -> str:
    """The address of the UI on this machine, with the token that logs a browser in."""
    return f"http://127.0.0.1:{settings.ui_port}/?{TOKEN}={login_token(settings)}"
