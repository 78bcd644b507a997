"""`marketdata up`, `doctor` and `exec`: the local stack and the Dagster UI, the state of servers, Dagster commands.

For service managers and containers: `ui` and `web`, the Dagster UI alone and a read-only page of the market, behind one
guard; `code-server`, which serves the definitions to the UI.
"""

import asyncio
import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marketdata_assets import databases, logs
from marketdata_assets.cli import output
from marketdata_assets.cli.instance import PACKAGE, PASSWORD, CannotRun, adopt, dagster_instance, environment
from marketdata_assets.domains import Store
from marketdata_assets.errors import MarketDataError
from marketdata_assets.local.errors import NoServer, PortTaken
from marketdata_assets.local.group import kept
from marketdata_assets.local.machine import problems
from marketdata_assets.local.process import Watch, free_port, port_is_free, tied_to_us
from marketdata_assets.local.stack import LocalStack, needed
from marketdata_assets.proxies import LOOPBACK
from marketdata_assets.secret_values import without_password
from marketdata_assets.settings import Settings
from marketdata_assets.standard_streams import also_logged, service
from marketdata_assets.ui.guard import SESSIONS, TOKEN, revoke, sessions, token_file

if TYPE_CHECKING:
    from marketdata_assets.reference.status import KnownCalendar

LOOK_SECONDS = 0.5
LONGEST_LINE = 1 << 16
STOP_SECONDS = 30
"""How long the UI and its daemon may take to end."""


@service()
def up(
    ui: Annotated[bool, typer.Option(help="also start the Dagster UI and its daemon")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="print the URLs as one JSON object")] = False,
) -> None:
    """Start the local stack and the Dagster UI; Ctrl-C stops both, the data stays.

    It continues when its terminal is closed; what it reports is in logs/up.log of the data folder as well.
    """
    settings = Settings()
    say = output.notes().print
    for problem in settings.missing_folders():
        say(problem)
    if ui:
        settings = with_ui_port(settings)
    with LocalStack(settings, progress=say) as stack:
        found = environment(settings, stack.endpoints)
        shown = {name: "***" if name == PASSWORD else without_password(value) for name, value in found.items()}
        if as_json:
            output.as_json(shown)
        else:
            output.table("local stack", ("variable", "value"), sorted(shown.items()))
        serve(settings, found, stack.watch(), ui)


def with_ui_port(settings: Settings) -> Settings:
    """The settings with a port of the UI that is free. Raises PortTaken when the person named another."""
    given = settings.ui_port if "ui_port" in settings.model_fields_set else None
    port = port_to_use("the Dagster UI", given, settings.ui_port, "MARKETDATA_UI_PORT")
    return settings.model_copy(update={"ui_port": port})


