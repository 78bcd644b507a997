"""Login of an account: Basic authentication, expiry, identity check, and one session for all processes.

    POST /authentication              201, {"token": {"expiry": 14400.0}, ..} and a cookie
                                      401 with WWW-Authenticate: persona and Location, or {"inquiry": ".."} without
                                      a token: a link for an identity check, polled by POST until it answers 201
                                      429 {"detail": "BIOMETRICS_THROTTLED"} after many of these, for hours
                                      400 or 403, such as of a locked account: remembered like a wrong password;
                                      so is a 401 to all that follows, and what is no JSON pauses like a 429
    GET  /authentication              200 with the seconds left, or 401

Requests that meet an expired login at the same time, in this process or another, cause one new login together. A file
of mode 0600, in a folder of mode 0700, has the cookies and their expiry, a login in progress, or why none is tried: a
rejected password is not sent again, since BRAIN may lock the account; throttled logins pause for hours; and no new
identity check is requested soon after one that nobody answered. Only a person's request goes before. The file's content
is never logged. That of another server or another e-mail address counts as absent.
"""

import asyncio
import datetime as dt
import hashlib
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path

import httpx
import msgspec

from marketdata_assets import lock_waits, secret_values, state_files
from marketdata_assets.alphas.accounts import Credentials
from marketdata_assets.alphas.api_requests import (
    ApiRequests,
    Authentication,
    decode_authentication,
    reason,
    rejected,
    throttled,
)
from marketdata_assets.alphas.errors import (
    STILL_UNAUTHORIZED,
    IdentityCheckRequired,
    LoginRejected,
    LoginThrottled,
    RequestRejected,
)
from marketdata_assets.http_client import retry_after
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.logs import get_logger
from marketdata_assets.state_files import private_folder

REFRESH_SECONDS = 1800.0
"""A login with less time left, or less than half of a shorter life, is renewed."""

PENDING_SECONDS = 3600.0
"""How long the link of an identity check is valid."""

INQUIRY_SECONDS = 12 * 3600.0
"""The pause after an identity check that nobody answered; in twice that time no more than two are requested."""

THROTTLE_SECONDS = 2 * 3600.0
LONGEST_THROTTLE_SECONDS = 24 * 3600.0
"""The pause after throttled logins: the first, doubled by each further one, or longer where the server asks for it, up
to the longest."""

ASSUMED_SECONDS = 3600.0
"""How long a login lasts of which the API does not say it, or says 0; at half of it, whether it does is checked."""

PATH = "/authentication"

_LOCK_POLL_SECONDS = 0.05

LoginFailure = LoginRejected | LoginThrottled | IdentityCheckRequired
_EVENTS: dict[type[LoginFailure], str] = {
    LoginRejected: "login_rejected",
    LoginThrottled: "login_throttled",
    IdentityCheckRequired: "identity_check_required",
}

log = get_logger(__name__)


class Secret(msgspec.Struct, frozen=True):
    """A part of a session file, of which `repr` shows no more than the name."""

    def __repr__(self) -> str:
        return type(self).__name__


class Cookie(Secret, frozen=True):
    """The parts of a cookie that are sent back."""

    name: str
    value: str
    domain: str
    path: str
    secure: bool


class Session(Secret, frozen=True):
    """A login that the API accepted. Times are unix seconds."""

    id: str
    cookies: tuple[Cookie, ...]
    expires: float
    life_seconds: float


class Pending(Secret, frozen=True):
    """A login that waits for the identity check at `url`, which is empty when BRAIN no longer knows the link."""

    url: str
    cookies: tuple[Cookie, ...]
    began: float

    @property
    def open(self) -> bool:
        """Whether a person can still answer it."""
        return bool(self.url) and time.time() - self.began < PENDING_SECONDS


