"""The root of the project's errors. Each package has its own tree below one of these two.

MarketDataError
├── TerminalError    trying again changes nothing; a person has to act
└── TransientError   the same call may work later
"""


class MarketDataError(Exception):
    """Any failure this project names; the message has the place, the value and the remedy."""


class TerminalError(MarketDataError):
    """Trying again changes nothing."""


class TransientError(MarketDataError):
    """The same call may work later."""
