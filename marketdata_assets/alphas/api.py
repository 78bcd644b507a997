"""The BRAIN API for one account: log in, list the alphas of a window, read one alpha.

    GET /users/self/alphas?limit=100&offset=0&type=REGULAR&order=dateCreated
        &dateCreated%3E=2024-11-01T00:00:00.000Z&dateCreated%3C2024-12-01T00:00:00.000Z
    {"count": 2, "next": null, "previous": null, "results": [{"id": "xVWpJpp", ...}, {"id": "6XpMb0aG", ...}]}

The operator of a bound is part of the parameter's name. `next` is never followed, nor is a redirect:
credentials and cookies go to the configured server only. What is done with alphas is decided in `fetch`.
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import httpx

from marketdata_assets.alphas.accounts import Credentials
from marketdata_assets.alphas.api_requests import (
    RETRY_POLICY,
    ApiRequests,
    ApiResponse,
    Listed,
    Page,
    decode_alpha,
    decode_listed,
    decode_page,
)
from marketdata_assets.alphas.errors import LoginRejected, RequestRejected, UnsafeId
from marketdata_assets.alphas.layout import Kind, Window, stamp
from marketdata_assets.alphas.login import Login
from marketdata_assets.alphas.record_sets import PATHS, POLL_SECONDS, Pending, Records, RecordSet, decoder
from marketdata_assets.budget import Budget
from marketdata_assets.concurrency_limit import ConcurrencyLimit
from marketdata_assets.http_client import RetryPolicy, retry_after

T = TypeVar("T")

PAGE_LIMIT = 100
"""The most alphas the API puts on one page."""

CONCURRENCY = 5
"""Concurrent requests of one account at most."""

PATIENCE = 50
"""A server that times out with so many requests seldom gets faster: trials must stay a small part of the requests."""

_MAX_LOGINS = 4
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class BrainClient:
    """One account at the API. Use it within `async with`, in one event loop; `login` is done by the first request."""

    def __init__(
        self,
        account: str,
        credentials: Credentials,
        url: str,
        *,
        sessions: Path,
        budget: Budget,
        policy: RetryPolicy = RETRY_POLICY,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.account = account
        self.concurrency_limit = ConcurrencyLimit(concurrency, name=f"BRAIN {account}", patience=PATIENCE)
        secrets = (credentials.email, credentials.password)
        self._api = ApiRequests(url, budget, policy, self.concurrency_limit, secrets=secrets)
        self.login = Login(account, credentials, self._api, sessions)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()

    @property
    def requests(self) -> int:
        """Requests sent so far, retries and logins included."""
        return self._api.sent

    async def page(self, kind: Kind, window: Window, offset: int = 0, limit: int = PAGE_LIMIT, where: str = "") -> Page:
        """The alphas of `window` from number `offset` on, oldest first, and how many there are in all.

        `where` are further parameters, such as those of `filters`.
        """
        path = (
            f"/users/self/alphas?limit={limit}&offset={offset}&type={kind.upper()}&order=dateCreated"
            f"&dateCreated%3E={stamp(window.start)}&dateCreated%3C{stamp(window.end)}{where}"
        )
        return await self._get(path, decode_page)

    async def ordered(self, kind: Kind, order: str, offset: int = 0, limit: int = PAGE_LIMIT) -> Page:
        """All alphas in another order, which the API may ignore or reject."""
        path = f"/users/self/alphas?limit={limit}&offset={offset}&type={kind.upper()}&order={order}"
        return await self._get(path, decode_page)

    async def alpha(self, alpha_id: str) -> bytes | None:
        """The raw bytes of one alpha; None when the API does not know it. Raises UnsafeId."""
        answer = await self._of_alpha(alpha_id, "", decode_alpha)
        return answer.value if answer else None

    async def listed(self, path: str, parameters: Mapping[str, Any]) -> Listed:
        """A page of a catalogue, such as /data-fields of one market."""
        return await self._get(f"{path}?{urlencode(parameters)}" if parameters else path, decode_listed)

    async def records(self, alpha_id: str, record_set: RecordSet) -> Records | Pending | None:
        """A record set of one alpha; Pending while BRAIN computes it, None when there is none. Raises UnsafeId."""
        answer = await self._of_alpha(alpha_id, f"/{PATHS[record_set]}", decoder(record_set))
        if answer is None or answer.value is None:
            return None
        wait = retry_after(answer.response, dt.datetime.now(dt.UTC))
        if wait is None and answer.value.types:
            return answer.value
        return Pending(POLL_SECONDS if wait is None else wait)

    async def _of_alpha(self, alpha_id: str, what: str, decode: Callable[[bytes], T]) -> ApiResponse[T] | None:
        """The response about one alpha; None when the API does not know it."""
        if alpha_id in ("", ".", "..") or _UNSAFE.search(alpha_id):
            raise UnsafeId
        try:
            return await self._response(f"/alphas/{quote(alpha_id, safe='')}{what}", decode)
        except RequestRejected as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    async def _get(self, path: str, decode: Callable[[bytes], T]) -> T:
        value = (await self._response(path, decode)).value
        assert value is not None
        return value

    async def _response(self, path: str, decode: Callable[[bytes], T]) -> ApiResponse[T]:
        for _ in range(_MAX_LOGINS):
            session = await self.login.session()
            response = await self._api.send("GET", path, decode)
            if response.value is not None:
                self.login.confirm()
                return response
            await self.login.renew(session)
        raise LoginRejected(self.account, f"{_MAX_LOGINS} new logins were rejected with 401 at once")
