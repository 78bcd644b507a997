"""Which of many names begin with what a person typed, and values that are kept for a while."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from marketdata_assets.reference.codes import canonical
from marketdata_assets.web.errors import TooSlow

FRESH_SECONDS = 60.0
"""How long a value is kept."""
WAIT_SECONDS = 10.0


class Named(Protocol):
    """A stock or symbol: its code, such as 600000.SH, and its name."""

    @property
    def code(self) -> str: ...

    @property
    def name(self) -> str | None: ...


N = TypeVar("N", bound=Named)
T = TypeVar("T")


def found(stocks: Sequence[N], text: str) -> Iterator[N]:
    """Those whose code or name starts with the text, codes first; `sh600000` is 600000.SH."""
    wanted = text.strip().casefold()
    code = (canonical(wanted) or wanted).casefold()
    by_code = [stock for stock in stocks if stock.code.casefold().startswith(code)]
    yield from by_code
    known = {stock.code for stock in by_code}
    for stock in stocks:
        if stock.name and stock.name.casefold().startswith(wanted) and stock.code not in known:
            yield stock


def plain(text: str) -> str:
    """A name of an instrument without what separates its parts, in small letters."""
    return "".join(one for one in text.casefold() if one.isalnum())


def begins(names: Iterable[str], text: str) -> bool:
    """Whether one of the names begins with the text, whatever separates its parts: `btcusdt` finds BTC-USDT."""
    wanted = plain(text)
    return any(plain(name).startswith(wanted) for name in names)


class Kept(Generic[T]):
    """What is read from a server, which is read again after FRESH_SECONDS; one thread reads it, and others wait."""

    def __init__(self, store: str, read: Callable[[], T]) -> None:
        self._store, self._read = store, read
        self._value: tuple[float, T] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """The value. Raises what reading it raises, and TooSlow where another thread still reads it."""
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise TooSlow(self._store, WAIT_SECONDS)
        try:
            if self._value and time.monotonic() - self._value[0] < FRESH_SECONDS:
                return self._value[1]
            fresh = self._read()
            self._value = (time.monotonic(), fresh)
            return fresh
        finally:
            self._lock.release()
