"""One side of an order book, and the validation of its levels.

Numbers serve to order levels and to recognise size 0; what is kept and returned is the published text.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import chain, islice
from math import inf, isinf
from typing import Annotated, cast

import msgspec

from marketdata_assets.exchanges.records import Level

FLOAT_DIGITS = 15  # decimals of so many digits are distinct as floats, and in the same order
NEAR = 32  # so many levels of a side are kept apart as the near ones, up to twice as many between two cuts

ShortPrice = Annotated[str, msgspec.Meta(max_length=FLOAT_DIGITS)]
"""For a venue's decoder that reads levels twice, as texts and as Number: prices that are distinct as floats."""

Number = Annotated[float, msgspec.Meta(ge=0, le=1e30)]
Numbers = Iterable[tuple[float, float]]  # price and size of levels; prices are Decimals in a book that needs them
_FLOATS = msgspec.json.Decoder(list[float])
_PLAIN = b"0123456789.,[]"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?", re.ASCII)


class BadLevel(ValueError):
    """A level whose price or size is no decimal number."""


class Side:
    """One side of a book: levels by the number of their price, those near the best one apart.

    Most updates are about levels far from the best one, whose order nobody asks for; the best of a few is found fast.
    """

    __slots__ = ("_best", "_buying", "_edge", "_far", "_near", "exact")

    def __init__(self, buying: bool) -> None:
        self._buying = buying
        self.exact = False  # prices are told apart as Decimals, for some have more digits than a float keeps
        self._near: dict[float, Level] = {}  # all levels whose price is not worse than the edge
        self._edge = -inf if buying else inf
        self._far: dict[float, Level] = {}  # all others
        self._best: float | None = None  # None: unknown since the last change

    def __len__(self) -> int:
        return len(self._near) + len(self._far)

    def __contains__(self, price: str) -> bool:
        """Whether there is a level at this price; `price` is the text of a number."""
        number = _decimal(price) if self.exact else float(price)
        return number in self._near or number in self._far

    def best(self) -> Level | None:
        price = self.best_price()
        return None if price is None else self._near[price]

    def best_price(self) -> float | None:
        if self._best is None:
            if not self._near:
                if not self._far:
                    return None
                self._sort(NEAR)
            self._best = max(self._near) if self._buying else min(self._near)
        return self._best

    def top(self, n: int) -> list[Level]:
        """The best n levels, best first."""
        if n > len(self._near) and self._far:
            self._sort(max(n, NEAR))
        order = sorted(self._near, reverse=self._buying)
        return [self._near[price] for price in islice(order, n)]

    def ordered(self) -> list[Level]:
        """All levels, best first."""
        everything = self._near | self._far
        return [everything[price] for price in sorted(everything, reverse=self._buying)]

    def unordered(self) -> list[Level]:
        """All levels, which is faster."""
        return [*self._near.values(), *self._far.values()]

    def clear(self) -> None:
        self._near.clear()
        self._far.clear()
        self._edge = -inf if self._buying else inf
        self._best = None

    def apply(self, levels: Sequence[Level], numbers: Numbers) -> None:
        """Set the sizes of these prices; a size of 0 takes a price away."""
        if self._buying:
            self._bid(levels, numbers)
        else:
            self._offer(levels, numbers)
        if len(self._near) > 2 * NEAR:
            self._sort(NEAR)

    def _bid(self, levels: Sequence[Level], numbers: Numbers) -> None:
        """Bids. This loop and the next are one, written out for each side: they are most of the time of an update."""
        near, far, edge = self._near, self._far, self._edge
        best = inf if self._best is None else self._best  # inf: unknown
        for level, (price, size) in zip(levels, numbers, strict=True):
            if price < edge:
                if size:
                    far[price] = level
                else:
                    far.pop(price, None)
            elif size:
                near[price] = level
                if price > best:
                    best = price
            else:
                near.pop(price, None)
                if price == best:
                    best = inf
        self._best = None if best == inf else best

    def _offer(self, levels: Sequence[Level], numbers: Numbers) -> None:
        near, far, edge = self._near, self._far, self._edge
        best = -inf if self._best is None else self._best
        for level, (price, size) in zip(levels, numbers, strict=True):
            if price > edge:
                if size:
                    far[price] = level
                else:
                    far.pop(price, None)
            elif size:
                near[price] = level
                if price < best:
                    best = price
            else:
                near.pop(price, None)
                if price == best:
                    best = -inf
        self._best = None if best == -inf else best

    def _sort(self, n: int) -> None:
        everything = self._near | self._far if len(self._near) < n else self._near
        order = sorted(everything, reverse=self._buying)
        if everything is self._near:
            self._far.update((price, self._near.pop(price)) for price in order[n:])
        else:
            self._near = {price: everything[price] for price in order[:n]}
            self._far = {price: everything[price] for price in order[n:]}
        edge = order[min(n, len(order)) - 1]
        if not self._far:
            edge = -inf if self._buying else inf
        self._edge = edge


def numbers_of(levels: Sequence[Level], exact: bool) -> Numbers:
    """Prices and sizes as numbers, read in one go. Raises BadLevel."""
    texts = [*chain.from_iterable(levels)]
    joined = f"[{','.join(texts)}]".encode()
    try:
        flat = _FLOATS.decode(joined)
    except msgspec.DecodeError:
        flat = []
    if len(flat) != len(texts) or joined.translate(None, _PLAIN):
        flat = [number for level in levels for number in _checked(level)]
    if exact:
        return zip(map(_decimal, texts[::2]), flat[1::2], strict=True)
    return zip(flat[::2], flat[1::2], strict=True)


def needs_decimals(levels: Sequence[Level]) -> bool:
    """Whether a price has more digits than a float keeps."""
    longest = max(map(len, next(zip(*levels, strict=False), ())), default=0)
    if longest <= FLOAT_DIGITS:
        return False
    digits = (price.lower().partition("e")[0].replace(".", "").strip("-0") for price, _ in levels)
    return any(len(text) > FLOAT_DIGITS for text in digits)


def _checked(level: Level) -> tuple[float, float]:
    price, size = level
    if not _NUMBER.fullmatch(price):
        raise BadLevel(f"{price!r} is no price")
    if not _NUMBER.fullmatch(size) or size[0] == "-":
        raise BadLevel(f"{size!r} is no size")
    if isinf(float(price)) or isinf(float(size)):
        raise BadLevel("a number is too great")
    return float(price), float(size)


def _decimal(price: str) -> float:
    return cast(float, Decimal(price))
