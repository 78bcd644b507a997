"""Requests for containers of runs, over HTTP on a socket of the file system: PUT, GET and DELETE /runs/ID.

Whoever can open the socket can start, stop and look at runs, and nothing else: what a container is does not come from
the request.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from docker.errors import DockerException
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from marketdata_assets.errors import MarketDataError
from marketdata_assets.run_containers.container import NotARun, container_name
from marketdata_assets.run_containers.engine import Engine

Answer = Callable[[str], Awaitable[Response]]


def application(engine: Engine) -> Starlette:
    """The routes. An error is answered with 400, or 503 when it may pass, and its text in `error`."""

    async def start(run_id: str) -> Response:
        await run_in_threadpool(engine.start, run_id)
        return JSONResponse({"container": container_name(run_id)}, status_code=201)

    async def look(run_id: str) -> Response:
        return JSONResponse({"end": await run_in_threadpool(engine.end, run_id)})

    async def stop(run_id: str) -> Response:
        container_name(run_id)
        return Response(status_code=202, background=BackgroundTask(engine.stop, run_id))

    async def health(request: Request) -> Response:
        await run_in_threadpool(engine.ping)
        return Response(status_code=204)

    routes = [
        Route("/runs/{run_id}", _endpoint(start), methods=["PUT"]),
        Route("/runs/{run_id}", _endpoint(look), methods=["GET"]),
        Route("/runs/{run_id}", _endpoint(stop), methods=["DELETE"]),
        Route("/health", health),
    ]
    return Starlette(routes=routes)


def _endpoint(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request.path_params["run_id"])
        except NotARun as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except (MarketDataError, DockerException) as error:
            return JSONResponse({"error": str(error)}, status_code=503)

    return endpoint


def serve(engine: Engine, socket: Path) -> None:
    """Serve at this path until a signal, which stops no run."""
    socket.unlink(missing_ok=True)
    config = uvicorn.Config(application(engine), uds=str(socket), log_level="warning", access_log=False)
    asyncio.run(uvicorn.Server(config).serve())
