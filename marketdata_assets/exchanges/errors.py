"""What can go wrong between a venue's wire and a record.

MarketDataError
└── TerminalError
    └── ExchangesError
        ├── BadMessage          a message is not what the venue's documentation promises
        ├── UnknownInstrument   a message is about an instrument that no list has
        ├── BadInstruments      a list of instruments cannot be used
        ├── BadCapture          a capture file cannot be read
        └── UnknownVenue        what a capture holds cannot be told, or no code of ours reads it
"""

from marketdata_assets.errors import TerminalError


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
