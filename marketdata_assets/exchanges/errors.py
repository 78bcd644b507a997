"""What can go wrong between a venue's wire and a record.

MarketDataError
├── TerminalError
│   └── ExchangesError
│       ├── BadMessage          a message is not what the venue's documentation promises
│       ├── UnknownInstrument   a message is about an instrument that no list has
│       ├── BadInstruments      a list of instruments cannot be used
│       ├── BadCapture          a capture file cannot be read
│       ├── UnknownVenue        what a capture holds cannot be told, or no code of ours reads it
│       ├── RestRefused         the venue does not accept a REST request
│       ├── UnknownTable        no table of ours holds records of a type
│       ├── BadPage             a page of history does not fit what was asked for
│       └── BadCursor           a stored cursor belongs to another history
└── TransientError
    ├── VenueAway               no answer, or only errors, as often as we asked
    └── VenueSilenced           the venue wants to be left alone for longer than we wait
"""

from collections.abc import Iterable
from difflib import get_close_matches

from marketdata_assets.errors import TerminalError, TransientError


class ExchangesError(TerminalError):
    """Anything wrong with what a venue sent."""


class BadMessage(ExchangesError):
    """A message is malformed, or lacks what it must have; it is kept aside whole."""

    def __init__(self, venue: str, cause: str) -> None:
        self.venue = venue
        self.cause = cause
        super().__init__(f"{venue}: {cause}. The message is kept as a dead letter; nothing of it was taken.")


class UnknownInstrument(ExchangesError):
    """A message is about an instrument that no list has."""

    def __init__(self, venue: str, instrument: str) -> None:
        self.venue = venue
        self.instrument = instrument
        super().__init__(f"{venue} {instrument}: no list of instruments has it. Load the venue's list anew.")


class BadInstruments(ExchangesError):
    """A list of instruments cannot be used."""

    def __init__(self, venue: str, cause: str) -> None:
        self.venue = venue
        super().__init__(f"{venue}: the list of instruments cannot be used, {cause}.")


class BadCapture(ExchangesError):
    """A capture file cannot be read."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        super().__init__(f"{place}: {cause}.")


class UnknownVenue(ExchangesError):
    """What a capture holds cannot be told, or no code of ours reads it."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        super().__init__(f"{place}: {cause}. Say it with --exchange and --market-type.")


class RestRefused(ExchangesError):
    """The venue does not accept a REST request."""

    def __init__(self, request: str, code: int | str, answer: str) -> None:
        self.request = request
        self.code = code
        super().__init__(f"{request}: refused with {code} ({answer}). Asking again will not help.")


class UnknownTable(ExchangesError):
    """No table of ours holds records of a type."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        names = list(known)
        near = get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}" if near else f"there are {', '.join(names)}"
        super().__init__(f"no table holds records of type {name!r}; {hint}.")


class BadPage(ExchangesError):
    """A page of history does not fit what was asked for: then rows could be lost or come twice."""

    def __init__(self, about: str, cause: str) -> None:
        self.about = about
        super().__init__(f"{about}: {cause}. Nothing of this page was taken; what came before it is whole.")


class BadCursor(ExchangesError):
    """A stored cursor belongs to another history, or is none."""

    def __init__(self, about: str, cause: str) -> None:
        self.about = about
        super().__init__(f"{about}: the cursor cannot be used, {cause}. Begin the window anew.")


class VenueAway(TransientError):
    """No answer, or only errors, as often as we asked."""

    def __init__(self, request: str, attempts: int, cause: str) -> None:
        self.request = request
        self.attempts = attempts
        super().__init__(
            f"{request}: no good answer in {attempts} attempts, last: {cause}. Go on from the last cursor."
        )


class VenueSilenced(TransientError):
    """The venue wants to be left alone for longer than we wait."""

    def __init__(self, request: str, cause: str) -> None:
        self.request = request
        super().__init__(f"{request}: not asked, {cause}. Go on from the last cursor after that.")
