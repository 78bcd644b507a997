"""The session of an account on disk, shared by all processes: cookies, their expiry, and a login in progress.

Files have mode 0600 in a folder of mode 0700; their content is never logged. A file of another server or another e-mail
address counts as absent.
"""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import Cookie as JarCookie
from http.cookiejar import CookieJar
from pathlib import Path

import msgspec

from marketdata_assets.budget import private_folder

_LOCK_POLL_SECONDS = 0.05


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
