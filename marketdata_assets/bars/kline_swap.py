"""A rebuilt K-line takes the name of the old one, as `stores.relation_swap` does it; nothing is computed here."""

import psycopg

from marketdata_assets.errors import TerminalError
from marketdata_assets.stores import relation_swap
from marketdata_assets.stores.relation_swap import Names, RelationInUse

RELATION = "stock_monthly_kline"
BESIDE = f"{RELATION}_rebuilt"
REPLACED = f"{RELATION}_replaced"


def swap(connection: psycopg.Connection) -> None:
    """Give the relation BESIDE the name RELATION; in a transaction. Raises LockNotAvailable or TerminalError."""
    try:
        relation_swap.swap(connection, Names(RELATION, BESIDE, REPLACED))
    except RelationInUse as error:
        raise TerminalError(
            f"{RELATION} cannot be rebuilt, because other objects depend on it: {', '.join(error.dependants)}."
            ' Drop them, run "marketdata kline rebuild" again, and recreate them. The old rows are unchanged.'
        ) from error
