"""Steps in ClickHouse: statement by statement, then the record; adding a column blocks no insert."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from marketdata_assets.progress import report
from marketdata_assets.stores import clickhouse_cluster, migrations
from marketdata_assets.stores.clickhouse import connect, create, naming_failures, read
from marketdata_assets.stores.migrations import RECORDS, Plan, Step

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NAME = "clickhouse"


def check(client: "Client", tables: Collection[str] | None = None) -> None:
    """Record the steps that the database does not need, before tables are created.

    Raises SchemaTooOld when it needs one, of `tables` or any, SchemaTooNew, StepChanged and UnsupportedServer.
    """
    clickhouse_cluster.check(client)
    found = _record_unneeded(client)
    pending = tuple(step for step in found.pending if tables is None or step.table in tables)
    migrations.refuse_pending(_place(client), pending)


def _record_unneeded(client: "Client") -> Plan:
    found = _plan(client)
    _record(client, found.unneeded)
    return found


def pending(url: str) -> Sequence[Step]:
    """The steps that the database needs. Raises SchemaTooNew and StepChanged."""
    with connect(url) as client:
        return _plan(client).pending


def migrate(url: str) -> Sequence[Step]:
    """Run the steps that the database needs, with progress, and return them; loads continue meanwhile.

    Raises SchemaTooNew and StepChanged.
    """
    with connect(url) as client:
        found = _record_unneeded(client)
        for done, step in enumerate(found.pending, 1):
            with naming_failures():
                for statement in step.text.split(";\n"):
                    if any(line and not line.startswith("--") for line in statement.splitlines()):
                        client.command(statement)
            _record(client, [step])
            report(done, len(found.pending), step.label)
        return found.pending


def _plan(client: "Client") -> Plan:
    tables = set(read(client, "SELECT name FROM system.tables WHERE database = currentDatabase()")["name"])
    recorded: dict[int, tuple[str, str]] = {}
    if RECORDS in tables:
        rows = read(client, f"SELECT toInt64(number) AS number, name, checksum FROM {RECORDS} FINAL").iter_rows()
        recorded = {number: (name, checksum) for number, name, checksum in rows}
    return migrations.plan(_place(client), migrations.steps_of(NAME), recorded, tables.__contains__)


def _record(client: "Client", steps: Sequence[Step]) -> None:
    if not steps:
        return
    with naming_failures():
        create(
            client,
            f"""CREATE TABLE IF NOT EXISTS {RECORDS} (
                number UInt32, name String, checksum String, applied DateTime64(3, 'UTC') DEFAULT now64(3))
            ENGINE = ReplacingMergeTree ORDER BY number""",
        )
        rows = [[step.number, step.name, step.checksum] for step in steps]
        client.insert(RECORDS, rows, column_names=["number", "name", "checksum"])


def _place(client: "Client") -> str:
    return f"ClickHouse {client.database}"
