"""The state of a partition: files and ledger compared. One enum with one order for all domains."""

from enum import StrEnum


class State(StrEnum):
    """States from the best to the worst; of several states of one partition the worst counts."""

    EMPTY = "empty"  # loaded, and the source has no rows
    OK = "ok"  # loaded and up to date
    UNSUPPORTED = "unsupported"  # no source has it
    MISSING = "missing"  # never loaded
    STALE = "stale"  # the source has changed since it was loaded
    FAILED = "failed"  # the last load failed

    @property
    def outdated(self) -> bool:
        """Whether a load is due: missing, stale or failed."""
        return self in (State.MISSING, State.STALE, State.FAILED)


def worst(*states: State) -> State:
    """The worst of some states. Raises ValueError when there is none."""
    return max(states, key=list(State).index)
