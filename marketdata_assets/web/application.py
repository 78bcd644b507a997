"""The web page as an ASGI application: routes, time limits, headers, and errors as JSON. The guard is around it."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from marketdata_assets.errors import MarketDataError
from marketdata_assets.logs import get_logger
from marketdata_assets.read.errors import NothingLoaded, ReadError
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.web.database import LONG, Servers
from marketdata_assets.web.errors import BadParameter, TooSlow, Unknown
from marketdata_assets.web.pages import STATIC, Pages, charts, page, rising

ANSWER_SECONDS = 12.0
"""A request of several queries is not waited for longer, times LONG for those about all of a market."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

Endpoint = Callable[[Request], Response]
log = get_logger(__name__)


def application(servers: Servers) -> Starlette:
    """The page over the servers, which are looked up at each request: a part whose server is missing says so."""
    pages = Pages(servers)
    answers: dict[str, Endpoint] = {
        "/api/servers/{name}": pages.server,
        **{f"/api/{kind}": partial(pages.search, kind) for kind in ("stocks", "instruments", "symbols")},
        "/api/stocks/{code}/candles": pages.stock_candles,
        "/api/stocks/{code}/coverage": pages.stock_coverage,
        "/api/stocks/{code}/suspensions": pages.suspensions,
        "/api/symbols/{code}": pages.symbol,
        "/api/quality/{name}/{dataset}/{period}": pages.units,
        "/api/instrument": pages.instrument,
        "/api/instrument/candles": pages.instrument_candles,
        "/api/instrument/gaps": pages.instrument_gaps,
        "/api/instrument/book": pages.book,
        "/api/instrument/trades": pages.trades,
        "/api/alphas": pages.alphas,
        "/api/alphas/compared": pages.compared,
        "/api/flows": pages.flows,
        "/api/flows/{name}": pages.flow,
    }
    long: dict[str, Endpoint] = {"/api/status/{domain}": pages.status, "/api/quality/{name}": pages.quality}
    html = {
        "/": page("front", "Market data"),
        "/quality": page("quality", "Quality over time"),
        "/stock/{code}": page("stock", "Stock", rising),
        "/symbol/{code}": page("symbol", "Symbol", rising),
        "/instrument": page("instrument", "Instrument"),
        "/alphas": page("alphas", "Alphas"),
        "/flows": page("flows", "Flows"),
    }
    routes = [
        *(Route(path, shown) for path, shown in html.items()),
        *(Route(path, _within(ANSWER_SECONDS, answer), methods=["GET"]) for path, answer in answers.items()),
        *(Route(path, _within(ANSWER_SECONDS * LONG, answer), methods=["GET"]) for path, answer in long.items()),
        Route("/server_info", lambda _: JSONResponse({})),  # what a health check asks, without a login
        Route("/static/charts.js", charts),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    handlers = {MarketDataError: failed, HTTPException: _no_such_page, Exception: _broken}
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=_with_headers)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=_life)


@asynccontextmanager
async def _life(_: Starlette) -> AsyncIterator[None]:
    """What the first request would wait for is loaded at once: the calendar brings pandas with it."""
    threading.Thread(target=ashares, daemon=True).start()
    yield


def _within(seconds: float, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint in a thread, which is left to its own time limits when it takes longer. Raises TooSlow."""

    async def limited(request: Request) -> Response:
        try:
            with anyio.fail_after(seconds):
                return await to_thread.run_sync(partial(endpoint, request), abandon_on_cancel=True)
        except TimeoutError:
            raise TooSlow("this page", seconds) from None

    return limited


async def _with_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Nothing from elsewhere is loaded into the page, and no other page shows it in a frame."""
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


def failed(request: Request, error: Exception) -> Response:
    """The error's message as JSON: 400 and 404 for the request, 503 for a server or table that cannot be read."""
    if isinstance(error, Unknown):
        status = 404
    elif isinstance(error, BadParameter | ReadError) and not isinstance(error, NothingLoaded):
        status = 400
    else:
        status = 503
        log.warning("page_without_data", path=request.url.path, error=error)
    return JSONResponse({"error": str(error)}, status)


def _no_such_page(request: Request, error: Exception) -> Response:
    """An address that nothing answers: a page for people, JSON below /api."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if request.url.path.startswith(("/api/", "/static/")):
        cause = "nothing is at this address." if status == 404 else str(error)
        return JSONResponse({"error": cause}, status)
    response = page("missing", "No such page")(request)
    response.status_code = status
    return response


def _broken(_: Request, error: Exception) -> Response:
    """What nothing else has named; Starlette raises it again after this answer, so that the log has all of it."""
    cause = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return JSONResponse({"error": f'unexpected error ({cause}); the log of "marketdata web" has the details.'}, 500)
