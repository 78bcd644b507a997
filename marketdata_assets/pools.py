"""The pools that steps share, and their limits, which must stand before a run asks for them.

Dagster writes a pool's default limit down when a run first needs it. On Postgres two runs that do so at once fail, and
so does every run after the default was changed (dagster-io/dagster#33552).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._core.storage.event_log import EventLogStorage

POOLS = ("timescale", "mongo", "clickhouse", "alpha_api")


def ready(instance: "DagsterInstance") -> None:
    """Write down the limits that are missing, or that are an earlier default; those that somebody set stay."""
    default, storage = instance.global_op_concurrency_default_limit, instance.event_log_storage
    if default is None:
        return
    standing = {limit.name: limit for limit in storage.get_pool_limits()}
    for pool in POOLS:
        limit = standing.get(pool)
        if limit is None:
            _make(storage, pool)
        elif limit.from_default and limit.limit != default:
            storage.delete_concurrency_limit(pool)
            _make(storage, pool)


def _make(storage: "EventLogStorage", pool: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage.initialize_concurrency_limit_to_default(pool)
    except SQLAlchemyError:  # another process was first
        if pool not in {limit.name for limit in storage.get_pool_limits()}:
            raise
