"""Decimal numbers as text: what counts as one. Every price and size is looked at before it goes into a record."""

import re

DIGITS = "0123456789"

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class NotDecimal(ValueError):
    """A text that should be a decimal number."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(f"{what} is no decimal number: {text[:40]!r}")


def is_decimal(text: str) -> bool:
    """Whether the text is a finite decimal number, without spaces, underscores or a leading plus."""
    rest = text.strip(DIGITS)  # three times as fast as the expression, and enough for most
    if rest == ".":
        return text[0] != "." and text[-1] != "."
    return (not rest and text != "") or _NUMBER.fullmatch(text) is not None


def decimal(what: str, text: str) -> str:
    """The text itself; raises NotDecimal."""
    if not is_decimal(text):
        raise NotDecimal(what, text)
    return text


def decimal_or_none(what: str, text: str | None) -> str | None:
    """The text itself, null where the venue left it out or empty; raises NotDecimal."""
    return decimal(what, text) if text else None
