"""Errors between a venue's message and a table row."""

from collections.abc import Iterable

import msgspec

from marketdata_assets.errors import TerminalError, TransientError, did_you_mean


class ExchangesError(TerminalError):
    """Anything wrong with data of a venue."""


UNREADABLE = (ExchangesError, msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
"""Everything that arbitrary bytes can make a parser raise. Arithmetic fails on numbers written as 1e999."""


UNREADABLE_SHARE = 0.05  # of the messages; with more of them the venue or market is the wrong one, or has changed
FEW = 3  # so many may be unreadable where that is less than half


def too_many_unreadable(unreadable: int, messages: int) -> bool:
    """Whether so many of the messages or rows of a source are unreadable that it must not count as read."""
    return unreadable > UNREADABLE_SHARE * messages and (unreadable > FEW or 2 * unreadable > messages)


class BadMessage(ExchangesError):
    """A message is malformed, or lacks a required field; it is kept whole as a dead letter."""

    def __init__(self, venue: str, cause: str) -> None:
        self.cause = cause
        super().__init__(f"{venue}: {cause}. The message is kept as a dead letter; no record was taken from it.")


class BadInstruments(ExchangesError):
    """An instrument list cannot be used."""

    def __init__(self, venue: str, cause: str) -> None:
        super().__init__(f"{venue}: the instrument list cannot be used: {cause}.")


class BadCapture(ExchangesError):
    """A capture file cannot be read."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}.")


class UnknownVenue(ExchangesError):
    """The venue or market of a capture cannot be detected, or is not supported."""

    def __init__(self, place: str, cause: str, remedy: str = "Set it with --exchange and --market-type.") -> None:
        super().__init__(f"{place}: {cause}. {remedy}")


class UnknownExchange(ExchangesError):
    """No venue of this name is registered."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"exchange {name!r} is unknown; {did_you_mean(name, known)}")


class BadArchive(ExchangesError):
    """A file of a venue's public archive is damaged, or does not match its checksum."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}. The day is not recorded as loaded; load it again, or use --source rest.")


class HistoryRefused(ExchangesError):
    """A history was requested that the venue does not have."""


class BadPage(ExchangesError):
    """A page of history contradicts the request, so that rows could be lost or duplicated."""

    def __init__(self, about: str, cause: str) -> None:
        super().__init__(f"{about}: {cause}. The page was discarded; earlier pages are complete.")


class BadCursor(ExchangesError):
    """A stored cursor is invalid, or belongs to another history."""

    def __init__(self, about: str, cause: str) -> None:
        super().__init__(f"{about}: invalid cursor: {cause}. Restart from the beginning of the window.")


class UnknownInstrument(ExchangesError):
    """A message names an instrument that is in no instrument list."""

    def __init__(self, venue: str, instrument: str) -> None:
        super().__init__(
            f"{venue} {instrument}: not in the instrument list. Reload the venue's instrument list. If it is of a"
            " recording, is its market another one? Set --market-type, or add a list with --instruments FILE."
        )


class RequestRejected(ExchangesError):
    """The venue rejects a REST request; a retry would not help."""

    def __init__(self, request: str, code: int | str, reason: str) -> None:
        self.code = code
        super().__init__(f"{request}: rejected with {code} ({reason}). A retry would be rejected too.")


class VenueUnavailable(TransientError):
    """Every attempt of a REST request ended in an error or a timeout."""

    def __init__(self, request: str, attempts: int, cause: str) -> None:
        super().__init__(f"{request}: failed {attempts} times, last: {cause}. Resume from the last cursor.")


class VenueRateLimited(TransientError):
    """The venue demands a longer pause than we wait."""

    def __init__(self, request: str, cause: str) -> None:
        super().__init__(f"{request}: not sent: {cause}. Resume from the last cursor after that.")
