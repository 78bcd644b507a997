"""Login of an account: Basic authentication, expiry, identity check, and one session for all processes.

    POST /authentication              201, {"token": {"expiry": 14400.0}, ..} and a cookie
                                      401 with WWW-Authenticate: persona and Location: a link for an identity
                                      check, polled by POST until it answers 201
    GET  /authentication              200 with the seconds left, or 401

Requests that meet an expired login at the same time, in this process or another, cause one new login together.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from marketdata_assets.alphas import session_store
from marketdata_assets.alphas.accounts import Credentials
from marketdata_assets.alphas.api_requests import ApiRequests, ApiResponse, decode_seconds_left, reason
from marketdata_assets.alphas.errors import IdentityCheckRequired, LoginRejected, RequestRejected
from marketdata_assets.alphas.session_store import Pending, Session, SessionFile
from marketdata_assets.logs import get_logger

REFRESH_SECONDS = 1800.0
"""A login with less time left, or less than half of a shorter life, is renewed."""

PENDING_SECONDS = 3600.0
"""How long the link of an identity check is valid; later a new one is requested."""

PATH = "/authentication"

log = get_logger(__name__)


class Login:
    """The login of one account. `session` and `renew` may be called by any number of tasks concurrently."""

    def __init__(self, account: str, credentials: Credentials, api: ApiRequests, folder: Path) -> None:
        self.account = account
        self._credentials = credentials
        self._api = api
        self._file = SessionFile(folder, account, session_store.owner_digest(api.url, credentials.email))
        self._lock = asyncio.Lock()
        self._session: Session | None = None
        self._unconfirmed = 0
        self._failure: LoginRejected | IdentityCheckRequired | None = None

    async def session(self) -> Session:
        """The session to use, renewed when it is about to end.

        A rejection is remembered, so that other tasks do not try the same password again.
        """
        if self._failure is None and self._session and self._valid(self._session):
            return self._session
        async with self._exclusive():
            stored, pending = self._file.load()
            for candidate in (self._session, stored):
                if self._valid(candidate):
                    return self._use(candidate)
            if stored and stored.expires > time.time():
                self._use(stored)
                verified = await self._verified(stored)
                if verified and self._valid(verified):
                    self._file.save(session=verified)
                    return verified
            return await self._log_in(pending)

    async def renew(self, expired: Session) -> None:
        """Replace the session `expired`, which the API rejected with 401."""
        async with self._exclusive():
            if self._session is None or self._session.id != expired.id:
                return
            stored, pending = self._file.load()
            if stored and stored.id != expired.id and self._valid(stored):
                self._use(stored)
                return
            log.info("session_expired", account=self.account)
            if self._unconfirmed > 1:
                raise self._failed(LoginRejected(self.account, "it accepts the login, and still answers 401"))
            await self._log_in(pending)

    def confirm(self) -> None:
        """Note that the API accepted the session."""
        self._unconfirmed = 0

    async def check(self) -> float:
        """Seconds left as the API says; 0 when there is no valid login."""
        if self._session is None:
            stored, _ = self._file.load()
            if stored is None:
                return 0.0
            self._use(stored)
        assert self._session
        verified = await self._verified(self._session)
        return max(verified.expires - time.time(), 0.0) if verified else 0.0

    async def finish(self, interval: float, limit: float) -> None:
        """Poll the link until the identity check is done."""
        self._failure = None
        try:
            await self.session()
            return
        except IdentityCheckRequired as error:
            needed = error
        self._failure = None
        for _ in range(max(1, int(limit / interval))):
            await self._api.policy.sleep(interval)
            async with self._exclusive():
                _, pending = self._file.load()
                if pending is None or await self._complete(pending):
                    break
        else:
            raise needed
        await self.session()

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Hold the login lock of the account, among tasks and processes."""
        async with self._lock:
            if self._failure:
                raise self._failure
            async with self._file.locked():
                yield

    def _valid(self, session: Session | None) -> bool:
        return session is not None and session.expires - time.time() > min(REFRESH_SECONDS, session.life_seconds / 2)

    def _use(self, session: Session | None) -> Session:
        assert session
        if session is not self._session:
            self._session = session
            session_store.set_cookies(self._api.jar, session.cookies)
        return session

    async def _verified(self, session: Session) -> Session | None:
        """The session with the seconds that the API says are left; None when it has expired."""
        response = await self._api.send("GET", PATH, decode_seconds_left)
        if response.value is None:
            return None
        self._session = Session(session.id, session.cookies, time.time() + response.value, session.life_seconds)
        return self._session

    async def _log_in(self, pending: Pending | None) -> Session:
        if pending and time.time() - pending.began < PENDING_SECONDS:
            if session := await self._complete(pending):
                return session
            if self._file.load()[1]:
                raise self._failed(IdentityCheckRequired(self.account, pending.url))
        self._api.jar.clear()
        auth = (self._credentials.email, self._credentials.password)
        response = await self._api.send("POST", PATH, decode_seconds_left, auth)
        if response.value is not None:
            return self._logged_in(response.value)
        raise self._failed(self._rejection(response))

    def _rejection(self, answer: ApiResponse[float]) -> LoginRejected | IdentityCheckRequired:
        response = answer.response
        location = response.headers.get("Location")
        if "persona" not in response.headers.get("WWW-Authenticate", "").lower() or not location:
            return LoginRejected(self.account, f"401: {self._api.redact(reason(response))}")
        url = str(httpx.URL(self._api.url + PATH).join(location))
        self._file.save(pending=Pending(url, session_store.cookies_of(self._api.jar), time.time()))
        return IdentityCheckRequired(self.account, url)

    async def _complete(self, pending: Pending) -> Session | None:
        """The session when the identity check is done; None when not, or when the link has expired."""
        path = pending.url.removeprefix(self._api.url)
        if not path.startswith("/"):
            raise RequestRejected(
                f"POST {pending.url}", 401, "the link is of another server, where no credentials are sent"
            )
        session_store.set_cookies(self._api.jar, pending.cookies)
        auth = (self._credentials.email, self._credentials.password)
        try:
            response = await self._api.send("POST", path, decode_seconds_left, auth)
        except RequestRejected as error:
            if error.status not in (404, 410):
                raise
            self._file.save()
            return None
        return None if response.value is None else self._logged_in(response.value)

    def _logged_in(self, seconds_left: float) -> Session:
        cookies = session_store.cookies_of(self._api.jar)
        session = Session(uuid.uuid4().hex, cookies, time.time() + seconds_left, seconds_left)
        self._file.save(session=session)
        self._session = session
        self._unconfirmed += 1
        log.info("logged_in", account=self.account, valid_s=round(seconds_left))
        return session

    def _failed(self, error: LoginRejected | IdentityCheckRequired) -> LoginRejected | IdentityCheckRequired:
        kind = "identity_check_required" if isinstance(error, IdentityCheckRequired) else "login_rejected"
        log.warning(kind, account=self.account)
        self._failure = error
        return error
