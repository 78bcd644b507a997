"""What can go wrong between the BRAIN API and MongoDB.

MarketDataError
├── TerminalError
│   └── AlphasError
│       ├── NotEnabled           an account is not, or not enabled, in the accounts file
│       ├── NoCredentials        an account has no e-mail or password
│       ├── LoginRefused         the API does not take them
│       ├── PersonNeeded         the API asks for a person: a link to open
│       ├── RequestRefused       the API does not understand a request
│       ├── WindowTooDense       more alphas within one second than the API will page through
│       ├── BadSlice             a raw file cannot be read
│       ├── TooManyRejects       so many documents of a file are refused that the file itself is doubted
│       └── BadOptions           options of an import that contradict each other
└── TransientError
    ├── ApiAway                  no answer, or only errors, as often as we asked
    └── PagesShift               the list kept changing while it was read
"""

from collections.abc import Sequence

from marketdata_assets.errors import TerminalError, TransientError


class AlphasError(TerminalError):
    """Anything wrong with alphas that a person has to mend."""


class NotEnabled(AlphasError):
    """An account that the accounts file does not list, or lists as disabled, is not fetched."""

    def __init__(self, account: str, file: str, listed: bool) -> None:
        self.account = account
        cause = "is disabled in" if listed else "is not in"
        remedy = 'Set "enabled": true there' if listed else f'Add {{"user_key": "{account}"}} to it'
        super().__init__(f"account {account} {cause} the accounts file {file}. {remedy} to fetch it.")


class NoCredentials(AlphasError):
    """An account has no e-mail or password; `unset` when none were meant to be there."""

    def __init__(self, account: str, remedy: str, unset: bool = False) -> None:
        self.account = account
        self.unset = unset
        super().__init__(f"account {account} has no credentials. {remedy}")


class LoginRefused(AlphasError):
    """The API does not take the account's e-mail and password."""

    def __init__(self, account: str, answer: str) -> None:
        self.account = account
        super().__init__(f"BRAIN refuses the login of account {account} ({answer}). Mend its e-mail or password.")


class PersonNeeded(AlphasError):
    """The API wants to see a person before it lets the account in."""

    def __init__(self, account: str, url: str) -> None:
        self.account = account
        self.url = url
        super().__init__(
            f"BRAIN wants to see the person behind account {account}. Open {url}, then run:"
            f" marketdata alphas login --account {account}"
        )


class RequestRefused(AlphasError):
    """The API answered that the request itself is wrong."""

    def __init__(self, request: str, status: int, answer: str) -> None:
        self.status = status
        super().__init__(f"{request}: BRAIN answered {status} ({answer}). Asking again will not help.")


class WindowTooDense(AlphasError):
    """One second holds more alphas than the API will page through."""

    def __init__(self, window: str, count: int, cap: int) -> None:
        self.window = window
        super().__init__(
            f"{window}: {count} alphas were created within this second, and the API pages through {cap} at most."
            f" Fetch them one by one by id, or import an archive that has them."
        )


class BadSlice(AlphasError):
    """A raw file cannot be read."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        super().__init__(f"{place}: {cause}. Fetch the window again, or deliver the file again.")


class TooManyRejects(AlphasError):
    """More than 1 % or more than 1000 documents were refused, so the file itself is doubted."""

    def __init__(self, place: str, rejected: int, documents: int, examples: Sequence[str]) -> None:
        self.place = place
        self.rejected = rejected
        self.documents = documents
        super().__init__(
            f"{place}: {rejected} of {documents} documents refused, over the limit of 1 % (at least 10, at most 1000)."
            f" First: {'; '.join(examples)}. Mend the file and deliver it again."
        )


class BadOptions(AlphasError):
    """Options of an import that contradict each other."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)


class ApiAway(TransientError):
    """The API did not answer, or only with errors, as often as we asked."""

    def __init__(self, request: str, attempts: int, cause: str) -> None:
        self.request = request
        self.attempts = attempts
        super().__init__(
            f"{request}: no good answer in {attempts} attempts, last: {cause}. What has landed stays; run the same"
            f" partitions again."
        )


class PagesShift(TransientError):
    """The list kept changing while it was read."""

    def __init__(self, window: str, attempts: int, cause: str) -> None:
        self.window = window
        super().__init__(f"{window}: the pages shifted in {attempts} readings ({cause}). Run the same partition again.")
