"""`marketdata ui`: the Dagster UI alone, for service managers and containers; `marketdata up` starts it too."""

from pathlib import Path
from typing import Annotated

import typer

from marketdata_assets import logs
from marketdata_assets.cli import output
from marketdata_assets.cli.instance import PACKAGE, dagster_instance
from marketdata_assets.local.errors import PortTaken
from marketdata_assets.local.process import port_is_free
from marketdata_assets.settings import Settings
from marketdata_assets.ui.guard import TOKEN, token_file


def ui(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="port; default MARKETDATA_UI_PORT")] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="workspace.yaml that names the code servers; default one of its own")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="show everything, start and change nothing")] = False,
    no_login: Annotated[
        bool, typer.Option("--no-login", help="ask for no token: a reverse proxy in front has a login")
    ] = False,
) -> None:
    """Serve the Dagster UI behind a guard, until SIGTERM or Ctrl-C.

    Requests of other sites, and to unknown host names, are rejected. The login is a token: MARKETDATA_UI_TOKEN, or
    the file dagster/ui_token in the data folder. Behind a reverse proxy, name the UI's host in MARKETDATA_UI_HOSTS.
    """
    from marketdata_assets.ui.server import serve

    settings = Settings()
    logs.configure(settings.log_format)
    port = port or settings.ui_port
    if host in ("127.0.0.1", "localhost") and not port_is_free(port):
        raise PortTaken("the Dagster UI", port, "--port")
    with dagster_instance(settings) as instance:
        token = None if no_login else login_token(settings)
        output.notes().print(f"Dagster UI at http://{host}:{port}" + ("" if no_login else f"; {where(settings)}"))
        serve(
            instance,
            workspace or PACKAGE / "workspace.yaml",
            host,
            port,
            hosts=settings.ui_host_names,
            token=token,
            read_only=read_only,
        )


def login_token(settings: Settings) -> str:
    """The token of the UI's login: the configured one, or that of the data folder."""
    if settings.ui_token is not None:
        return settings.ui_token.get_secret_value()
    return token_file(settings.root / "dagster").read_text().strip()


def link(settings: Settings) -> str:
    """The address of the UI on this machine, with the token that logs a browser in."""
    return f"http://127.0.0.1:{settings.ui_port}/?{TOKEN}={login_token(settings)}"


def where(settings: Settings) -> str:
    """Where a person finds the token."""
    if settings.ui_token is not None:
        return "the token of its login is MARKETDATA_UI_TOKEN"
    return f"the token of its login is in {token_file(settings.root / 'dagster')}"
