"""Replace a part of a partition atomically: readers see the old or the new rows, and no writer undoes another's work.

A writer fills a stage, a table of its own, and publishes it with one REPLACE PARTITION. There is no lock:

1. create an own stage; 2. only then drop every other stage of the partition, and wait until no REPLACE from one of
them is in progress; 3. clone the partition into the stage; 4. change the stage; 5. publish.

No update is lost: suppose P cloned before Q published, and P published after Q. P's stage did not exist when Q dropped
the others, or P could not have published. So P created its stage after Q's drop, and Q's stage existed before P's drop.
P dropped it before P cloned, and so before Q published, and a dropped stage cannot be published.
A writer that dies, or is suspended and superseded, leaves a stage that the next writer drops, and nothing else.

All of this is of one node, also on a cluster, where a stage is not replicated: see `clickhouse_cluster`.

Waiting only saves writers a retry: those of one machine queue for a lock, and a young stage of another machine is left
alone. Correctness depends on no clock and no lock.
"""

import random
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from marketdata_assets import lock_waits, state_files
from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.state_files import made_once
from marketdata_assets.stores import clickhouse, clickhouse_cluster
from marketdata_assets.stores.clickhouse import naming_failures, quoted
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import StoreAway

NO_PARTS = 36
NO_MERGES = "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1"
"""Of a stage: the table merges its own parts, and a DELETE waits for merges in progress."""
PARTS_AT_ONCE = 4
"""A server with two cores mutates so many parts at the same time."""
POLL_SECONDS = 0.005
QUIET_SECONDS = 120.0
TURN_SECONDS = 30.0
COURTESY_SECONDS = 15.0
PATIENCE_SECONDS = 60.0
_PARTITION = re.compile(r"[A-Za-z0-9]+")


class Superseded(TransientError):
    """Another writer replaced the same partition, or what was written is not what was sent."""

    def __init__(self, table: str, partition: str, cause: str) -> None:
        super().__init__(
            f"{table}, partition {partition}: {cause}. Nothing of this unit is committed; run the same partitions"
            f" again, with fewer concurrent writers if it happens again."
        )


