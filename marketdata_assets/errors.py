"""The root of the project's errors. Each package has its own tree below one of these two.

MarketDataError
├── TerminalError    trying again changes nothing; a person has to act
└── TransientError   the same call may work later
"""

import copyreg
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

FEW = 8  # up to so many names are all listed, even if one of them is similar


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

    passes_soon = True
    """Whether a retry some minutes later may succeed, as in an outage."""


def is_outage(error: Exception | None) -> bool:
    """Whether what failed may succeed some minutes later."""
    return isinstance(error, TransientError) and error.passes_soon


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, and all where they are few."""
    names = sorted(known)
    near = get_close_matches(name.lower(), names, 1, 0.5) or get_close_matches(name, names, 1, 0.5)
    meant = f"did you mean {near[0]!r}?" if near else ""
    shown = names[:FEW] if near or len(names) <= 3 * FEW else [*names[:FEW], f"and {len(names) - FEW} more"]
    listed = f"there are {', '.join(shown) or 'none'}." if not near or len(names) <= FEW else ""
    return " ".join(part for part in (meant, listed) if part)
