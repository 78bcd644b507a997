"""Which months, days or files of a load are complete while it is in progress."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Countdown(Generic[Key]):
    """Counts the pieces of work left for each key; `work` has the keys of each piece."""

    def __init__(self, work: Iterable[Iterable[Key]]) -> None:
        self._left = Counter(key for keys in work for key in keys)
        self._failed = set[Key]()

    def ended(self, keys: Iterable[Key], failed: Collection[Key] = ()) -> list[Key]:
        """Take a piece that has ended, and return those of its keys that are complete and of which nothing failed."""
        self._failed.update(failed)
        done = []
        for key in keys:
            self._left[key] -= 1
            if self._left[key] == 0 and key not in self._failed:
                done.append(key)
        return done
