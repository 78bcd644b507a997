"""What can go wrong when data is read."""

import datetime as dt
from collections.abc import Iterable, Sequence

from marketdata_assets.errors import FEW, TerminalError, TransientError, did_you_mean
from marketdata_assets.reference.exchanges import MAINLAND, exchange_of


class ReadError(TerminalError):
    """The question is wrong, or the data cannot be given as what it is."""


class UnknownColumn(ReadError):
    """A column that the table does not have."""

    def __init__(self, table: str, column: str, known: Iterable[str]) -> None:
        self.column = column
        super().__init__(f"{table} has no column {column!r}; {did_you_mean(column, known)}")


class UnknownName(ReadError):
    """A name that no row can have, so that an empty answer would mislead."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"{name!r} is no {what}; {did_you_mean(name, known)}")


class AmbiguousName(ReadError):
    """A symbol that several instruments of one market have."""

    def __init__(self, market: str, name: str, instruments: Iterable[str]) -> None:
        super().__init__(f"{name!r} names several instruments of {market}: {', '.join(instruments)}; name one of them")


class BadMoment(ReadError):
    """A bound of time that is none."""

    def __init__(self, value: object, cause: str) -> None:
        super().__init__(f"{value!r} {cause}; give a date, a datetime, or text such as '2024-01-31T09:30:00+08:00'")


class NaiveTime(ReadError):
    """A time without a zone, where only an instant will do."""

    def __init__(self, value: object, table: str) -> None:
        super().__init__(
            f"{value!r} has no time zone, and the times of {table} are instants; write it with one, such as"
            f" datetime(2024, 1, 31, 9, 30, tzinfo=UTC) or '2024-01-31T09:30:00+08:00'"
        )


class NothingLoaded(ReadError):
    """The table does not exist."""

    def __init__(self, table: str) -> None:
        super().__init__(
            f"table {table} does not exist: nothing has been loaded into this database yet. Run its asset, or see what"
            " there is: marketdata status."
        )


class OddValue(ReadError):
    """A value that its column's type cannot hold; it is not bent into shape."""

    def __init__(self, table: str, column: str, cause: str) -> None:
        self.column = column
        super().__init__(f"{table}.{column}: {cause}. Leave the column out with columns=[...], or correct the value.")


class CannotAdjust(ReadError):
    """Prices of a kind that a source cannot give."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            f"stock_1min_qfq has no prices with {wanted}: the vendor adjusts them forward, as of its delivery and by"
            " subtracting dividends, so that factors cannot convert them. Read the minutes with"
            ' adjust="forward" and without as_of, or other prices with source="ticks" or source="daily".'
        )


class MissingFactors(ReadError):
    """Bars for whose days there are no adjustment factors; a factor of 1 is never assumed."""

    def __init__(self, codes: Sequence[str], first: dt.date, last: dt.date) -> None:
        self.codes = tuple(codes)
        shown = ", ".join(codes[:FEW]) + (f" and {len(codes) - FEW} more" if len(codes) > FEW else "")
        table = "adjust_factors" if exchange_of(codes[0]) is MAINLAND else "factors"
        super().__init__(
            f"{table} has no factor of {shown} for bars from {first} to {last}. Load these days of the asset"
            f' {table}, give your own with factors=..., or read with adjust="none".'
        )


class CannotRead(TransientError):
    """The server does not answer, or hung up."""

    def __init__(self, store: str, cause: str) -> None:
        super().__init__(
            f'{store} is not answering ({cause}). Start it ("marketdata doctor" names what is missing) and read again.'
        )