class Rejection(Secret, frozen=True):
    """A password that the API rejected at `at` with `answer`; only a salted hash of it is kept."""

    salt: str
    digest: str
    answer: str
    at: float

    def of(self, password: str) -> bool:
        """Whether this is the password that was rejected."""
        return secrets.compare_digest(self.digest, _password_digest(password, self.salt))


class Throttle(msgspec.Struct, frozen=True):
    """Logins that the API throttles: `answer` to the last of `times` in a row, and no other before `until`."""

    answer: str
    times: int
    until: float


class Stored(msgspec.Struct, omit_defaults=True):
    """The content of a session file: one of session, rejection and an identity check that is pending or throttled."""

    owner: str = ""
    session: Session | None = None
    pending: Pending | None = None
    rejection: Rejection | None = None
    throttle: Throttle | None = None
    inquiries: tuple[float, ...] = ()
    """When the last two identity checks were requested."""

    @property
    def next_inquiry(self) -> float:
        """From when on a login may request an identity check without a person who asks for it."""
        unanswered = self.pending.began + INQUIRY_SECONDS if self.pending else 0.0
        return max(unanswered, self.inquiries[0] + 2 * INQUIRY_SECONDS if len(self.inquiries) > 1 else 0.0)


@dataclass(frozen=True)
class SessionFile:
    """Where an account's login is kept; `owner` says for which server and user."""

    folder: Path
    account: str
    owner: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.account}.session"

    def load(self) -> Stored:
        """What is stored; nothing when the file is missing, of another owner or unreadable."""
        stored = state_files.read(self.path, msgspec.json.Decoder(Stored).decode)
        if stored is None or stored.owner != self.owner:
            return Stored()
        for held in (stored.session, stored.pending):
            for cookie in held.cookies if held else ():
                secret_values.hide(cookie.value)
        return stored

    def save(self, stored: Stored) -> None:
        """Replace what is stored but the times of inquiries, atomically; the caller holds `locked`."""
        inquiries, pending = self.load().inquiries, stored.pending
        if pending and pending.began not in inquiries:
            inquiries = (*inquiries, pending.began)[-2:]
        stored = msgspec.structs.replace(stored, owner=self.owner, inquiries=inquiries)
        state_files.write(self.path, msgspec.json.encode(stored))

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the account's login lock, which one process of the machine can have at a time."""
        private_folder(self.folder)
        path = self.path.with_suffix(".lock")
        with state_files.opened(path) as file:
            with lock_waits.reported(f"login of {self.path.stem}", partial(state_files.holder_of, path)):
                while not state_files.lock(file, wait=False):
                    await asyncio.sleep(_LOCK_POLL_SECONDS)
            yield


def owner_digest(url: str, email: str) -> str:
    """A digest that differs by server and e-mail address and reveals neither."""
    return hashlib.sha256(f"{url}\n{email}".encode()).hexdigest()[:32]


def _password_digest(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1).hex()


def cookies_of(jar: CookieJar) -> tuple[Cookie, ...]:
    """The cookies of a jar, to be stored."""
    return tuple(Cookie(cookie.name, cookie.value or "", cookie.domain, cookie.path, cookie.secure) for cookie in jar)


