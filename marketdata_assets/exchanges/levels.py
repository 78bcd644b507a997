"""One side of an order book, and what makes a level one: price and size are decimal numbers.

Numbers are only for order and for telling whether a size is 0; what is kept and given out is the text as published.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Container, Iterator, Sequence
from decimal import Decimal
from typing import cast

from marketdata_assets.exchanges.records import Level

FLOAT_DIGITS = 15
"""Decimals of so many digits are told apart by their floats, and ordered by them."""

KEPT_PRICES = 100_000
"""So many price texts with their numbers are kept by a book, then it starts anew; most updates come back to them."""

ZEROS = frozenset(["0", *(f"0.{'0' * digits}" for digits in range(1, 40))])
_DIGITS = b"0123456789"
_MISSHAPEN = (b",,", b",.", b".,", b",00", b",0." + b"0" * 40)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?", re.ASCII)


class BadLevel(ValueError):
    """A level whose price or size is no decimal number."""


class Numbers(dict[str, float]):
    """The numbers of price texts; Decimals, once `exact`."""

    __slots__ = ("exact",)

    def __init__(self) -> None:
        self.exact = False

    def __missing__(self, text: str) -> float:
        number = self[text] = cast(float, Decimal(text)) if self.exact else float(text)
        return number


class Side:
    """One side of a book: levels as published by the number of their price, and these numbers in order."""

    __slots__ = ("at", "buying", "prices")

    def __init__(self, buying: bool) -> None:
        self.buying = buying
        self.prices: list[float] = []  # growing; Decimals, once a price had more digits than a float keeps
        self.at: dict[float, Level] = {}

    def __len__(self) -> int:
        return len(self.prices)

    def __iter__(self) -> Iterator[Level]:
        """The levels, best first."""
        return map(self.at.__getitem__, reversed(self.prices) if self.buying else self.prices)

    def best(self) -> Level | None:
        if not self.prices:
            return None
        return self.at[self.prices[-1 if self.buying else 0]]

    def clear(self) -> None:
        self.prices.clear()
        self.at.clear()

    def apply(self, levels: Sequence[Level], number_of: Numbers, zeros: Container[str]) -> None:
        """Set the sizes of these prices; a size that is 0 takes a price away."""
        prices, at = self.prices, self.at
        for level in levels:
            text, size = level
            price = number_of[text]
            if size in zeros:
                if at.pop(price, None) is not None:
                    del prices[bisect_left(prices, price)]
            else:
                if price not in at:
                    insort(prices, price)
                at[price] = level


def well_formed(texts: Sequence[str]) -> bool:
    """Whether all are digits with at most one point among them; seen for all at once, which is fast."""
    joined = f",{','.join(texts)},".encode()
    points = joined.translate(None, _DIGITS)
    return not points.strip(b",.") and b".." not in points and not any(one in joined for one in _MISSHAPEN)


def check(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts):
        if not _NUMBER.fullmatch(text) or (number % 2 and text[0] == "-"):
            raise BadLevel(f"{text!r} is no {'size' if number % 2 else 'price'}")


def is_long(price: str) -> bool:
    """Whether a price has more digits than a float keeps."""
    if len(price) <= FLOAT_DIGITS:
        return False
    digits = price.lower().partition("e")[0].replace(".", "").strip("-0")
    return len(digits) > FLOAT_DIGITS
