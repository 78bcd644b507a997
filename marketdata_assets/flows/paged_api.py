"""The pages of a JSON API as files, `page-000001.json` and so on, each the response as it came.

The cursor is kept beside them. A new run begins with the last page, which may have grown.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from marketdata_assets import state_files
from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.flows.errors import SourceFailed
from marketdata_assets.flows.json_lines import at
from marketdata_assets.flows.remote_files import STATE, Fetched
from marketdata_assets.flows.sources import Api
from marketdata_assets.http_client import HttpClient, RetriesExhausted, RetryLater, RetryPolicy
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.secret_values import find

PATIENCE_SECONDS = 600.0
"""A server that asks for a longer pause is left alone until the next run."""


class Position(msgspec.Struct, frozen=True):
    """The page to request next: its number, the value of the cursor (none for the first), and a hash of the query."""

    page: int
    cursor: str | int | None
    query: str


def fetch(
    flow: str,
    api: Api,
    rows: str,
    folder: Path,
    environ: Mapping[str, str],
    budgets: BudgetPlace | None = None,
) -> Fetched:
    """Save the pages from the last one on. Raises SourceFailed; the pages saved by then stay."""
    return asyncio.run(_Pages(flow, api, rows, folder, environ, budgets or folder / STATE).fetch())


class _Pages:
    """One run over the pages."""

    def __init__(
        self, flow: str, api: Api, rows: str, folder: Path, environ: Mapping[str, str], budgets: BudgetPlace
    ) -> None:
        self._flow, self._api, self._rows, self._folder = flow, api, rows, folder
        self._params = {**api.params, **self._secrets(api.secret_params, environ)}
        self._headers = {**api.headers, **self._secrets(api.secret_headers, environ)}
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
                name = f"page-{at_page.page:06}.json"
                if not self._same(name, body):
                    state_files.write(self._folder / name, body, state_files.SHARED)
                    saved.append(name)
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

    def _same(self, name: str, body: bytes) -> bool:
        path = self._folder / name
        return path.is_file() and path.read_bytes() == body

    def _secrets(self, names: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
        values = {name: find(variable, environ) for name, variable in names.items()}
        if unset := [names[name] for name, value in values.items() if value is None]:
            raise self._failed(f"the variable {unset[0]} is not set")
        return {name: value for name, value in values.items() if value is not None}

    def _failed(self, cause: str) -> SourceFailed:
        return SourceFailed(self._flow, self._api.url, cause)
