"""A page of another site that tries, in a browser that is logged in to the UI, to start something there.

Each attempt adds a partition of a name of its own, so that what reached the UI can be told.
"""

import asyncio
import http.server
import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

ADD = """mutation Add($key: String!) {addDynamicPartition(
  partitionsDefName: "tick_symbols", partitionKey: $key,
  repositorySelector: {repositoryLocationName: "marketdata_assets", repositoryName: "__repository__"}) {__typename}}"""
DELETE = """mutation Delete($keys: [String!]!) {deleteDynamicPartitions(
  partitionsDefName: "tick_symbols", partitionKeys: $keys,
  repositorySelector: {repositoryLocationName: "marketdata_assets", repositoryName: "__repository__"}) {__typename}}"""
SYMBOLS = """{assetNodeOrError(assetKey: {path: ["tick_data"]}) {... on AssetNode {
  partitionKeysByDimension {name partitionKeys}}}}"""

PAGE = """<!doctype html><meta charset="utf-8"><title>attack</title><body><script>
const ui = UI, add = ADD, mark = MARK, attempts = {};
const key = how => `${mark}-${how}`;
const body = how => JSON.stringify({query: add, variables: {key: key(how)}});
const variables = how => encodeURIComponent(JSON.stringify({key: key(how)}));
const url = how => `${ui}/graphql?query=${encodeURIComponent(add)}&variables=${variables(how)}`;
const settle = (how, answer) => answer.then(
  async response => attempts[how] = response.type === 'opaque' ? 'sent' : 'read ' + (await response.text()),
  error => attempts[how] = 'failed');
const loaded = (element, how, set) => new Promise(done => {
  element.onload = element.onerror = () => { attempts[how] = 'sent'; done(); };
  set(element); document.body.append(element); setTimeout(done, 3000); });
const simple = {mode: 'no-cors', credentials: 'include'}, whole = {credentials: 'include'};
const type = value => ({method: 'POST', headers: {'Content-Type': value}});
const socket = () => new Promise(done => {
  const opened = new WebSocket(ui.replace('http', 'ws') + '/graphql', 'graphql-ws');
  opened.onopen = () => { attempts.socket = 'opened'; opened.send(JSON.stringify({type: 'connection_init'}));
    opened.send(JSON.stringify({id: '1', type: 'start', payload: {query: add, variables: {key: key('socket')}}}));
    setTimeout(done, 1000); };
  opened.onerror = opened.onclose = () => { attempts.socket ??= 'failed'; done(); }; });
const form = how => { const sent = document.createElement('form'), frame = document.createElement('iframe');
  frame.name = how; Object.assign(sent, {method: 'post', action: url(how), enctype: 'text/plain', target: how});
  document.body.append(frame, sent);
  return new Promise(done => { setTimeout(done, 3000);
    frame.onload = () => { attempts[how] = 'sent'; done(); }; sent.submit(); }); };
(async () => {
  await settle('get', fetch(url('get'), simple));
  await settle('get-cors', fetch(url('get-cors'), whole));
  await settle('plain', fetch(`${ui}/graphql`, {...simple, ...type('text/plain'), body: body('plain')}));
  await settle('query', fetch(url('query'), {...simple, method: 'POST'}));
  await settle('json', fetch(`${ui}/graphql`, {...whole, ...type('application/json'), body: body('json')}));
  await settle('beacon', Promise.resolve(new Response(String(navigator.sendBeacon(url('beacon'), 'x')))));
  await loaded(document.createElement('img'), 'img', e => e.src = url('img'));
  await loaded(document.createElement('script'), 'script', e => e.src = url('script'));
  await loaded(document.createElement('iframe'), 'frame', e => e.src = url('frame'));
  await form('form'); await socket();
  window.attempts = attempts; window.framed = [...document.querySelectorAll('iframe')].length;
})();
</script>"""

OPEN_SOCKET = """const done = arguments[0], opened = new WebSocket(
  location.origin.replace('http', 'ws') + '/graphql', 'graphql-ws');
opened.onopen = () => done('open'); opened.onerror = () => done('failed');"""
"""What the UI's own page does, for a script that says how it ended."""
HOW = ("get", "get-cors", "plain", "query", "json", "beacon", "img", "script", "frame", "form", "socket")


@contextmanager
def attacking(ui: str, mark: str) -> Iterator[int]:
    """The port of a server on this machine whose page attacks the UI at this address."""
    page = PAGE.replace("UI", json.dumps(ui), 1).replace("ADD", json.dumps(ADD), 1).replace("MARK", json.dumps(mark), 1)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            """No lines on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def tunnel(port: int) -> Iterator[int]:
    """Another port of this machine that leads to `port`, as `ssh -L` makes one."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async def serve() -> None:
        server, end = await asyncio.start_server(connected, "127.0.0.1", 0), asyncio.Event()
        started.put((asyncio.get_running_loop(), end, server.sockets[0].getsockname()[1]))
        await end.wait()
        server.close()

    started: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, end, listening = started.get(timeout=30)
    try:
        yield listening
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


def reached(answer: Mapping[str, Any], mark: str) -> list[str]:
    """The attempts of a page that added their partition, by the answer to SYMBOLS."""
    dimensions = answer["assetNodeOrError"]["partitionKeysByDimension"]
    keys = [key for dimension in dimensions for key in dimension["partitionKeys"]]
    assert len(keys) > 1
    return sorted(key.removeprefix(f"{mark}-") for key in keys if key.startswith(f"{mark}-"))
