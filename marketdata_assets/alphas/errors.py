"""The errors between the BRAIN API and MongoDB. Those of files and rejects are in `loading.errors`.

A retry may help against ApiUnavailable; the others are AlphasErrors, which are terminal.
"""

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


STILL_UNAUTHORIZED = "it accepts the login, and still answers 401"


class LoginRejected(AlphasError):
    """The API rejects the account's e-mail and password, or accepts them and nothing else."""

    def __init__(self, account: str, answer: str) -> None:
        correct = "Correct its e-mail or password: until then it is"
        if answer.startswith(STILL_UNAUTHORIZED):
            correct = "Ask BRAIN what the account may do: it is"
        super().__init__(
            f"BRAIN rejects the login of account {account} ({answer}). {correct}"
            f" not sent again, as BRAIN could lock the account. To send it again unchanged, run:"
            f" marketdata alphas login --account {account}"
        )


class LoginThrottled(AlphasError):
    """The API throttles the account's logins, after many identity checks for instance, or its answer is no JSON."""

    def __init__(self, account: str, answer: str, until: str) -> None:
        super().__init__(
            f"BRAIN takes no login of account {account} ({answer}). None is sent before {until}, as each one"
            f" could prolong it. To send one nevertheless, run: marketdata alphas login --account {account}"
        )


class IdentityCheckRequired(AlphasError):
    """The API requires an interactive identity check before the account can log in.

    `url` is empty when the link has expired and no other is requested before `until`.
    """

    def __init__(self, account: str, url: str, until: str = "") -> None:
        self.url = url
        remedy = f"Open {url}, then run:" if url else f"No link is requested before {until}. For a new one, run:"
        super().__init__(
            f"BRAIN requires an identity check of account {account}. {remedy}"
            f" marketdata alphas login --account {account}"
        )


class RequestRejected(AlphasError):
    """The API rejects a request as invalid."""

    def __init__(self, request: str, status: int, answer: str) -> None:
        self.status = status
        super().__init__(f"{request}: BRAIN answered {status} ({answer}). A retry will not help.")


class UnsafeId(AlphasError):
    """An alpha's id that would lead to another address."""

    def __init__(self) -> None:
        super().__init__("its id is empty, or has a slash or a control character: no request is sent for it")


class NotOffered(AlphasError):
    """The API does not give a record set to an account, such as production correlations to those of no consultant."""

    def __init__(self, account: str, record_set: str, answer: str) -> None:
        super().__init__(f"account {account} is not offered {record_set}: {answer}")


class BadOptions(AlphasError):
    """Contradictory options of an import."""


class ApiUnavailable(TransientError):
    """No attempt of a request had a usable response."""

    def __init__(self, request: str, attempts: int, cause: str) -> None:
        self.attempts = attempts
        super().__init__(
            f"{request}: failed after {attempts} attempts, last: {cause}. What was fetched is kept; run the same"
            f" partitions again."
        )
