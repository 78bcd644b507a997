"""How an output reaches its readers: a pipe, a TCP or unix socket, or a WebSocket. It does not know what is sent."""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from marketdata_assets.collector.output_address import OutputAddress

Write = Callable[[Sequence[bytes]], Awaitable[None]]
"""Send lines, without their ends, to one reader, and wait while it is slow. Raises OSError when it has gone."""

Attend = Callable[[Write], Awaitable[None]]
"""Serve one reader; returns when it has gone."""

OnListening = Callable[[int], None]
"""Called with the port, 0 where there is none."""


async def serve(address: OutputAddress, attend: Attend, on_listening: OnListening) -> None:
    """Serve readers until cancelled; stdout until its reader has gone. Raises OSError when it cannot listen."""
    if address.kind == "stdout":
        on_listening(0)
        await attend(_Pipe(sys.stdout.fileno()).write)
    elif address.kind == "ws":
        await _serve_websockets(address, attend, on_listening)
    else:
        await _serve_streams(address, attend, on_listening)


class _Pipe:
    """Writes to a file descriptor in a thread of its own: a full pipe blocks nothing else, nor the end of the process.

    The descriptor stays in blocking mode, for it may be shared with stderr.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._work: SimpleQueue[tuple[bytes, asyncio.Future[None]]] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="stdout", daemon=True).start()

    async def write(self, lines: Sequence[bytes]) -> None:
        done = self._loop.create_future()
        self._work.put((_joined(lines), done))
        await done

    def _run(self) -> None:
        while True:
            data, done = self._work.get()
            error: OSError | None = None
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as failed:
                error = failed
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_finish, done, error)


def _finish(done: "asyncio.Future[None]", error: OSError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


async def _serve_streams(address: OutputAddress, attend: Attend, on_listening: OnListening) -> None:
    tasks: set[asyncio.Future[None]] = set()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(lines: Sequence[bytes]) -> None:
            writer.write(_joined(lines))
            await writer.drain()

        task = asyncio.ensure_future(attend(write))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _: writer.close())

    if address.kind == "unix":
        await _remove_stale(address.path)
        server = await asyncio.start_unix_server(connected, address.path)
    else:
        server = await asyncio.start_server(connected, address.host, address.port)
    try:
        on_listening(0 if address.kind == "unix" else server.sockets[0].getsockname()[1])
        # Not serve_forever: from Python 3.12 its cancellation waits until every reader has closed its side.
        await asyncio.Event().wait()
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if address.kind == "unix":
            Path(address.path).unlink(missing_ok=True)


async def _remove_stale(path: str) -> None:
    """Remove the socket of a process that was killed. Raises OSError when a process listens on it."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        Path(path).unlink(missing_ok=True)
        return
    writer.close()
    raise OSError(f"{path} is in use by another process")


async def _serve_websockets(address: OutputAddress, attend: Attend, on_listening: OnListening) -> None:
    from aiohttp import WSCloseCode, web

    sockets: set[web.WebSocketResponse] = set()

    async def connected(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=30.0)
        await socket.prepare(request)

        async def write(lines: Sequence[bytes]) -> None:
            for line in lines:
                await socket.send_str(line.decode())

        serving = asyncio.ensure_future(attend(write))
        sockets.add(socket)
        try:
            async for _ in socket:  # until the reader closes it
                pass
        finally:
            sockets.discard(socket)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        return socket

    app = web.Application()
    app.router.add_get("/", connected)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
        on_listening(runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        for socket in list(sockets):
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await socket.close(code=WSCloseCode.GOING_AWAY)
        await runner.cleanup()


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"\n".join((*lines, b""))
