"""What every request to the Dagster UI has to show: a known Host, this site as its origin, and the login.

Dagster's webserver itself takes a mutation by GET, in any content type and from a page of any site, and has no login.
A browser names the site that a request comes from, in `Sec-Fetch-Site` and `Origin`; a page cannot change either. Host
is checked because a foreign name that resolves to this machine (DNS rebinding) makes a foreign page the same site.
"""

import hmac
import secrets
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from marketdata_assets import state_files
from marketdata_assets.logs import get_logger
from marketdata_assets.proxies import LOOPBACK
from marketdata_assets.secret_values import escaped, hide, mask_bytes, masked

OPEN_PATHS = ("/server_info",)
"""Versions alone, for health checks: no login."""
COOKIE = "marketdata_ui"
SESSION_SECONDS = 30 * 86_400
DOCUMENTS = ("application/json", "text/html", "text/plain")
POLICY_VIOLATION = 1008
HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""No foreign page shows the UI in a frame, loads parts of it, or keeps a handle on its window."""
LOGIN_PAGE = """<!doctype html><meta charset="utf-8"><title>Log in</title>
<style>body{font:16px system-ui;max-width:34em;margin:15vh auto;padding:0 1em}input{font:inherit;width:100%}</style>
<h1>Log in</h1>
<p>Open the link that <code>marketdata up</code> prints, or paste the token of the file
<code>dagster/ui_token</code> in the data folder.</p>
<form><input name="token" type="password" autofocus autocomplete="off" aria-label="token"></form>"""

log = get_logger(__name__)


Rejection = tuple[int, str]
"""Why a request is not answered: the HTTP status, and the text with the remedy."""


class Guard:
    """ASGI middleware around the UI.

    `hosts` are names that the UI may be called by besides loopback: those of a proxy, whose X-Forwarded-Proto is then
    believed. `token` is what a browser shows once as `?token=...`, and what a program sends as `Authorization: Bearer
    ...`; None is no login. A browser gets a session of its own in a cookie, signed with the token: for this port alone,
    until its end, until the token is another, or until it is revoked in the folder `sessions`.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] = (),
        token: str | None = None,
        clock: Callable[[], float] = time.time,
        sessions: Path | None = None,
    ) -> None:
        self._app, self._token, self._clock, self._sessions = app, token, clock, sessions
        self._proxies = frozenset(host.lower() for host in hosts)
        self._hosts = frozenset({*LOOPBACK, *self._proxies})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        rejection = rejected(scope, connection.headers, self._hosts)
        if rejection is None and not self._logged_in(connection):
            await self._log_in(connection, scope, receive, send)
        elif rejection is None:
            await self._app(scope, receive, _without_secrets(send))
        else:
            status, reason = rejection
            log.warning("request rejected", path=scope["path"], reason=reason)
            await _answer(PlainTextResponse(reason + "\n", status), scope, receive, send)

    def _logged_in(self, connection: HTTPConnection) -> bool:
        if self._token is None or connection.url.path in OPEN_PATHS:
            return True
        scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(bearer)
        name = _cookie(connection)
        until, _, rest = connection.cookies.get(name, "").partition(".")
        nonce, _, signature = rest.partition(".")
        lasts = until.isascii() and until.isdecimal() and len(until) < 12 and self._clock() < int(until)
        signed = hmac.compare_digest(signature.encode(), self._signature(name, until, nonce).encode())
        return lasts and signed and not (self._sessions and (self._sessions / f"{nonce}{REVOKED}").exists())

    def _note(self, session: str, connection: HTTPConnection) -> None:
        """Put a session into the folder, so that somebody can revoke it, and take out those that have ended."""
        if self._sessions is None:
            return
        client = connection.client.host if connection.client else "?"
        told = f"{connection.url.port or connection.url.scheme}\n{client}\n{connection.headers.get('user-agent', '')}"
        try:
            state_files.write(self._sessions / session, escaped(told, "\n"))
            for file in self._sessions.iterdir():
                if file.stat().st_mtime + SESSION_SECONDS < time.time():
                    file.unlink(missing_ok=True)
        except OSError as error:  # a full disk locks nobody out
            log.warning("session not listed", error=error)

    def _signature(self, *said: str) -> str:
        return hmac.new((self._token or "").encode(), "\n".join(said).encode(), "sha256").hexdigest()

    def _is_token(self, shown: str) -> bool:
        return self._token is not None and hmac.compare_digest(shown.encode(), self._token.encode())

    async def _log_in(self, connection: HTTPConnection, scope: Scope, receive: Receive, send: Send) -> None:
        """Exchange the token in the URL for a cookie, or ask for it."""
        shown = connection.query_params.get(TOKEN, "").strip()
        response: Response
        if scope["type"] == "http" and scope["method"] == "GET" and self._is_token(shown):
            others = QueryParams([item for item in connection.query_params.multi_items() if item[0] != TOKEN])
            path = "/" + connection.url.path.lstrip("/")
            response = RedirectResponse(path + (f"?{others}" if others else ""), 303)
            name, until, nonce = _cookie(connection), str(int(self._clock()) + SESSION_SECONDS), secrets.token_hex(8)
            self._note(nonce, connection)
            session = f"{until}.{nonce}.{self._signature(name, until, nonce)}"
            by_tls = connection.url.scheme == "https" or (
                _name(connection.headers.get("host", "")) in self._proxies
                and connection.headers.get("x-forwarded-proto", "").lower() == "https"
            )
            response.set_cookie(name, session, SESSION_SECONDS, secure=by_tls, httponly=True, samesite="lax")
        elif "text/html" in connection.headers.get("accept", ""):
            response = HTMLResponse(LOGIN_PAGE, 401)
        else:
            response = PlainTextResponse('Not logged in: send "Authorization: Bearer TOKEN".\n', 401)
        await _answer(response, scope, receive, send)


