"""A rebuilt K-line takes the name of the old one, as `stores.relation_swap` does it; nothing is computed here."""

from collections.abc import Sequence

import psycopg

from marketdata_assets.errors import TerminalError
from marketdata_assets.stores import relation_swap
from marketdata_assets.stores.relation_swap import Names, RelationInUse

RELATION = "stock_monthly_kline"
BESIDE = f"{RELATION}_rebuilt"
REPLACED = f"{RELATION}_replaced"


class KlineInUse(TerminalError):
    """Something in the database depends on the K-line and cannot be kept in a rebuild."""

    def __init__(self, relation: str, dependants: Sequence[str]) -> None:
        super().__init__(
            f"{relation} cannot be rebuilt, because other objects depend on it: {', '.join(dependants)}. Drop them, run"
            f' "marketdata kline rebuild" again, and recreate them. The old rows are unchanged.'
        )


def swap(connection: psycopg.Connection) -> None:
    """Give the relation BESIDE the name RELATION; call it in a transaction. Raises KlineInUse or LockNotAvailable."""
    try:
        relation_swap.swap(connection, Names(RELATION, BESIDE, REPLACED))
    except RelationInUse as error:
        raise KlineInUse(RELATION, error.dependants) from error
