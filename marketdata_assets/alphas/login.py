"""How an account gets in and stays in: Basic login, expiry, the person BRAIN wants to see, one login for all.

    POST /authentication              201, {"token": {"expiry": 14400.0}, ..} and a cookie
                                      401 with WWW-Authenticate: persona and Location: a link for a person, to be
                                      posted to until it answers 201
    GET  /authentication              200 with the seconds left, or 401

Requests that find the login dead at the same time, in this process or another, cause one new login between them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from marketdata_assets.alphas import session as stored
from marketdata_assets.alphas.answers import decode_seconds_left, reason
from marketdata_assets.alphas.calls import Answer, Calls
from marketdata_assets.alphas.credentials import Credentials
from marketdata_assets.alphas.errors import LoginRefused, PersonNeeded, RequestRefused
from marketdata_assets.alphas.session import Pending, Session, SessionFile

REFRESH_SECONDS = 1800.0
"""With less than this left, or half of a shorter life, a login is renewed before it ends."""

PENDING_SECONDS = 3600.0
"""How long a link for a person is good; later a new one is asked for."""

PATH = "/authentication"


class Login:
    """The login of one account. `session` and `renew` may be called by any number of tasks at once."""

    def __init__(self, account: str, credentials: Credentials, calls: Calls, folder: Path) -> None:
        self.account = account
        self._credentials = credentials
        self._calls = calls
        self._file = SessionFile(folder, account, stored.owner(calls.url, credentials.email))
        self._lock = asyncio.Lock()
        self._session: Session | None = None
        self._unproven = 0
        self._failure: LoginRefused | PersonNeeded | None = None

    async def session(self) -> Session:
        """The session to use, renewed when it is about to end.

        A refusal is remembered, so that the tasks after the first do not try the same password again.
        """
        if self._failure is None and self._session and self._fresh(self._session):
            return self._session
        async with self._alone():
            known, pending = self._file.load()
            for candidate in (self._session, known):
                if self._fresh(candidate):
                    return self._adopt(candidate)
            if known and known.expires > time.time():
                self._adopt(known)
                checked = await self._checked(known)
                if checked and self._fresh(checked):
                    self._file.save(session=checked)
                    return checked
            return await self._enter(pending)

    async def renew(self, dead: Session) -> None:
        """Get another session than `dead`, which the API answered with 401."""
        async with self._alone():
            if self._session is None or self._session.id != dead.id:
                return
            known, pending = self._file.load()
            if known and known.id != dead.id and self._fresh(known):
                self._adopt(known)
                return
            if self._unproven > 1:
                raise self._failed(LoginRefused(self.account, "it takes the login, then answers 401 all the same"))
            await self._enter(pending)

    def worked(self) -> None:
        """Say that the API took the session."""
        self._unproven = 0

    async def check(self) -> float:
        """Seconds left by the API's word; 0 when there is no living login."""
        if self._session is None:
            known, _ = self._file.load()
            if known is None:
                return 0.0
            self._adopt(known)
        assert self._session
        checked = await self._checked(self._session)
        return max(checked.expires - time.time(), 0.0) if checked else 0.0

    async def finish(self, interval: float, limit: float) -> None:
        """Post the link until the person has been there."""
        self._failure = None
        try:
            await self.session()
            return
        except PersonNeeded as error:
            needed = error
        self._failure = None
        for _ in range(max(1, int(limit / interval))):
            await self._calls.patience.sleep(interval)
            async with self._alone():
                _, pending = self._file.load()
                if pending is None or await self._post(pending):
                    break
        else:
            raise needed
        await self.session()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only task of the only process that logs this account in."""
        async with self._lock:
            if self._failure:
                raise self._failure
            async with self._file.alone():
                yield

    def _fresh(self, session: Session | None) -> bool:
        return session is not None and session.expires - time.time() > min(REFRESH_SECONDS, session.life_seconds / 2)

    def _adopt(self, session: Session | None) -> Session:
        assert session
        if session is not self._session:
            self._session = session
            stored.fill(self._calls.jar, session.cookies)
        return session

    async def _checked(self, session: Session) -> Session | None:
        """The session with the seconds the API says it has; None when it is dead."""
        answer = await self._calls.send("GET", PATH, decode_seconds_left)
        if answer.value is None:
            return None
        self._session = Session(session.id, session.cookies, time.time() + answer.value, session.life_seconds)
        return self._session

    async def _enter(self, pending: Pending | None) -> Session:
        if pending and time.time() - pending.began < PENDING_SECONDS:
            if session := await self._post(pending):
                return session
            if self._file.load()[1]:
                raise self._failed(PersonNeeded(self.account, pending.url))
        self._calls.jar.clear()
        auth = (self._credentials.email, self._credentials.password)
        answer = await self._calls.send("POST", PATH, decode_seconds_left, auth)
        if answer.value is not None:
            return self._welcome(answer.value)
        raise self._failed(self._refusal(answer))

    def _refusal(self, answer: Answer[float]) -> LoginRefused | PersonNeeded:
        response = answer.response
        location = response.headers.get("Location")
        if "persona" not in response.headers.get("WWW-Authenticate", "").lower() or not location:
            return LoginRefused(self.account, f"401: {self._calls.clean(reason(response))}")
        url = str(httpx.URL(self._calls.url + PATH).join(location))
        self._file.save(pending=Pending(url, stored.kept(self._calls.jar), time.time()))
        return PersonNeeded(self.account, url)

    async def _post(self, pending: Pending) -> Session | None:
        """Ask whether the person was there; None when not, or when the link is no longer good."""
        path = pending.url.removeprefix(self._calls.url)
        if not path.startswith("/"):
            raise RequestRefused(f"POST {pending.url}", 401, "the link leads to another server, we do not log in there")
        stored.fill(self._calls.jar, pending.cookies)
        auth = (self._credentials.email, self._credentials.password)
        try:
            answer = await self._calls.send("POST", path, decode_seconds_left, auth)
        except RequestRefused as error:
            if error.status not in (404, 410):
                raise
            self._file.save()
            return None
        return None if answer.value is None else self._welcome(answer.value)

    def _welcome(self, seconds_left: float) -> Session:
        session = stored.new_session(stored.kept(self._calls.jar), seconds_left)
        self._file.save(session=session)
        self._session = session
        self._unproven += 1
        return session

    def _failed(self, error: LoginRefused | PersonNeeded) -> LoginRefused | PersonNeeded:
        self._failure = error
        return error