def serve(settings: Settings, found: dict[str, str], watch: Watch, ui: bool) -> None:
    """Stay in the foreground with the UI, or with the servers alone, until a signal; what ends is started again."""
    code = 0
    if ui:  # first, since the link logs in: the log has none of it
        output.login_link("Dagster UI in a few seconds at", link(settings))
        output.notes().print("the page of the market, with the same login: marketdata web, in another terminal")
    with _stop_on_signal(), also_logged(settings.root / "logs" / "up.log"):
        if not ui:
            output.notes().print("running; Ctrl-C stops it")
            while True:
                watch.look(time.monotonic())
                time.sleep(LOOK_SECONDS)
        output.notes().print("Ctrl-C stops everything, the data stays")
        command = [sys.executable, "-m", "marketdata_assets.ui.processes", str(settings.ui_port)]
        process = subprocess.Popen(
            tied_to_us(kept(command, STOP_SECONDS), signal.SIGINT, None),
            env={**os.environ, **found},
            cwd=settings.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stopping = threading.Event()
        threading.Thread(target=_forward_output, args=(process, stopping), daemon=True).start()
        try:
            while process.poll() is None:
                watch.look(time.monotonic())
                time.sleep(LOOK_SECONDS)
            code = process.returncode
        finally:
            stopping.set()
            process.send_signal(signal.SIGINT)
            process.wait()
    if code != 0:
        output.fail(f"the Dagster UI ended with exit code {code}; its output is above")
        raise typer.Exit(1)


def _forward_output(process: subprocess.Popen[bytes], stopping: threading.Event) -> None:
    """Print the UI's output until it is stopped: sensors that run later report that the code server is gone."""
    assert process.stdout is not None
    while line := process.stdout.readline(LONGEST_LINE):
        if not stopping.is_set():
            sys.stderr.buffer.write(output.forwarded(line))


def doctor(
    yahoo: Annotated[bool, typer.Option("--yahoo", help="send Yahoo one request, to see whether it answers")] = False,
    as_json: output.Json = False,
) -> None:
    """Check every server: version, latency, missing features and how to fix them. Exit code 1 when one is not ok.

    Also names configured folders that do not exist and what this machine lacks (processor, open files, disk), and warns
    when the known trading days end within 60 days. Where the providers file that you named enables Yahoo, or with
    --yahoo, it says what Yahoo answers to one request; that it rejects this machine is no failure.
    """
    machine = problems(Settings().root)
    if not as_json:
        for problem in machine:  # first of all, since libraries crash on a processor that lacks what they need
            output.warn("machine:", problem)
    from marketdata_assets.reference.status import REMEDY
    from marketdata_assets.server_health import check

    names = [*needed(Settings())]
    with ThreadPoolExecutor() as pool:
        health = dict(zip(names, pool.map(check, names), strict=True))
    calendar, servers = _calendar(stored="clickhouse" in health and health["clickhouse"].ok), [*health.values()]
    folders, closed = Settings().missing_folders(), _why_yahoo_is_closed(always=yahoo)
    if as_json:
        found = [vars(health) for health in servers]
        known = {"calendar": vars(calendar), "missing_folders": folders, "machine": machine}
        if closed is not None:
            known["yahoo"] = {"ok": not closed, "answer": closed}
        output.as_json({"servers": found, **known})
    else:
        columns = ("server", "state", "version", "edition", "ms", "url")
        rows = []
        for one in servers:
            latency = "" if one.latency_ms is None else f"{one.latency_ms:.1f}"
            rows.append((one.store, "ok" if one.ok else "not ok", one.version, one.edition, latency, one.url))
        output.table("servers", columns, rows)
        for one in servers:
            for what in one.missing:
                output.console().print(f"{one.store}: {what}")
            if one.remedy:
                output.console().print(f"  remedy: {one.remedy}")
        if calendar.warning:
            output.console().print(f"calendar: {calendar.warning}\n  remedy: {REMEDY}")
        else:
            output.console().print(f"calendar: trading days are known until {calendar.known_until} ({calendar.source})")
        if closed is not None:
            output.console().print(f"yahoo: {closed or 'answers this machine'}")
        for problem in folders:
            output.console().print(problem)
    if folders or not all(one.ok for one in servers):
        raise typer.Exit(1)


def _why_yahoo_is_closed(*, always: bool) -> str | None:
    """Why Yahoo does not answer, empty when it does; None when no request is sent."""
    from marketdata_assets.ticks import providers_file

    try:
        if not always:
            named = Settings().providers
            yahoo = providers_file.chosen(named).yahoo if named else None
            if yahoo is None or not yahoo.enabled:
                return None
        from marketdata_assets.resources import Ticks  # brings Dagster with it

        return asyncio.run(Ticks().why_yahoo_is_closed())
    except MarketDataError as error:
        return str(error)


def _calendar(*, stored: bool) -> "KnownCalendar":
    """How far trading days are known: as stored, or by the library alone."""
    from marketdata_assets.reference.calendar import ZONE
    from marketdata_assets.reference.status import known_calendar

    today = dt.datetime.now(ZONE).date()
    if not stored:
        return known_calendar(None, today)
    with databases.clickhouse() as client:
        return known_calendar(client, today)


def create_tables(as_json: output.Json = False) -> None:
    """Create the missing tables in every database, for users who may only read.

    Loads create the tables that they need, and MongoDB has none. A database whose tables have the form of another
    version is an error.
    """
    done = []
    stores: list[tuple[str, Store]] = [("Postgres", "postgres"), ("ClickHouse", "clickhouse")]
    for name, store in stores:
        with suppress(NoServer), databases.connected(store):
            done.append(name)
    text = f"the tables are there: {', '.join(done)}" if done else "no database is configured"
    output.result(as_json, {"databases": done}, text)


def execute(context: typer.Context) -> None:
    """Run a Dagster command with this project's environment, as: marketdata exec dagster-daemon run.

    It finds the storage, the servers and the folders of this data folder. A command of marketdata runs without a
    storage of Dagster too: the collector and the drain of the container image have none.
    """
    name = context.args[0] if context.args else "dagster"
    try:
        adopt(Settings())
    except CannotRun:
        if name != "marketdata":
            raise
    program = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if program is None:
        raise CannotRun(f"no program {name!r} beside {sys.executable} or on the PATH; try: marketdata exec dagster")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # where a script's background job ignores it, Dagster ignores SIGTERM
    os.execv(program, [name, *context.args[1:]])  # noqa: S606 - the command is the caller's own


@contextmanager
def _stop_on_signal() -> Iterator[None]:
    """Let SIGTERM end the block like Ctrl-C, and let both end it quietly."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # polars takes SIGINT over when it is imported, and restarts what Ctrl-C should interrupt.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


WEB_STOP_SECONDS = 5  # of the market page
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
    after: Annotated[Path | None, typer.Option(help="begin when this socket of a code server is there")] = None,
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
            sessions=settings.root / "dagster" / SESSIONS,
            read_only=read_only,
            after=after,
        )


def ui_sessions(
    revoked: Annotated[str | None, typer.Option("--revoke", help="end the session of this id, or `all`")] = None,
    as_json: output.Json = False,
) -> None:
    """List the browsers that are logged in to the UI and the market page, or log them out.

    A revoked session ends with its next request; who has the token logs in again. Another token ends all sessions.
    """
    folder = Settings().root / "dagster" / SESSIONS
    found = sessions(folder)
    if revoked not in (None, "all", *found):
        raise CannotRun(f"there is no session {revoked}; marketdata ui-sessions lists them")
    ended = [] if revoked is None else [name for name in found if revoked in ("all", name)]
    for name in ended:
        revoke(folder, name)
    columns = ("id", "since", "port", "address", "browser")
    left = [(name, *facts) for name, facts in found.items() if name not in ended]
    if as_json:
        output.as_json({"revoked": ended, "sessions": [dict(zip(columns, row, strict=True)) for row in left]})
    else:
        output.table(f"sessions, {len(ended)} revoked" if revoked else "sessions", columns, left)


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
    servers = Servers(databases.postgres_dsn, databases.clickhouse_url, databases.mongo_server)
    guarded = Guard(application(servers), settings.ui_host_names, token, sessions=settings.root / "dagster" / SESSIONS)
    uvicorn.run(
        guarded,
        host=host,
        port=port,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=WEB_STOP_SECONDS,
    )


REPLAY_PORT = 3200


@service()
def replay_server(
    host: Host = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="port to listen on; default 3200, or a free one")
    ] = None,
) -> None:
    """Serve stored records of exchanges over HTTP and WebSockets, at the pace at which they were received.

    /replay answers with lines of JSON, /ws-replay with a message for each record. At an address that other machines
    reach, requests need "Authorization: Bearer TOKEN", the token of the UI's login, and a name of this machine in
    MARKETDATA_UI_HOSTS. Runs until SIGTERM or Ctrl-C.
    """
    import uvicorn

    from marketdata_assets.ui.guard import Guard
    from marketdata_assets.web.replay import application

    settings = Settings()
    logs.configure(settings.log_format)
    port = port_to_use("marketdata replay-server", port, REPLAY_PORT, "--port", host)
    at = f"{f'[{host}]' if ':' in host else host}:{port}"
    token = _login(settings, f"records at http://{at}/replay and ws://{at}/ws-replay", host in LOOPBACK)
    uvicorn.run(
        Guard(application(databases.clickhouse_url()), settings.ui_host_names, token),
        host=host,
        port=port,
        log_config=None,
        log_level="warning",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=WEB_STOP_SECONDS,
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
