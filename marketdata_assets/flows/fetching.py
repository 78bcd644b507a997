"""Bring what a flow's source has into the folder from which the flow loads: files below a URL, or pages of a JSON API.

Files are copied by fsspec (extra `remote`): what is new or changed there since it was copied. One is written under its
name when it is whole; one that is gone from the source stays. The pages of an API are the files `page-000001.json` and
so on, each the response as it came. The cursor is kept beside them; a new run begins with the last page, which may have
grown.
"""

import asyncio
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from marketdata_assets import state_files
from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import SourceFailed
from marketdata_assets.flows.json_lines import at
from marketdata_assets.flows.sources import Api, Source
from marketdata_assets.http_client import HttpClient, RetriesExhausted, RetryLater, RetryPolicy
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.loading.files import matches
from marketdata_assets.loading.member_names import is_hidden
from marketdata_assets.loading.run import describe
from marketdata_assets.secret_values import find, hide

STATE = Path(".source")
STAMPS = (
    *("ETag", "etag", "checksum", "md5", "Content-MD5", "Digest"),
    *("LastModified", "last_modified", "Last-Modified", "mtime", "modified"),
)
"""What file systems report of a file that changes with its content."""
PATIENCE_SECONDS = 600.0
"""A server that asks for a longer pause is left alone until the next run."""


@dataclass(frozen=True)
class Fetched:
    """Names of the files that were copied, and the causes of those that could not be."""

    copied: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    def check(self, flow: FlowDefinition) -> None:
        """Raise SourceFailed when a file could not be copied."""
        if self.failed and flow.source:
            name, cause = min(self.failed.items())
            said = f"{len(self.failed)} files cannot be copied, such as {name}: {cause}"
            raise SourceFailed(flow.name, str(flow.source.url), said)


def fetch(flow: FlowDefinition, data: Path, environ: Mapping[str, str], budgets: BudgetPlace | None = None) -> Fetched:
    """Copy new and changed files, or save new pages, below the folder `data`; nothing for a flow without a source.

    Secrets are read from `environ`. `budgets` are the rate limits of APIs; default files beside the pages. Raises
    SourceFailed when the source cannot be read at all; what is copied or saved by then stays.
    """
    if flow.source is None:
        return Fetched()
    folder = data / flow.loader.folder
    folder.mkdir(parents=True, exist_ok=True)
    if flow.source.api:
        pages = _Pages(flow.name, flow.source.api, flow.loader.rows, folder, environ, budgets or folder / STATE)
        return asyncio.run(pages.fetch())
    return _copy_files(flow.name, flow.source, flow.loader.glob, folder, environ)


def _copy_files(flow: str, source: Source, globs: list[str], folder: Path, environ: Mapping[str, str]) -> Fetched:
    try:
        system, root = _file_system(flow, source, environ)
        one_file = not str(source.url).endswith("/") and system.isfile(root)
        found = dict(_listed(system, root, one_file, globs))
        if not found:
            raise SourceFailed(flow, str(source.url), f"there is no file that matches {' or '.join(globs)}")
    except SourceFailed:
        raise
    except Exception as error:  # of any file system of fsspec
        raise SourceFailed(flow, str(source.url), describe(error)) from error
    state = folder / STATE / "files.json"
    known = state_files.read(state, msgspec.json.Decoder(dict[str, str]).decode) or {}
    copied, failed = [], {}
    for name, (path, info) in sorted(found.items()):
        try:
            stamp = _stamp(info) or _stamp(system.info(path))
            if stamp and known.get(name) == stamp and (folder / name).is_file():
                continue
            _copy(system, path, info, folder / name)
        except Exception as error:  # of any file system of fsspec
            failed[name] = describe(error)
            continue
        copied.append(name)
        known[name] = stamp
        state_files.write(state, json.dumps(known, ensure_ascii=False))
    return Fetched(tuple(copied), failed)


