"""The limit of rejected rows, from which on the whole unit is rejected and nothing of it is loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RejectLimit:
    """More than `share` of the rows, or more than `rows` rows; up to `tolerated` rows never exceed the limit."""

    share: float = 0.01
    rows: int = 1000
    tolerated: int = 0

    def exceeded(self, rejected: int, rows: int) -> bool:
        """Whether `rejected` of `rows` rows, the rejected ones included, are too many."""
        if rejected <= self.tolerated:
            return False
        return rejected > self.rows or rejected > rows * self.share

    def __str__(self) -> str:
        return f"{self.share * 100:g} % or {self.rows}"


DEFAULT_LIMIT = RejectLimit()
