"""What can go wrong between a provider of ticks and the table.

MarketDataError
├── TerminalError
│   └── TicksError
│       ├── BadProviders      the providers file cannot be used
│       ├── NoToken           a provider needs a token, and there is none
│       ├── TokenRefused      the provider does not know the token
│       ├── NoPermission      the token may not use an interface
│       ├── RequestRejected    the provider does not understand a request
│       ├── UnknownSymbol     the provider has no such symbol
│       ├── BadAnswer         an answer came whole and is not what the interface promises
│       ├── BadFile           a dropped file cannot be read
│       ├── NoSymbols         nobody names a symbol
│       └── OutsideCalendar   the trading calendar does not reach a day
└── TransientError
    ├── ProviderAway          no answer, or only errors, as often as we asked
    ├── ProviderResting       the provider is away for others, so it was not asked
    └── QuotaSpent            the provider gives no more today, or no more for longer than we wait
"""

from marketdata_assets.errors import TerminalError, TransientError


class TicksError(TerminalError):
    """Anything wrong with ticks that a person has to mend."""


class BadProviders(TicksError):
    """The providers file cannot be used."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        super().__init__(f"{place}: {cause}")


class NoToken(TicksError):
    """A provider is enabled that needs a token, and there is none."""

    def __init__(self, provider: str, variable: str) -> None:
        self.provider = provider
        super().__init__(f"{provider} needs a token. Set {variable}, or disable {provider} in the providers file.")


class TokenRefused(TicksError):
    """The provider does not know the token."""

    def __init__(self, provider: str, variable: str, answer: str) -> None:
        self.provider = provider
        super().__init__(f"{provider} refuses the token ({answer}). Set {variable} to the token of your account.")


class NoPermission(TicksError):
    """The account may not use an interface."""

    def __init__(self, provider: str, interface: str, answer: str) -> None:
        self.provider = provider
        self.interface = interface
        super().__init__(
            f"{provider} {interface}: this account may not use it ({answer}). Buy the permission, or take it from"
            f" `supports` of {provider} in the providers file."
        )


class RequestRejected(TicksError):
    """The provider answered that the request itself is wrong."""

    def __init__(self, request: str, code: int, answer: str) -> None:
        self.code = code
        super().__init__(f"{request}: refused with {code} ({answer}). Asking again will not help.")


class UnknownSymbol(TicksError):
    """The provider has no such symbol."""

    def __init__(self, provider: str, symbol: str, answer: str) -> None:
        self.provider = provider
        self.symbol = symbol
        super().__init__(
            f"{provider} does not know {symbol} ({answer}). If it has another name there, add it to"
            f" `symbol_mapping` of {provider} in the providers file."
        )


class BadAnswer(TicksError):
    """An answer came whole and is not what the interface promises."""

    def __init__(self, request: str, cause: str) -> None:
        self.request = request
        super().__init__(f"{request}: {cause}. Nothing of this answer was taken.")


class BadFile(TicksError):
    """A dropped file cannot be read."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        super().__init__(f"{place}: {cause}. Mend the file and drop it again.")


class NoSymbols(TicksError):
    """There is no list of symbols, or nothing is in it."""

    def __init__(self, place: str) -> None:
        self.place = place
        where = f"{place} names none" if place else "there is no list of them, and no file was dropped"
        super().__init__(
            f"no symbols: {where}. Set TUSHARE_TOKEN, or name a file of symbols in MARKETDATA_TICKS_SYMBOLS. What was"
            f" known before is left as it was."
        )


class OutsideCalendar(TicksError):
    """The trading calendar does not reach a day."""

    def __init__(self, day: str, first: str, last: str) -> None:
        self.day = day
        super().__init__(
            f"the trading calendar goes from {first} to {last}, and {day} is outside. Upgrade exchange_calendars,"
            f" which learns the holidays of a new year when they are announced."
        )


class ProviderAway(TransientError):
    """The provider did not answer, or only with errors, as often as we asked."""

    def __init__(self, request: str, attempts: int, cause: str) -> None:
        self.request = request
        self.attempts = attempts
        super().__init__(
            f"{request}: no good answer in {attempts} attempts, last: {cause}. What has landed stays; run the same"
            f" partitions again."
        )


class ProviderResting(TransientError):
    """The provider has not answered for other symbols for too long, so it was not asked for this one."""

    def __init__(self, provider: str, symbol: str, seconds: float, cause: str) -> None:
        self.provider = provider
        self.symbol = symbol
        super().__init__(
            f"{provider} was not asked for {symbol}: it has answered nobody for {seconds:.0f} s ({cause}). Run the same"
            f" partitions again when it is back."
        )


class QuotaSpent(TransientError):
    """The provider gives no more for longer than we wait."""

    def __init__(self, request: str, cause: str) -> None:
        self.request = request
        super().__init__(f"{request}: the quota is spent ({cause}). What has landed stays; run it again later.")
