"""Tables of ClickHouse in its Native format, a file for each partition; the server itself counts and hashes the rows.

Only the newest version of each row is kept. A ledger is read before the rows that it describes. Each partition is read
from a clone of its parts, which costs no space and does not change while loads continue.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marketdata_assets.backup.files import CHUNK, Piece, Relation, chunks, restore_each, save_each, writing
from marketdata_assets.stores import clickhouse_cluster
from marketdata_assets.stores.clickhouse import INSERT_SETTINGS, STORE, connect, naming_failures, quoted, read
from marketdata_assets.stores.clickhouse_rewrite import NO_MERGES
from marketdata_assets.stores.clients import Client

CLONE = "marketdata_backup_"
ABANDONED_HOURS = 24
"""A clone of this age is that of a backup that was killed."""
MODULUS = 1 << 64
_TARGET = re.compile(r"\bTO\s+(?:`?\w+`?\.)?`?(\w+)`?")


def save(url: str, tables: Sequence[str], folder: Path) -> list[Relation]:
    """Write those of `tables` that exist, in this order."""
    with connect(url) as client:
        _drop_abandoned_clones(client)
        existing = set(read(client, "SELECT name FROM system.tables WHERE database = currentDatabase()")["name"])
        return save_each([name for name in tables if name in existing], lambda name: _save(client, name, folder))


def restore(url: str, relations: Sequence[Relation], folder: Path, prepare: Callable[[Client], None]) -> None:
    """Restore the rows; `prepare` creates the tables. Raises TerminalError."""
    with connect(url) as client:
        prepare(client)
        # A table that a view fills is restored after the view's source; its rows replace those that the view produced.
        views = """
            SELECT create_table_query AS text FROM system.tables
            WHERE database = currentDatabase() AND engine = 'MaterializedView'"""
        targets = {match[1] for text in read(client, views)["text"] if (match := _TARGET.search(text))}
        order = sorted(relations, key=lambda one: one.name in targets)

        def load(one: Relation) -> tuple[int, str]:
            if _has_rows(client, one.name):
                client.command(f"TRUNCATE TABLE {quoted(one.name)}")
            for piece in one.pieces:
                blocks = chunks(folder, piece)
                with naming_failures():
                    client.raw_insert(quoted(one.name), insert_block=blocks, settings=INSERT_SETTINGS, fmt="Native")
            return _digest(client, one.name, one.columns)  # the table may have got others since

        restore_each(STORE, order, lambda name: _has_rows(client, name), load)


def _save(client: Client, name: str, folder: Path) -> Relation:
    query = """
        SELECT DISTINCT partition_id FROM system.parts
        WHERE active AND rows > 0 AND database = currentDatabase() AND table = {table:String} ORDER BY partition_id"""
    columns, pieces, rows, total = _columns(client, name), [], 0, 0
    for partition in read(client, query, {"table": name})["partition_id"]:
        piece, counted, digest = _partition(client, name, columns, str(partition), folder)
        pieces.append(piece)
        rows, total = rows + counted, total + int(digest, 16)
    return Relation(STORE, name, rows, f"{total % MODULUS:016x}", columns, "", pieces)


def _columns(client: Client, name: str) -> list[str]:
    """The columns that rows are inserted into, in the order of the table."""
    query = """
        SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}
        AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position"""
    return list(read(client, query, {"table": name})["name"])


def _partition(
    client: Client, name: str, columns: Sequence[str], partition: str, folder: Path
) -> tuple[Piece, int, str]:
    """Write the partition, as it is now, to its file."""
    file_name = f"clickhouse-{name}-{re.sub(r'[^0-9A-Za-z]', '_', partition)}.native.zst"
    with _cloned(client, name, partition) as clone, naming_failures():
        rows, digest = _digest(client, clone, columns, partition)
        with writing(folder, file_name) as file:
            stream: Any = client.raw_stream(_select(client, clone, "*", partition), {"id": partition}, fmt="Native")
            while block := stream.read(CHUNK):
                file.write(block)
            stream.close()
    return file.piece, rows, digest


@contextmanager
def _cloned(client: Client, name: str, partition: str) -> Iterator[str]:
    """The name of a table that has the parts that the partition has now; dropped on leaving."""
    clone = f"{CLONE}{secrets.token_hex(6)}"
    clickhouse_cluster.create_local_copy(client, clone, name)
    with naming_failures():
        try:
            # Neither a merge nor a TTL changes what was cloned while it is read.
            client.command(f"ALTER TABLE {quoted(clone)} MODIFY SETTING {NO_MERGES}")
            client.command(f"ALTER TABLE {quoted(clone)} ATTACH PARTITION ID '{partition}' FROM {quoted(name)}")
            yield clone
        finally:
            client.command(f"DROP TABLE IF EXISTS {quoted(clone)} SYNC")


def _drop_abandoned_clones(client: Client) -> None:
    query = """
        SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})
        AND metadata_modification_time < now() - toIntervalHour({hours:Int64})"""
    for name in read(client, query, {"prefix": CLONE, "hours": ABANDONED_HOURS})["name"]:
        client.command(f"DROP TABLE IF EXISTS {quoted(name)} SYNC")


def _digest(client: Client, name: str, columns: Sequence[str], partition: str = "") -> tuple[int, str]:
    """Rows, and the sum of their hashes over some columns, of a partition or of all."""
    row = f"tuple({', '.join(map(quoted, columns))})"
    what = f"toInt64(count()) AS _counted, toString(sum(sipHash64(toString({row})))) AS _summed"
    rows, digest = read(client, _select(client, name, what, partition), {"id": partition}).row(0)
    return int(rows), f"{int(digest) % MODULUS:016x}"


def _select(client: Client, name: str, what: str, partition: str) -> str:
    """A query over the newest rows, deduplicated within each partition; the partition is bound as `id`."""
    query = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
    [engine] = read(client, query, {"table": name})["engine"]
    final = "FINAL" if "Replacing" in engine else ""
    where = "WHERE _partition_id = {id:String}" if partition else ""
    return f"SELECT {what} FROM {quoted(name)} {final} {where} SETTINGS do_not_merge_across_partitions_select_final = 1"


def _has_rows(client: Client, name: str) -> bool:
    return bool(read(client, f"SELECT toInt64(count()) AS n FROM {quoted(name)}")["n"][0])
