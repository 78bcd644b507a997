"""The errors between the BRAIN API and MongoDB. Those of files and rejects are in `loading.errors`.

A retry may help against ApiUnavailable, PagesShift and StillComputed; the others are AlphasErrors, which are terminal.
"""

from collections.abc import Sequence

from marketdata_assets.errors import TerminalError, TransientError


class AlphasError(TerminalError):
    """An error of the alphas domain that retrying does not fix."""


class NotEnabled(AlphasError):
    """An account that the accounts file does not list, or lists as disabled, is not fetched."""

    def __init__(self, account: str, file: str, listed: bool) -> None:
        cause = "is disabled in" if listed else "is not in"
        remedy = 'Set "enabled": true there' if listed else f'Add {{"user_key": "{account}"}} to it'
        super().__init__(f"account {account} {cause} the accounts file {file}. {remedy} to fetch it.")


class NoCredentials(AlphasError):
    """An account has no e-mail or password; `unset` when none were configured at all."""

    def __init__(self, account: str, remedy: str, unset: bool = False) -> None:
        self.unset = unset
        super().__init__(f"account {account} has no credentials. {remedy}")


class LoginRejected(AlphasError):
    """The API rejects the account's e-mail and password."""

    def __init__(self, account: str, answer: str) -> None:
        super().__init__(
            f"BRAIN rejects the login of account {account} ({answer}). Correct its e-mail or password: until then it is"
            f" not sent again, as BRAIN could lock the account. To send it again unchanged, run:"
            f" marketdata alphas login --account {account}"
        )


class IdentityCheckRequired(AlphasError):
    """The API requires an interactive identity check before the account can log in."""

    def __init__(self, account: str, url: str) -> None:
        self.url = url
        super().__init__(
            f"BRAIN requires an identity check of account {account}. Open {url}, then run:"
            f" marketdata alphas login --account {account}"
        )


class RequestRejected(AlphasError):
    """The API rejects a request as invalid."""

    def __init__(self, request: str, status: int, answer: str) -> None:
        self.status = status
        super().__init__(f"{request}: BRAIN answered {status} ({answer}). A retry will not help.")


class NotOffered(AlphasError):
    """The API does not give a record set to an account, such as production correlations to those of no consultant."""

    def __init__(self, account: str, record_set: str, answer: str) -> None:
        super().__init__(f"account {account} is not offered {record_set}: {answer}")


class WindowTooDense(AlphasError):
    """One second has more alphas than the API pages through."""

    def __init__(self, window: str, count: int, cap: int) -> None:
        super().__init__(
            f"{window}: {count} alphas were created within this second, and the API pages through {cap} at most."
            f" Fetch them by id, or import an archive that has them."
        )


class BadOptions(AlphasError):
    """Contradictory options of an import."""


class DuplicateIds(AlphasError):
    """A collection of another tool has an id more than once, so no unique index can be built."""

    def __init__(self, collection: str, examples: Sequence[tuple[object, int]]) -> None:
        named = ", ".join(
            f"{times} documents {f'of id {name}' if name else 'without an id'}" for name, times in examples
        )
        super().__init__(
            f"{collection} has {named}; nothing is imported into it. Keep one document of each id and remove those"
            f" without one, or rename the collection to have it rebuilt from the packages; then run it again."
        )


class ApiUnavailable(TransientError):
    """No attempt of a request had a usable response."""

    def __init__(self, request: str, attempts: int, cause: str) -> None:
        self.attempts = attempts
        super().__init__(
            f"{request}: failed after {attempts} attempts, last: {cause}. What was fetched is kept; run the same"
            f" partitions again."
        )


class StillComputed(TransientError):
    """BRAIN had not computed a record set in the time that a fetch waits for it."""

    def __init__(self, record_set: str, polls: int) -> None:
        super().__init__(f"{record_set}: BRAIN still computes it after {polls} requests. Run the same partition again.")


class PagesShift(TransientError):
    """The list kept changing while it was read."""

    def __init__(self, window: str, attempts: int, cause: str) -> None:
        super().__init__(
            f"{window}: the pages changed during {attempts} reads ({cause}). Run the same partition again."
        )