def rejected(scope: Scope, headers: Headers, hosts: Collection[str]) -> Rejection | None:
    """Why a request to the UI is rejected whoever sends it; None when it is not."""
    host = headers.get("host", "")
    if _name(host) not in hosts:
        reason = f"Host {host!r} is unknown. If it is a name of this UI, put it into MARKETDATA_UI_HOSTS."
        return 421, reason
    if escaped(scope["path"]) != scope["path"] or b"%00" in scope["query_string"]:
        return 400, "The address has a control character."
    graphql = scope["path"].rstrip("/").endswith("/graphql")
    page = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and not graphql
    if not page and (foreign := _foreign_origin(headers, host)):
        return 403, f"A page of {foreign} may not use this UI. Open the UI itself."
    if scope["type"] == "websocket":
        return None
    if graphql and scope["method"] != "POST" and "text/html" not in headers.get("accept", ""):
        return 405, "GraphQL is answered to POST alone. Send the query as JSON."
    if scope["method"] == "POST" and headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return 415, "Send POST with Content-Type: application/json."
    return None


def _foreign_origin(headers: Headers, host: str) -> str:
    """The other site that a browser says the request comes from; "" for this site, and for programs."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site in ("same-origin", "none"):
        return ""
    if site is not None:
        return origin or "another site"
    if origin is None or origin.lower().removeprefix("https://").removeprefix("http://") == host.lower():
        return ""
    return origin


def _name(host: str) -> str | None:
    """The name in `NAME:PORT`; None when it is neither that nor a name."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname if parts.netloc == host and (parts.port is None or parts.port > 0) else None
    except ValueError:
        return None


def _cookie(connection: HTTPConnection) -> str:
    """The cookie's name, with the port: a browser sends the cookies of a host to all of its ports."""
    return f"{COOKIE}_{connection.url.port or connection.url.scheme}"


def _without_secrets(send: Send) -> Send:
    """With our headers, and without values of secrets in documents, wherever the UI has them from."""
    document = False

    async def sender(message: Message) -> None:
        nonlocal document
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            document = headers.get("content-type", "").startswith(DOCUMENTS)
        elif message["type"] == "http.response.body" and document:
            message = {**message, "body": mask_bytes(message.get("body", b""))}
        elif message["type"] == "websocket.send" and message.get("text"):
            message = {**message, "text": masked(message["text"])}
        await send(message)

    return sender


async def _answer(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
    else:
        response.headers.update(HEADERS)
        await response(scope, receive, send)


FILE, SESSIONS, REVOKED = "ui_token", "ui_sessions", ".revoked"
TOKEN = "token"  # noqa: S105 - the name of the parameter in the link


def token_file(dagster_home: Path) -> Path:
    """The file with the token of a data folder, made with a random one when there is none."""
    file = dagster_home / FILE
    hide(state_files.made_once(file, lambda: secrets.token_urlsafe(32) + "\n").strip())
    return file


def sessions(folder: Path) -> dict[str, tuple[str, ...]]:
    """By id the sessions that last, oldest first: since when (UTC), the port, the client's address, its browser."""
    files = [(file.stat().st_mtime, file) for file in folder.glob("*") if file.name.isalnum()]
    lasting = sorted(one for one in files if time.time() < one[0] + SESSION_SECONDS)
    return {
        file.name: (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}", *file.read_text().split("\n", 2))
        for at, file in lasting
    }


def revoke(folder: Path, session: str) -> None:
    """End one of `sessions` at its next request."""
    (folder / session).rename(folder / f"{session}{REVOKED}")
