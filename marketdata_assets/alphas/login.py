"""Login of an account: Basic authentication, expiry, identity check, and one session for all processes.

    POST /authentication              201, {"token": {"expiry": 14400.0}, ..} and a cookie
                                      401 with WWW-Authenticate: persona and Location: a link for an identity
                                      check, polled by POST until it answers 201
    GET  /authentication              200 with the seconds left, or 401

Requests that meet an expired login at the same time, in this process or another, cause one new login together. A file
of mode 0600, in a folder of mode 0700, has the cookies and their expiry, or a login in progress; its content is never
logged. That of another server or another e-mail address counts as absent.
"""

import asyncio
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import Cookie as JarCookie
from http.cookiejar import CookieJar
from pathlib import Path

import httpx
import msgspec

from marketdata_assets.alphas.accounts import Credentials
from marketdata_assets.alphas.api_requests import ApiRequests, ApiResponse, decode_seconds_left, reason
from marketdata_assets.alphas.errors import IdentityCheckRequired, LoginRejected, RequestRejected
from marketdata_assets.budget import private_folder
from marketdata_assets.logs import get_logger

REFRESH_SECONDS = 1800.0
"""A login with less time left, or less than half of a shorter life, is renewed."""

PENDING_SECONDS = 3600.0
"""How long the link of an identity check is valid; later a new one is requested."""

PATH = "/authentication"

_LOCK_POLL_SECONDS = 0.05

log = get_logger(__name__)


class Cookie(msgspec.Struct, frozen=True):
    """The parts of a cookie that are sent back."""

    name: str
    value: str
    domain: str
    path: str
    secure: bool

    def __repr__(self) -> str:
        return f"Cookie({self.name})"


class Session(msgspec.Struct, frozen=True):
    """A login that the API accepted. Times are unix seconds."""

    id: str
    cookies: tuple[Cookie, ...]
    expires: float
    life_seconds: float

    def __repr__(self) -> str:
        return f"Session({self.id})"


class Pending(msgspec.Struct, frozen=True):
    """A login that waits for the identity check at `url`."""

    url: str
    cookies: tuple[Cookie, ...]
    began: float

    def __repr__(self) -> str:
        return f"Pending(began={self.began})"


class _Stored(msgspec.Struct, omit_defaults=True):
    owner: str
    session: Session | None = None
    pending: Pending | None = None


@dataclass(frozen=True)
class SessionFile:
    """Where an account's login is kept; `owner` says for which server and user."""

    folder: Path
    account: str
    owner: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.account}.session"

    def load(self) -> tuple[Session | None, Pending | None]:
        """The stored session and the pending login; None for one that is missing, of another owner or unreadable."""
        try:
            stored = msgspec.json.decode(self.path.read_bytes(), type=_Stored)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None, None
        return (stored.session, stored.pending) if stored.owner == self.owner else (None, None)

    def save(self, *, session: Session | None = None, pending: Pending | None = None) -> None:
        """Replace what is stored, atomically; the caller holds `locked`."""
        partial = self.path.with_name(f".{self.path.name}.partial")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(_Stored(self.owner, session, pending)))
        partial.replace(self.path)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the account's login lock, which one process of the machine can have at a time."""
        private_folder(self.folder)
        handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(handle)


def owner_digest(url: str, email: str) -> str:
    """A digest that differs by server and e-mail address and reveals neither."""
    return hashlib.sha256(f"{url}\n{email}".encode()).hexdigest()[:32]


def cookies_of(jar: CookieJar) -> tuple[Cookie, ...]:
    """The cookies of a jar, to be stored."""
    return tuple(Cookie(cookie.name, cookie.value or "", cookie.domain, cookie.path, cookie.secure) for cookie in jar)


def set_cookies(jar: CookieJar, cookies: Iterable[Cookie]) -> None:
    """Replace the cookies of a jar."""
    jar.clear()
    for cookie in cookies:
        jar.set_cookie(
            JarCookie(
                version=0,
                name=cookie.name,
                value=cookie.value,
                port=None,
                port_specified=False,
                domain=cookie.domain,
                domain_specified=True,
                domain_initial_dot=cookie.domain.startswith("."),
                path=cookie.path,
                path_specified=True,
                secure=cookie.secure,
                expires=None,
                discard=True,
                comment=None,
                comment_url=None,
                rest={},
            )
        )


class Login:
    """The login of one account. `session` and `renew` may be called by any number of tasks concurrently."""

    def __init__(self, account: str, credentials: Credentials, api: ApiRequests, folder: Path) -> None:
        self.account = account
        self._credentials = credentials
        self._api = api
        self._file = SessionFile(folder, account, owner_digest(api.url, credentials.email))
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
            set_cookies(self._api.jar, session.cookies)
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
        self._file.save(pending=Pending(url, cookies_of(self._api.jar), time.time()))
        return IdentityCheckRequired(self.account, url)

    async def _complete(self, pending: Pending) -> Session | None:
        """The session when the identity check is done; None when not, or when the link has expired."""
        path = pending.url.removeprefix(self._api.url)
        if not path.startswith("/"):
            raise RequestRejected(
                f"POST {pending.url}", 401, "the link is of another server, where no credentials are sent"
            )
        set_cookies(self._api.jar, pending.cookies)
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
        cookies = cookies_of(self._api.jar)
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
