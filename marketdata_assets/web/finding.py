"""Which of many names begin with what a person typed, and values that are kept for a while."""

import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Generic, TypeVar

from marketdata_assets.reference.exchanges import canonical
from marketdata_assets.web.errors import TooSlow
from marketdata_assets.web.stocks import Stock
from marketdata_assets.web.symbols import Symbol

FRESH_SECONDS = 60.0
"""How long a value is kept."""
WAIT_SECONDS = 10.0


N = TypeVar("N", Stock, Symbol)
T = TypeVar("T")


def found(stocks: Sequence[N], text: str) -> Iterator[N]:
    """Those whose code, name or initials start with the text, codes first, whatever separates their parts: `sh600000`
    is 600000.SH, `btcusd` BTC-USD, and `wka` 万 科A."""
    wanted, typed = bare(text), plain(text)
    if typed and not wanted:
        return
    # Another spelling, as `00700.hk`, or the beginning of a code, as `aap` of AAPL.US.
    codes = (wanted, bare(canonical(typed) or wanted))
    by_code = [stock for stock in stocks if bare(stock.code).startswith(codes)]
    yield from by_code
    known = {stock.code for stock in by_code}
    letters = wanted.isascii() and wanted.isalpha()
    for stock in stocks:
        names = (bare(stock.name), initials(bare(stock.name)) if letters else "") if stock.name else ()
        if stock.code not in known and any(name.startswith(wanted) for name in names):
            yield stock


@lru_cache(maxsize=65536)
def bare(text: str) -> str:
    """The letters and digits of a text alone, small and of usual width."""
    return "".join(one for one in plain(text) if one.isalnum())


@lru_cache(maxsize=65536)
def plain(text: str) -> str:
    """A text in small letters, of which letters and digits of full width are usual ones."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


@cache
def initials(name: str) -> str:
    """The first letters of a Chinese name in Pinyin, `pfyh` of 浦发银行; none where pypinyin is not installed."""
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError:
        return ""
    return "".join(lazy_pinyin(name, style=Style.FIRST_LETTER)).casefold()


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
