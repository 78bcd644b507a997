"""The BRAIN API for one account: log in, list the alphas of a window, read one alpha.

    GET /users/self/alphas?limit=100&offset=0&type=REGULAR&order=dateCreated
        &dateCreated%3E=2024-11-01T00:00:00.000Z&dateCreated%3C2024-12-01T00:00:00.000Z
    {"count": 2, "next": null, "previous": null, "results": [{"id": "xVWpJpp", ...}, {"id": "6XpMb0aG", ...}]}

The operator of a bound is part of the parameter's name. `next` is never followed, nor is a redirect: whatever proves
who we are goes to the one configured server only. What is done with alphas is decided in `fetch`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from marketdata_assets.alphas.answers import Page, decode_alpha, decode_page
from marketdata_assets.alphas.calls import PATIENCE, Calls
from marketdata_assets.alphas.credentials import Credentials
from marketdata_assets.alphas.errors import LoginRefused, RequestRefused
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.login import Login
from marketdata_assets.alphas.windows import Window, stamp
from marketdata_assets.budget import Budget
from marketdata_assets.http_client import RetryPolicy

T = TypeVar("T")

PAGE_LIMIT = 100
"""The most alphas the API puts on one page."""

_LOGIN_ROUNDS = 4


class BrainClient:
    """One account at the API. Use it within `async with`, in one event loop."""

    def __init__(
        self,
        account: str,
        credentials: Credentials,
        url: str,
        *,
        sessions: Path,
        budget: Budget,
        patience: RetryPolicy = PATIENCE,
    ) -> None:
        self.account = account
        self._calls = Calls(url, budget, patience, secrets=(credentials.email, credentials.password))
        self._login = Login(account, credentials, self._calls, sessions)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._calls.close()

    @property
    def requests(self) -> int:
        """Requests sent so far, repeated ones and logins included."""
        return self._calls.sent

    async def login(self) -> None:
        """Be logged in: by the stored session if it still lives, else anew.

        Raises LoginRefused, PersonNeeded or ApiAway.
        """
        await self._login.session()

    async def seconds_left(self) -> float:
        """Ask the API how long the login will last; 0 when it is dead."""
        return await self._login.check()

    async def finish_login(self, *, interval: float = 5.0, limit: float = 600.0) -> None:
        """Ask every `interval` seconds whether the person has opened the link of PersonNeeded; it again after `limit`.

        Works in another process than the one whose login began.
        """
        await self._login.finish(interval, limit)

    async def page(self, kind: Kind, window: Window, offset: int = 0, limit: int = PAGE_LIMIT) -> Page:
        """The alphas of `window` from number `offset` on, oldest first, and how many there are in all."""
        path = (
            f"/users/self/alphas?limit={limit}&offset={offset}&type={kind.upper()}&order=dateCreated"
            f"&dateCreated%3E={stamp(window.start)}&dateCreated%3C{stamp(window.end)}"
        )
        return await self._get(path, decode_page)

    async def alpha(self, alpha_id: str) -> bytes | None:
        """The raw bytes of one alpha; None when the API does not know it."""
        if not alpha_id.isalnum() or not alpha_id.isascii():
            return None
        try:
            return await self._get(f"/alphas/{alpha_id}", decode_alpha)
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise

    async def _get(self, path: str, decode: Callable[[bytes], T]) -> T:
        for _ in range(_LOGIN_ROUNDS):
            session = await self._login.session()
            answer = await self._calls.send("GET", path, decode)
            if answer.value is not None:
                self._login.worked()
                return answer.value
            await self._login.renew(session)
        raise LoginRefused(self.account, f"every login of {_LOGIN_ROUNDS} was dead at once")
