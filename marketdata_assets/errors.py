"""The root of the project's errors. Each package has its own tree below one of these two.

MarketDataError
├── TerminalError    trying again changes nothing; a person has to act
└── TransientError   the same call may work later
"""

from typing import Any


class MarketDataError(Exception):
    """Any failure this project names; the message has the place, the value and the remedy.

    It goes from one process to another whole, whatever arguments its constructor takes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.args, self.__dict__)


class TerminalError(MarketDataError):
    """Trying again changes nothing."""


class TransientError(MarketDataError):
    """The same call may work later."""


def _remade(kind: type[MarketDataError], args: tuple[Any, ...], facts: dict[str, Any]) -> MarketDataError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error
