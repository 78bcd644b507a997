"""Where targets outside Postgres are: what a flow has to be given before it is run."""

from dataclasses import dataclass
from typing import Protocol


class Addresses(Protocol):
    """Looked up when they are needed: definitions are read where no server runs."""

    @property
    def clickhouse_url(self) -> str:
        """The database of the flow's table."""


@dataclass(frozen=True)
class Known:
    """Addresses that were looked up, for workers that may be on other machines."""

    clickhouse_url: str
