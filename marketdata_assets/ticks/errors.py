"""What can go wrong between a provider of ticks and the table; a TransientError may succeed when it is tried again."""

from marketdata_assets.errors import TerminalError, TransientError


class TicksError(TerminalError):
    """Anything wrong with ticks that a person has to fix."""


class NoToken(TicksError):
    """A provider is enabled that needs a token, and none is set."""

    def __init__(self, provider: str, variable: str) -> None:
        super().__init__(f"{provider} needs a token. Set {variable}, or disable {provider} in the providers file.")


class TokenRejected(TicksError):
    """The provider does not know the token."""

    def __init__(self, provider: str, variable: str, answer: str) -> None:
        super().__init__(f"{provider} rejects the token ({answer}). Set {variable} to the token of your account.")


class NoPermission(TicksError):
    """The account has no permission for an interface."""

    def __init__(self, provider: str, interface: str, answer: str) -> None:
        super().__init__(
            f"{provider} {interface}: this account has no permission ({answer}). Buy it, or remove the table from"
            f" `supports` of {provider} in the providers file."
        )


class RequestRejected(TicksError):
    """The provider answered that the request itself is wrong."""

    def __init__(self, request: str, code: int, answer: str) -> None:
        super().__init__(f"{request}: rejected with {code} ({answer}). A retry will not help.")


class UnknownSymbol(TicksError):
    """The provider has no such symbol."""

    def __init__(self, provider: str, symbol: str, answer: str) -> None:
        super().__init__(
            f"{provider} does not know {symbol} ({answer}). If it has another name there, add it to"
            f" `symbol_mapping` of {provider} in the providers file."
        )


class BadResponse(TicksError):
    """A response is complete and is not what the interface promises."""

    def __init__(self, request: str, cause: str) -> None:
        super().__init__(f"{request}: {cause}. Nothing of this response is used.")


class BadFile(TicksError):
    """A dropped file cannot be read."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}. Correct the file and drop it again.")


class ProviderUnavailable(TransientError):
    """Every attempt of a request ended without a response, or with an error."""

    def __init__(self, request: str, attempts: int, cause: str) -> None:
        super().__init__(
            f"{request}: no successful response in {attempts} attempts, last: {cause}. Loaded rows are kept; run the"
            f" same partitions again."
        )


class QuotaSpent(TransientError):
    """The provider's quota is used up for longer than we wait."""

    passes_soon = False

    def __init__(self, request: str, cause: str) -> None:
        super().__init__(f"{request}: the quota is used up ({cause}). Loaded rows are kept; run it again later.")


class AccountBlocked(TransientError):
    """The provider rejects every request of the account, or of this machine, for a time."""

    passes_soon = False

    def __init__(self, provider: str, answer: str, advice: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"{provider} rejects all requests of this account or machine {answer}. {advice}. Loaded rows are kept."
        )