def _secrets(flow: str, url: str, names: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The values of variables. Raises SourceFailed for one that is not set."""
    values = {name: find(variable, environ) for name, variable in names.items()}
    if unset := [names[name] for name, value in values.items() if value is None]:
        raise SourceFailed(flow, url, f"the variable {unset[0]} is not set")
    return {name: value for name, value in values.items() if value is not None}


def _file_system(flow: str, source: Source, environ: Mapping[str, str]) -> tuple[Any, str]:
    secrets = _secrets(flow, str(source.url), source.secrets, environ)
    try:
        from fsspec.core import url_to_fs

        options = {**source.options, **secrets}
        if urlsplit(hide(str(source.url))).scheme in ("http", "https"):
            options |= _guarded(options, source.redirect_hosts)
        system, root = url_to_fs(source.url, **options)
        system.invalidate_cache()
    except ImportError as error:
        cause = f'{error}; remote files need the extra remote: pip install "marketdata-assets[remote]"'
        raise SourceFailed(flow, str(source.url), cause) from error
    return system, str(root)


def _guarded(options: Mapping[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    """Options with which a redirect to another server is rejected, or carries nothing that we send to the first one."""
    import aiohttp
    from yarl import URL

    async def redirected(_: Any, __: Any, step: aiohttp.TraceRequestRedirectParams) -> None:
        to = step.url.join(URL(step.response.headers.get("Location", "")))
        same = (step.url.host, step.url.port) == (to.host, to.port)
        secured = step.url.host == to.host and step.url.scheme == "http" and to.scheme == "https"
        if (same and step.url.scheme == to.scheme) or (secured and step.url.is_default_port() and to.is_default_port()):
            return
        if to.host not in allowed:
            raise OSError(
                f"it redirects to another server, {to.origin()}, where nothing is requested; if you trust that, add its"
                " host to source.redirect_hosts"
            )
        step.headers.clear()

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(redirected)
    client = dict(options.get("client_kwargs", {}))
    headers = {**client.pop("headers", {}), **options.get("headers", {})}  # those of a client go with every request
    client["trace_configs"] = [*client.get("trace_configs", []), trace]
    return {"client_kwargs": client, "skip_instance_cache": True} | ({"headers": headers} if headers else {})


def _listed(system: Any, root: str, one_file: bool, globs: list[str]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """The files that match: name below the source, path there, and what the file system reports of it."""
    files = {root: system.info(root)} if one_file else system.find(root, detail=True)
    for path, info in files.items():
        below = path.removeprefix(root.rstrip("/")).lstrip("/")
        name = PurePosixPath(urlsplit(path).path).name if one_file else below
        safe = ".." not in PurePosixPath(name).parts and not is_hidden(name)
        if safe and matches(name, globs):
            yield name, (path, info)


def _stamp(info: Mapping[str, Any]) -> str:
    """What changes with the content of a file; empty when its file system reports no such thing."""
    found = {key: str(info[key]) for key in STAMPS if info.get(key) is not None}
    return json.dumps({**found, "size": info.get("size")}) if found else ""


def _copy(system: Any, path: str, info: Mapping[str, Any], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        system.get_file(path, str(part))
        size = info.get("size")
        if size is not None and part.stat().st_size != size:
            raise OSError(f"{part.stat().st_size} bytes were copied, of {size}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class Position(msgspec.Struct, frozen=True):
    """The page to request next: its number, the value of the cursor (none for the first), and a hash of the query."""

    page: int
    cursor: str | int | None
    query: str


class _Pages:
    """One run over the pages."""

    def __init__(
        self, flow: str, api: Api, rows: str, folder: Path, environ: Mapping[str, str], budgets: BudgetPlace
    ) -> None:
        self._flow, self._api, self._rows, self._folder = flow, api, rows, folder
        self._params = {**api.params, **_secrets(flow, api.url, api.secret_params, environ)}
        self._headers = {**api.headers, **_secrets(flow, api.url, api.secret_headers, environ)}
        self._state = folder / STATE / "cursor.json"
        text = json.dumps([api.url, api.params, api.cursor and api.cursor.model_dump()], sort_keys=True)
        self._query = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        host = httpx.URL(api.url).host
        self._budget = Budget(budgets, host, api.rate.per_seconds, api.rate.requests)

    async def fetch(self) -> Fetched:
        api = self._api
        policy = RetryPolicy(timeout=api.timeout_seconds, max_retries=api.max_retries)
        secrets = tuple(str(self._params[name]) for name in api.secret_params)
        secrets += tuple(self._headers[name] for name in api.secret_headers)
        try:
            client = HttpClient(api.url, policy, secrets=secrets, headers=self._headers)
        except ValueError as error:
            raise self._failed(str(error)) from error
        try:
            return await self._all(client)
        except RetriesExhausted as error:
            raise self._failed(f"{error.cause} after {error.attempts} attempts") from error
        finally:
            await client.close()

    async def _all(self, client: HttpClient) -> Fetched:
        at_page, saved = self._position(), []
        for _ in range(self._api.max_pages):
            body = await client.call_with_retry(lambda: self._page(client, at_page), self._budget.block)  # noqa: B023
            document = self._document(body)
            count = len(document[0])
            if count or at_page.page == 1:
                file = self._folder / f"page-{at_page.page:06}.json"
                if not (file.is_file() and file.read_bytes() == body):
                    state_files.write(file, body, state_files.SHARED)
                    saved.append(file.name)
                state_files.write(self._state, msgspec.json.encode(at_page))
            following = self._next(at_page, count, document[1])
            if following is None:
                return Fetched(tuple(saved))
            if following.cursor == at_page.cursor:
                raise self._failed(f"page {at_page.page} leads to itself ({following.cursor!r})")
            at_page = following
        raise self._failed(f"more than {self._api.max_pages} pages; the next run continues, or raise max_pages")

    async def _page(self, client: HttpClient, position: Position) -> bytes | RetryLater:
        params, path = dict(self._params), ""
        cursor = self._api.cursor
        if cursor and position.cursor is not None:
            if isinstance(position.cursor, str) and position.cursor.startswith(("http://", "https://")):
                path = self._rest_of(position.cursor)
            else:
                params[cursor.param] = position.cursor
        await self._budget.acquire(PATIENCE_SECONDS)
        # httpx replaces the query of a URL by params, so a URL of the next page is requested as it is
        options = {"params": params} if not path else {"params": httpx.QueryParams(path.partition("?")[2])}

        def parse(response: httpx.Response) -> bytes | RetryLater:
            if later := client.retry_later(response, response.reason_phrase):
                return later
            if not response.is_success:
                raise self._failed(f"{response.status_code}: {client.rejection(response)}")
            return response.content

        return await client.send(parse, "GET", "", options)

    def _rest_of(self, url: str) -> str:
        """The path and query of the next page's URL, which must be of the same server and path."""
        here, there = httpx.URL(self._api.url), httpx.URL(url)
        if (here.scheme, here.host, here.port, here.path) != (there.scheme, there.host, there.port, there.path):
            raise self._failed(f"the next page is at another address ({url}), where no request is sent")
        return f"{there.path}?{there.query.decode()}"

    def _document(self, body: bytes) -> tuple[list[Any], Any]:
        """The rows of a response, and all of it."""
        try:
            document = msgspec.json.decode(body)
        except NOT_JSON as error:
            raise self._failed(f"a response that is not JSON: {error}") from error
        found = at(document, self._rows)
        if not isinstance(found, list):
            raise self._failed(f"a response without an array at {self._rows or 'its top'}; correct loader.rows")
        return found, document

    def _position(self) -> Position:
        """Where the last run ended, unless its query was another."""
        cursor = self._api.cursor
        first = Position(1, cursor.start if cursor else None, self._query)
        last = state_files.read(self._state, msgspec.json.Decoder(Position).decode)
        return last if last and last.query == self._query else first

    def _next(self, position: Position, rows: int, document: Any) -> Position | None:
        cursor = self._api.cursor
        if cursor is None:
            return None
        if cursor.next is None:
            value: Any = (position.cursor or 0) + cursor.step if rows and not isinstance(position.cursor, str) else None
        else:
            value = at(document, cursor.next)
        if value is None or value == "" or value is False:
            return None
        return Position(position.page + 1, value if isinstance(value, int) else str(value), self._query)

    def _failed(self, cause: str) -> SourceFailed:
        return SourceFailed(self._flow, self._api.url, cause)