def set_cookies(jar: CookieJar, cookies: Iterable[Cookie]) -> None:
    """Replace the cookies of a jar."""
    jar.clear()
    kept = {(cookie.domain, cookie.path, cookie.name): cookie for cookie in cookies}
    for cookie in kept.values():
        httpx.Cookies(jar).set(cookie.name, cookie.value, cookie.domain, cookie.path)
    for own in jar:
        own.secure = kept[own.domain, own.path, own.name].secure


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
        self._failure: LoginFailure | None = None

    async def session(self, requested: bool = False) -> Session:
        """The session to use: the stored one while it is valid, renewed when it is about to end.

        A failure is remembered, so that other tasks and processes do not log in at once again. `requested` is a
        person's request: even if the last login was rejected, throttled or left unanswered.
        Raises LoginRejected, LoginThrottled, IdentityCheckRequired or ApiUnavailable.
        """
        if self._failure is None and self._session and self._valid(self._session):
            return self._session
        async with self._exclusive():
            stored = self._file.load()
            for candidate in (self._session, stored.session):
                if self._valid(candidate):
                    return self._use(candidate)
            if stored.session and stored.session.expires > time.time():
                verified = await self._verified(self._use(stored.session))
                if verified and self._valid(verified):
                    self._file.save(Stored(session=verified))
                    return verified
            return await self._log_in(stored, requested)

    async def renew(self, expired: Session) -> None:
        """Replace the session `expired`, which the API rejected with 401."""
        async with self._exclusive():
            if self._session is None or self._session.id != expired.id:
                return
            stored = self._file.load()
            if stored.session and stored.session.id != expired.id and self._valid(stored.session):
                self._use(stored.session)
                return
            log.info("session_expired", account=self.account)
            if self._unconfirmed > 1 or (self._unconfirmed and not await self._verified(self._session)):
                raise self._remembered(STILL_UNAUTHORIZED)
            await self._log_in(stored)

    def confirm(self) -> None:
        """Note that the API accepted the session."""
        self._unconfirmed = 0

    async def seconds_left(self) -> float:
        """Seconds the login lasts by the API's word; 0 when there is none or it has expired."""
        if self._session is None:
            stored = self._file.load()
            if stored.session is None:
                return 0.0
            self._use(stored.session)
        assert self._session
        verified = await self._verified(self._session)
        return max(verified.expires - time.time(), 0.0) if verified else 0.0

    async def finish(self, *, interval: float = 5.0, limit: float = 600.0) -> None:
        """Poll every `interval` seconds until the identity check is done; raises IdentityCheckRequired after `limit`.

        Works in another process than the one that started the login.
        """
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
                stored = self._file.load()
                if stored.pending is None or not stored.pending.url or await self._complete(stored):
                    break
        else:
            raise needed
        await self.session(requested=True)

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
        response = await self._api.send("GET", PATH, decode_authentication)
        if response.value is None:
            return None
        left = _seconds(response.value) or ASSUMED_SECONDS
        self._session = Session(session.id, session.cookies, time.time() + left, session.life_seconds)
        return self._session

    async def _log_in(self, stored: Stored, requested: bool = False) -> Session:
        if not requested:
            self._check_remembered(stored)
        if stored.pending and (stored.pending.open or requested):
            if session := await self._complete(stored):
                return session
            stored = self._file.load()
            if stored.pending and stored.pending.open:
                raise self._failed(IdentityCheckRequired(self.account, stored.pending.url))
        if not requested and time.time() < stored.next_inquiry:
            raise self._failed(IdentityCheckRequired(self.account, "", _moment(stored.next_inquiry)))
        self._api.jar.clear()
        auth = (self._credentials.email, self._credentials.password)
        answer = await self._api.send("POST", PATH, decode_authentication, auth)
        self._check_throttled(answer.response, stored)
        if url := self._link(answer.response, answer.value):
            self._file.save(Stored(pending=Pending(url, cookies_of(self._api.jar), time.time())))
            raise self._failed(IdentityCheckRequired(self.account, url))
        if answer.value is not None:
            return await self._logged_in(answer.value)
        raise self._rejected(answer.response)

    def _rejected(self, response: httpx.Response) -> LoginFailure:
        return self._remembered(f"{response.status_code}: {self._api.redact(reason(response))}")

    def _remembered(self, cause: str) -> LoginFailure:
        """Remember why the API rejects the login, so that it is not sent again unchanged."""
        salt = secrets.token_hex(16)
        digest = _password_digest(self._credentials.password, salt)
        self._file.save(Stored(rejection=Rejection(salt, digest, cause, time.time())))
        return self._failed(LoginRejected(self.account, cause))

    def _check_remembered(self, stored: Stored) -> None:
        """Raise LoginRejected or LoginThrottled when an earlier answer holds for the next login too."""
        rejection, throttle = stored.rejection, stored.throttle
        if rejection and rejection.of(self._credentials.password):
            raise self._failed(LoginRejected(self.account, f"{rejection.answer}, at {_moment(rejection.at)}"))
        if throttle and time.time() < throttle.until:
            raise self._failed(LoginThrottled(self.account, throttle.answer, _moment(throttle.until)))

    def _check_throttled(self, response: httpx.Response, stored: Stored) -> None:
        """Remember that the API throttles logins and raise LoginThrottled; a link that is pending is kept."""
        if not throttled(response):
            return
        times = stored.throttle.times + 1 if stored.throttle else 1
        now = time.time()
        asked = retry_after(response, dt.datetime.fromtimestamp(now, dt.UTC)) or 0.0
        pause = min(max(THROTTLE_SECONDS * 2 ** (times - 1), asked), LONGEST_THROTTLE_SECONDS)
        answer = f"{response.status_code}: {self._api.redact(reason(response))}, at {_moment(now)}"
        throttle = Throttle(answer, times, now + pause)
        self._file.save(Stored(pending=stored.pending, throttle=throttle))
        raise self._failed(LoginThrottled(self.account, answer, _moment(throttle.until)))

    def _link(self, response: httpx.Response, authentication: Authentication | None) -> str:
        """The link of the identity check that the response requires; empty when it requires none."""
        if authentication is None:
            location = response.headers.get("Location", "")
            if location and "persona" in response.headers.get("WWW-Authenticate", "").lower():
                return str(httpx.URL(self._api.url + PATH).join(location))
            try:
                authentication = decode_authentication(response.content)
            except NOT_JSON:
                return ""
        if authentication.token or not authentication.inquiry:
            return ""
        return str(httpx.URL(f"{self._api.url}{PATH}/persona", params={"inquiry": authentication.inquiry}))

    async def _complete(self, stored: Stored) -> Session | None:
        """The session when the pending identity check is done; None when not, or when the link has expired."""
        pending = stored.pending
        if pending is None or not pending.url:
            return None
        path = pending.url.removeprefix(self._api.url)
        if not path.startswith("/"):
            raise RequestRejected(
                f"POST {pending.url}", 401, "the link is of another server, where no credentials are sent"
            )
        set_cookies(self._api.jar, pending.cookies)
        auth = (self._credentials.email, self._credentials.password)
        try:
            answer = await self._api.send("POST", path, decode_authentication, auth)
        except RequestRejected as error:
            if error.status not in (404, 410):
                raise
            self._file.save(Stored(pending=Pending("", (), pending.began)))
            return None
        self._check_throttled(answer.response, stored)
        if rejected(answer.response):
            raise self._rejected(answer.response)
        if answer.value is None or self._link(answer.response, answer.value):
            return None
        return await self._logged_in(answer.value)

    async def _logged_in(self, authentication: Authentication) -> Session:
        cookies = cookies_of(self._api.jar)
        if authentication.token is None:
            answer = await self._api.send("GET", PATH, decode_authentication)
            if answer.value is None:
                raise self._remembered(STILL_UNAUTHORIZED)
            authentication = answer.value
        seconds_left = _seconds(authentication) or ASSUMED_SECONDS
        session = Session(uuid.uuid4().hex, cookies, time.time() + seconds_left, seconds_left)
        self._file.save(Stored(session=session))
        self._session = session
        self._unconfirmed += 1
        log.info("logged_in", account=self.account, valid_s=round(seconds_left))
        return session

    def _failed(self, error: LoginFailure) -> LoginFailure:
        log.warning(_EVENTS[type(error)], account=self.account)
        self._failure = error
        return error


def _seconds(authentication: Authentication) -> float:
    """The seconds left by the API's word; 0 when it does not say."""
    return max(authentication.token.expiry, 0.0) if authentication.token else 0.0


def _moment(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M} UTC"
