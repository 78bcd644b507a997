"""Tables of ClickHouse in its Native format, a file for each partition; the server itself counts and hashes the rows.

Only the newest version of each row is kept. A ledger is read before the rows that it describes.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketdata_assets.backup.errors import BeingWritten, Differs, NotEmpty
from marketdata_assets.backup.files import CHUNK, Piece, Relation, chunks, writing
from marketdata_assets.progress import report
from marketdata_assets.stores.clickhouse import INSERT_SETTINGS, STORE, connect, naming_failures, quoted, read

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TRIES = 3
MODULUS = 1 << 64
_TARGET = re.compile(r"\bTO\s+(?:`?\w+`?\.)?`?(\w+)`?")


def save(url: str, tables: Sequence[str], folder: Path) -> list[Relation]:
    """Write those of `tables` that exist, in this order. Raises BeingWritten."""
    with connect(url) as client:
        existing = set(read(client, "SELECT name FROM system.tables WHERE database = currentDatabase()")["name"])
        names = [name for name in tables if name in existing]
        found = []
        for done, name in enumerate(names):
            report(done, len(names), name)
            found.append(_save(client, name, folder))
    return found


def restore(url: str, relations: Sequence[Relation], folder: Path, prepare: Callable[["Client"], None]) -> None:
    """Restore the rows; `prepare` creates the tables. Raises NotEmpty and Differs."""
    with connect(url) as client:
        prepare(client)
        if full := [one.name for one in relations if _rows(client, one.name)]:
            raise NotEmpty(STORE, full)
        # A table that a view fills is restored after the view's source; its rows replace those that the view produced.
        targets = _targets(client)
        order = sorted(relations, key=lambda one: (one.name in targets, relations.index(one)))
        for done, one in enumerate(order):
            report(done, len(order), one.name)
            if _rows(client, one.name):
                client.command(f"TRUNCATE TABLE {quoted(one.name)}")
            for piece in one.pieces:
                _load(client, one, piece, folder)
            rows, digest = _digest(client, one.name)
            if (rows, digest) != (one.rows, one.digest):
                raise Differs(STORE, one.name, f"{one.rows} rows {one.digest}", f"{rows} rows {digest}")


def _save(client: "Client", name: str, folder: Path) -> Relation:
    query = """
        SELECT DISTINCT partition_id FROM system.parts
        WHERE active AND rows > 0 AND database = currentDatabase() AND table = {table:String} ORDER BY partition_id"""
    pieces, rows, total = [], 0, 0
    for partition in read(client, query, {"table": name})["partition_id"]:
        piece, counted, digest = _partition(client, name, str(partition), folder)
        pieces.append(piece)
        rows, total = rows + counted, total + int(digest, 16)
    return Relation(STORE, name, rows, f"{total % MODULUS:016x}", [], "", pieces)


def _partition(client: "Client", name: str, partition: str, folder: Path) -> tuple[Piece, int, str]:
    """Write the partition to its file; repeated when the partition was written to meanwhile."""
    file_name = f"clickhouse-{name}-{re.sub(r'[^0-9A-Za-z]', '_', partition)}.native.zst"
    for _ in range(TRIES):
        before = _digest(client, name, partition)
        (folder / file_name).unlink(missing_ok=True)
        with naming_failures(), writing(folder, file_name) as file:
            stream: Any = client.raw_stream(_select(client, name, "*", partition), {"id": partition}, fmt="Native")
            while block := stream.read(CHUNK):
                file.write(block)
            stream.close()
        if _digest(client, name, partition) == before:
            return file.piece, *before
    raise BeingWritten(STORE, name)


def _load(client: "Client", one: Relation, piece: Piece, folder: Path) -> None:
    with naming_failures():
        client.raw_insert(quoted(one.name), insert_block=chunks(folder, piece), settings=INSERT_SETTINGS, fmt="Native")


def _digest(client: "Client", name: str, partition: str = "") -> tuple[int, str]:
    """Rows, and the sum of their hashes, of a partition or of all."""
    what = "toInt64(count()) AS n, toString(sum(sipHash64(toString(tuple(*))))) AS digest"
    rows, digest = read(client, _select(client, name, what, partition), {"id": partition}).row(0)
    return int(rows), f"{int(digest) % MODULUS:016x}"


def _select(client: "Client", name: str, what: str, partition: str) -> str:
    """A query over the newest rows, deduplicated within each partition; the partition is bound as `id`."""
    query = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
    [engine] = read(client, query, {"table": name})["engine"]
    final = "FINAL" if "Replacing" in engine else ""
    where = "WHERE _partition_id = {id:String}" if partition else ""
    return f"SELECT {what} FROM {quoted(name)} {final} {where} SETTINGS do_not_merge_across_partitions_select_final = 1"


def _rows(client: "Client", name: str) -> int:
    return int(read(client, f"SELECT toInt64(count()) AS n FROM {quoted(name)}")["n"][0])


def _targets(client: "Client") -> set[str]:
    query = """
        SELECT create_table_query AS text FROM system.tables
        WHERE database = currentDatabase() AND engine = 'MaterializedView'"""
    found = (_TARGET.search(text) for text in read(client, query)["text"])
    return {match[1] for match in found if match}
