"""The root of the project's errors. Each package has its own tree below one of these two.

MarketDataError
├── TerminalError    trying again changes nothing; a person has to act
└── TransientError   the same call may work later
"""

import copyreg
from typing import Any


class MarketDataError(Exception):
    """Any failure this project names; the message has the place, the value and the remedy.

    It goes from one process to another whole, whatever arguments its constructor takes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class TerminalError(MarketDataError):
    """Trying again changes nothing."""


class TransientError(MarketDataError):
    """The same call may work later."""