@dataclass(frozen=True)
class Stage:
    """A copy of a partition that only its writer sees."""

    client: Client
    table: str
    partition: str
    name: str

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """Query the stage, which `sql` names `{stage}`."""
        return clickhouse.read(self.client, sql.replace("{stage}", quoted(self.name)), parameters)

    def delete(self, condition: str, parameters: Mapping[str, Any]) -> None:
        """Delete the rows of a condition.

        A DELETE mutates every part of its table, a few at once, and the server may wait for a second before the next
        few. So of many parts, those that have such rows are mutated in a table of their own.
        """
        with_rows, others = self._parts(self.name, condition, parameters)
        if len(with_rows) + len(others) <= PARTS_AT_ONCE or len(others) < len(with_rows):
            self._delete_from(self.name, condition, parameters)
        elif with_rows:
            self._delete_apart(with_rows, condition, parameters)

    def _delete_apart(self, with_rows: Iterable[str], condition: str, parameters: Mapping[str, Any]) -> None:
        apart = f"{self.name}_apart"
        try:
            self._command(f"CREATE TABLE {quoted(apart)} AS {quoted(self.name)}")
            self._attach(apart, self.name)
            self._drop_parts(apart, self._parts(apart, condition, parameters)[1])
            self._delete_from(apart, condition, parameters)
            self._drop_parts(self.name, with_rows)
            self._attach(self.name, apart)
        finally:
            _drop(self.client, apart)

    def _delete_from(self, table: str, condition: str, parameters: Mapping[str, Any]) -> None:
        self._command(f"DELETE FROM {quoted(table)} WHERE {condition}", parameters)

    def _attach(self, table: str, source: str) -> None:
        self._command(f"ALTER TABLE {quoted(table)} ATTACH PARTITION ID '{self.partition}' FROM {quoted(source)}")

    def _drop_parts(self, table: str, parts: Iterable[str]) -> None:
        self._command(f"ALTER TABLE {quoted(table)} " + ", ".join(f"DROP PART '{part}'" for part in sorted(parts)))

    def _parts(self, table: str, condition: str, parameters: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """The parts of a table that have rows of a condition, and the others."""
        sql = f"""
            SELECT name, name IN (SELECT DISTINCT _part FROM {quoted(table)} WHERE {condition}) AS hit
            FROM system.parts WHERE active AND database = currentDatabase() AND table = '{table}'"""
        found = clickhouse.read(self.client, sql, parameters).rows()
        return [name for name, hit in found if hit], [name for name, hit in found if not hit]

    def clear(self) -> None:
        """Delete all rows."""
        self._command(f"ALTER TABLE {quoted(self.name)} DROP PARTITION ID '{self.partition}'")

    def insert(self, frame: pl.DataFrame, dictionaries: tuple[str, ...] = ()) -> None:
        """Append rows, and wait until no insert is in progress: a client may send a request twice."""
        clickhouse.insert(self.client, self.name, frame, dictionaries)
        _wait_for(self.client, self.name, "INSERT")

    def fill(self, query: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Append the rows of a query, column by column, and wait until no insert is in progress."""
        self._command(f"INSERT INTO {quoted(self.name)} {query}", parameters)
        _wait_for(self.client, self.name, "INSERT")

    def publish(self) -> None:
        """Make the stage the partition, at once for every reader."""
        from clickhouse_connect.driver.exceptions import DatabaseError

        replace = f"ALTER TABLE {quoted(self.table)} REPLACE PARTITION ID '{self.partition}' FROM {quoted(self.name)}"
        try:
            self._command(replace)
        except DatabaseError as error:
            if error.code != NO_PARTS:
                raise
            self._command(replace, settings={"allow_replace_partition_from_empty_source": 1})

    def _command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: dict[str, Any] | None = None
    ) -> None:
        with naming_failures():
            self.client.command(sql, parameters=None if parameters is None else dict(parameters), settings=settings)


@contextmanager
def staged(
    client: Client, table: str, partition: str, *, turns: Path | None = None, courtesy_s: float = COURTESY_SECONDS
) -> Iterator[Stage]:
    """A stage that holds a copy of the partition; `publish` it within the block. It is dropped on leaving.

    Raises Superseded when another writer came in between. `turns` is a folder in which writers of one machine wait for
    each other; a stage of another machine is waited for as long as `courtesy_s`.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    if not _PARTITION.fullmatch(partition):
        raise ValueError(f"{partition!r} is no partition")
    prefix = f"{table}__{partition}__"
    with _turn(turns, f"{table}-{partition}") as (group, held):
        stage = Stage(client, table, partition, f"{prefix}{group}_{secrets.token_hex(6)}")
        try:
            _claim(stage, prefix, courtesy_s, f"{prefix}{group}_" if held else None)
            stage._command(f"ALTER TABLE {quoted(stage.name)} MODIFY SETTING {NO_MERGES}")
            stage._attach(stage.name, table)
            yield stage
        except (DatabaseError, StoreAway) as error:
            cause = error if isinstance(error, DatabaseError) else error.__cause__
            if not isinstance(cause, DatabaseError):
                raise
            _wait_for(client, stage.name, "DROP TABLE")  # what works in a table breaks off before the table is gone
            if stage.name in stages(client, stage.name):
                raise
            raise Superseded(table, partition, "another writer replaced it at the same time") from error
        finally:
            with suppress(MarketDataError, DatabaseError):
                _drop(stage.client, stage.name)


def stages(client: Client, prefix: str) -> list[str]:
    """The names of all stages that begin with `prefix`, which is `TABLE__` or `TABLE__PARTITION__`."""
    sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})"
    return clickhouse.read(client, sql, {"prefix": prefix})["name"].to_list()


