"""Decimal numbers as text: validation and exact arithmetic. Every price and size is validated."""

import re
from decimal import Context, Decimal

DIGITS = "0123456789"
PLAIN = ("", ".")  # what remains of a plain number without its leading and trailing digits; "/" sorts before any digit
EXACT = Context(prec=60)  # enough digits for any product of a published price, size and contract value to be exact
DECIMALS = 18  # a quotient is cut there; no venue publishes more
LAST = Decimal(1).scaleb(-DECIMALS)

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")


class NotDecimal(ValueError):
    """A text that should be a decimal number."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(f"{what} is no decimal number: {text[:40]!r}")


def is_decimal(text: str) -> bool:
    """Whether the text is a finite decimal number without spaces or underscores; a digit or a minus is first."""
    if text.strip(DIGITS) in PLAIN and text > "/":  # far faster than the expression, and enough for most
        return True
    return _NUMBER.fullmatch(text) is not None


def decimal(what: str, text: str) -> str:
    """The text itself; raises NotDecimal."""
    if not is_decimal(text):
        raise NotDecimal(what, text)
    return text


def decimal_or_none(what: str, text: str | None) -> str | None:
    """The text itself, null where the venue left it out or empty; raises NotDecimal."""
    return decimal(what, text) if text else None


def quoted_size(what: str, size: str | None, price: str | None) -> str | None:
    """The size at a best price; 0 where both are empty, which says that nobody quotes. Raises NotDecimal."""
    return "0" if size == price == "" else decimal_or_none(what, size)


def plain(number: Decimal) -> str:
    """The number without an exponent and without zeros at its end."""
    text = str(number)
    if "E" in text:
        text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def quotient(value: Decimal, by: Decimal) -> str | None:
    """A division to DECIMALS; null by 0."""
    if not by:
        return None
    return plain(EXACT.divide(value, by).quantize(LAST, context=EXACT))