def _claim(stage: Stage, prefix: str, courtesy_s: float, ours: str | None) -> None:
    """Create the stage and fence all others, once none of them is young; those named `ours...` are surely dead."""
    since: dict[str, float] = {}
    old: set[str] | None = None
    started = time.monotonic()
    while True:
        clickhouse_cluster.create_local_copy(stage.client, stage.name, stage.table)
        if _fenced(stage, prefix, old, ours):
            return
        _drop(stage.client, stage.name)
        while True:
            if time.monotonic() - started > PATIENCE_SECONDS:
                raise Superseded(stage.table, stage.partition, "other writers replace it all the time")
            time.sleep(random.uniform(0.5, 5) * POLL_SECONDS)  # noqa: S311
            now = time.monotonic()
            others = _foreign(stages(stage.client, prefix), ours)
            if all(now - since.setdefault(name, now) >= courtesy_s for name in others):
                old = set(others)
                break


def _fenced(stage: Stage, prefix: str, old: set[str] | None, ours: str | None) -> bool:
    """Ensure that no other stage can be published, and that none is being published.

    Returns False to yield: to any other at the first try, when `old` is None, and to a new one with a smaller name.
    """
    # A third writer may have dropped a stage whose REPLACE had started: it is not listed and is still committed. The
    # list is read first, since a subquery runs before its query.
    sql = """
        WITH (SELECT groupArray(name) FROM system.tables
              WHERE database = currentDatabase() AND startsWith(name, {prefix:String})) AS listed
        SELECT listed, count() AS busy FROM system.processes
        WHERE query_id != queryID() AND position(query, {prefix:String}) > 0 AND position(query, {kind:String}) > 0"""
    kind = "REPLACE PARTITION"
    listed, busy = clickhouse.read(stage.client, sql, {"prefix": prefix, "kind": kind}).row(0)
    others = sorted(name for name in listed if name != stage.name)  # a stage before its `_apart`
    foreign = _foreign(others, ours)
    if stage.name not in listed:  # it was dropped, or the list is that of another node
        return False
    if foreign and (old is None or any(name < stage.name for name in foreign if name not in old)):
        return False
    for name in others:
        _drop(stage.client, name)
    if others or busy:
        _wait_for(stage.client, prefix, kind)
    if not others:
        return True
    left = stages(stage.client, prefix)  # from the node that has the stage, so the others were dropped there
    return stage.name in left and not set(others).intersection(left)


def _foreign(names: Iterable[str], ours: str | None) -> list[str]:
    return [name for name in names if ours is None or not name.startswith(ours)]


def _drop(client: Client, name: str) -> None:
    with naming_failures():
        client.command(f"DROP TABLE IF EXISTS {quoted(name)} SYNC")


def _wait_for(client: Client, name: str, kind: str) -> None:
    """Return once no request that names both is in progress on the server."""
    sql = (
        "SELECT query FROM system.processes WHERE query_id != queryID()"
        " AND position(query, {name:String}) > 0 AND position(query, {kind:String}) > 0"
    )
    deadline = time.monotonic() + QUIET_SECONDS
    while not clickhouse.read(client, sql, {"name": name, "kind": kind}).is_empty():
        if time.monotonic() > deadline:
            raise StoreAway(clickhouse.STORE, f"a request with {name} has not ended in {QUIET_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


@contextmanager
def _turn(folder: Path | None, name: str) -> Iterator[tuple[str, bool]]:
    """Wait for this machine's other writers of `name`, for a limited time: one of them may be suspended.

    Gives a name for all who wait in `folder`, and whether it is our turn, so that none of them is at work.
    """
    if folder is None:
        yield secrets.token_hex(4), False
        return
    path, deadline = folder / f"{name}.lock", time.monotonic() + TURN_SECONDS
    with state_files.opened(path) as file:
        with lock_waits.reported(name, partial(state_files.holder_of, path)):
            while not (held := state_files.lock(file, wait=False)) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        yield _group(folder), held


def _group(folder: Path) -> str:
    return made_once(folder / "group", lambda: secrets.token_hex(4))
