"""A backup of all three databases: taken, the databases destroyed, restored, and nothing is to be loaded again."""

import datetime as dt
import json
import re
import threading
import uuid
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import polars as pl
import psycopg
import pytest
from pymongo import MongoClient

from marketdata_assets.backup import clickhouse as clickhouse_backup
from marketdata_assets.backup.files import FORMAT, Manifest, end
from marketdata_assets.bars.bases import FACTORS
from marketdata_assets.cli import backup
from marketdata_assets.errors import TerminalError
from marketdata_assets.exchanges.tables import schema, stream_positions
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.reconciliation.reconcile import reconcile
from marketdata_assets.reference import tables as reference
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, clickhouse_files, clickhouse_ledger
from marketdata_assets.ticks import tables as ticks
from marketdata_demo import sample_alphas, sample_bars
from marketdata_demo.venues.captures import write as write_captures
from marketdata_demo.venues.market import Plan
from tests.cli.backup_site import ALPHA_DATABASES, ALPHA_MONTHS, Site
from tests.cli.commands import answer
from tests.databases import fresh_clickhouse
from tests.ticks.tick_rows import bars as tick_bars
from tests.ticks.tick_rows import load as tick_load

THREE = ("--store", "postgres", "--store", "mongo", "--store", "clickhouse")
NOT_SAVED = {
    "stock_monthly_kline": "rebuilt from the minutes",
    "stock_1min_changes": "says what the rebuilt K-line lacks, which is nothing",
    "marketdata_flow_loads": "of flows in ClickHouse, which are loaded again from their files",
    "request_budgets": "of this minute",
    "request_quotas": "of this day",
}
"""The tables that no backup has, and why."""
START = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
UNSEALED = {"format": 1, "sha256": ""}
"""What a manifest of an older version has, which can be changed here."""
FLOW = """\
loader:
  folder: prices
  columns: [symbol, day, close]
  types: {day: date, close: "numeric(12,4)"}
target:
  table: prices_of_mine
  mode: replace
  columns: {symbol: text, day: date, close: "numeric(12,4)"}
"""


@pytest.fixture(scope="module")
def site(running: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    days = [day for day in sample_bars.weekdays(2014) if day.month in (3, 4) and day.day <= 3]
    (home / "bars").mkdir()
    data = sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", days, 7)).split(b"\n")
    cells = data[5].split(b",")
    data[5] = b",".join([*cells[:3], b"inf", *cells[4:]])
    (home / "bars" / "sz000001_2014.csv").write_bytes(b"\n".join(data))
    (home / "flows" / "mine").mkdir(parents=True)
    (home / "flows" / "mine" / "defs.yaml").write_text(FLOW)
    (home / "flows_data" / "prices").mkdir(parents=True)
    for name in ("a", "b"):
        (home / "flows_data" / "prices" / f"{name}.csv").write_text(f"symbol,day,close\n{name},2024-01-02,1.5000\n")
    sample_alphas.write_archive(home / "alphas", "lk", ALPHA_MONTHS, regular=6, superalphas=2)
    write_captures(home / "captures", Plan(START, minutes=4))
    found = Site(home, running, f"test_{uuid.uuid4().hex[:12]}")
    found.make()
    with MongoClient[dict[str, Any]](found.mongo) as client:
        for name in ALPHA_DATABASES:
            client.drop_database(name)
    assert all(found.load().values())
    january = Days.month("2026-01")
    reconcile(found.dsn, None, ["2014-03"], FACTORS.to_frame(), run_id="x")
    with psycopg.connect(found.dsn) as connection:
        differs = ("2014-03-03", "000001.SZ", "close", "tick_data", 9, "stock_daily", 8, 0)
        connection.execute("INSERT INTO reconciliation VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", differs)
    with clickhouse.connect(found.clickhouse) as client:
        ticks.ensure(client)
        frame = tick_bars("600000.SH", january)
        clickhouse.insert(client, "tick_data", frame)
        reference.ensure(client)
        halted = {"symbol": ["600000.SH"], "date": [dt.date(2026, 1, 5)], "timing": [""], "source": ["files"]}
        halt = pl.DataFrame(halted).with_columns(seen=pl.lit(dt.datetime(2026, 1, 5, tzinfo=dt.UTC)))
        position = stream_positions.Position("trade", None, 7, 1)
        stream_positions.write(client, "marketdata", 1, [position])
        wrong = pl.DataFrame({"file": ["wrong.csv"], "size": [1], "modified": [1], "changed": [1]})
        observed = clickhouse_files.observe(client, "tick_data", wrong, "", now_ns=1)
        forgotten = {"state": pl.lit("forgotten"), "forgotten": pl.lit("its hash")}
        clickhouse_files.record(client, observed.with_columns(**forgotten))
        clickhouse.insert(client, "suspensions", halt.cast(reference.SUSPENSIONS.columns))
        for table in schema.TABLES.values():  # the status counts copies that are not merged yet, a backup has none
            client.command(f"OPTIMIZE TABLE {table.name} FINAL")
        clickhouse_ledger.record(
            client, [tick_load("600000.SH", january, frame)], clickhouse_ledger.next_version(client)
        )
    with found.instance() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("stock_1min_qfq", partition="2014-03"))
    yield found
    found.destroy()


@pytest.fixture(scope="module")
def taken(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backups") / "first"
    said = site.run("backup", str(folder), "--json")
    assert said.returncode == 0, said.stderr
    assert {one["store"] for one in answer(said)["tables"] if one["rows"]} == {
        "Postgres",
        "MongoDB",
        "ClickHouse",
        "Dagster",
    }
    return folder


def test_what_is_destroyed_comes_back_and_nothing_is_loaded_again(site: Site, taken: Path) -> None:
    before, counts = site.status(), site.counts()
    assert counts["marketdata_files"] == counts["exchange_stream_positions"] == 1
    assert counts["stock_1min_days"] == 2
    assert {row["asset"] for row in before if row.get("rows") or row.get("documents")} >= {
        *("stock_1min_qfq", "stock_monthly_kline", "regular_alphas", "super_alphas", "tick_data"),
        *("exchange_trades", "exchange_ohlcv_1m", "mine", "suspensions", "reconciliation"),
    }
    site.destroy()
    site.make()
    said = site.run("restore", str(taken), "--json")
    assert said.returncode == 0, said.stderr
    assert site.counts() == counts
    with site.instance() as instance:
        [event] = instance.fetch_materializations(dg.AssetKey("stock_1min_qfq"), limit=9).records
        assert event.partition_key == "2014-03"
        instance.report_runless_asset_event(dg.AssetMaterialization("stock_1min_qfq", partition="2014-04"))
        newest = instance.fetch_materializations(dg.AssetKey("stock_1min_qfq"), limit=9).records
        assert [one.partition_key for one in newest] == ["2014-04", "2014-03"]
    assert site.load() == {"bars": 0, "flows": 0, "alphas": 0, "captures": 0, "days": 0}
    assert site.status() == before
    again = taken.with_name("second")
    assert site.run("backup", str(again), *THREE).returncode == 0
    assert digests(again) == {name: found for name, found in digests(taken).items() if not name.startswith("Dagster")}


def test_every_table_that_the_package_makes_is_in_a_backup_or_says_why_not() -> None:
    package = Path(str(files("marketdata_assets")))
    made = {
        name
        for path in package.rglob("*.sql")
        for name in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", path.read_text())
    }
    assert {"stock_1min_qfq", "tick_data", "marketdata_files"} <= made
    saved = {name for tables in backup._tables().values() for name in tables}
    assert made - saved == NOT_SAVED.keys()


def test_a_backup_from_before_the_counts_of_days_has_them_after_its_restore(
    site: Site, taken: Path, tmp_path: Path, database: str
) -> None:
    older = of_postgres(taken, tmp_path / "older", without="stock_1min_days")
    said = site.run("restore", str(older), MARKETDATA_POSTGRES_DSN=database)
    assert said.returncode == 0, said.stderr
    query = "SELECT code, month, bars FROM stock_1min_days ORDER BY code, month"
    with psycopg.connect(site.dsn) as original, psycopg.connect(database) as restored:
        counts = original.execute(query).fetchall()
        assert len(counts) == 2
        assert restored.execute(query).fetchall() == counts


def test_restore_into_databases_with_rows_is_refused_and_changes_nothing(site: Site, taken: Path) -> None:
    before = site.status()
    said = site.run("restore", str(taken))
    assert said.returncode == 1
    assert "Postgres has rows in marketdata_ledger" in said.stderr
    assert "empty databases only" in said.stderr
    assert site.status() == before


def test_folder_with_files_is_refused(site: Site, taken: Path) -> None:
    said = site.run("backup", str(taken))
    assert (said.returncode, "is not empty" in said.stderr) == (1, True)


def test_without_a_server_there_is_no_backup(site: Site, tmp_path: Path) -> None:
    for missing in ("MARKETDATA_POSTGRES_DSN", "MARKETDATA_MONGO_URI", "MARKETDATA_CLICKHOUSE_URL"):
        said = site.run("backup", str(tmp_path / "all"), **{missing: ""})
        assert (said.returncode, missing in said.stderr) == (1, True), said.stderr
        assert not (tmp_path / "all").exists()
    alone = {"MARKETDATA_CLICKHOUSE_URL": "", "MARKETDATA_MONGO_URI": ""}
    said = site.run("backup", str(tmp_path / "some"), "--store", "postgres", "--json", **alone)
    assert said.returncode == 0, said.stderr
    assert {one["store"] for one in answer(said)["tables"]} == {"Postgres"}


def test_databases_without_tables_are_no_backup(site: Site, tmp_path: Path, database: str) -> None:
    said = site.run("backup", str(tmp_path / "new"), "--store", "postgres", MARKETDATA_POSTGRES_DSN=database)
    assert (said.returncode, "nothing to back up" in said.stderr) == (1, True), said.stderr
    (tmp_path / "empty").mkdir()
    end(tmp_path / "empty", Manifest(FORMAT, "2026-01-31T00:00:00Z", []))
    said = site.run("restore", str(tmp_path / "empty"))
    assert (said.returncode, "lists no table" in said.stderr) == (1, True), said.stderr


def test_a_table_that_is_always_written_to_is_backed_up_at_one_instant(
    running: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row arrives before and after everything that the backup reads."""
    server = str(running.endpoints.clickhouse_url).rpartition("/")[0]
    digest = clickhouse_backup._digest
    create = "CREATE TABLE always (day Date, n Int64) ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY n"
    insert = "INSERT INTO always SELECT toDate('2026-01-05') + 31 * (number % 2), number FROM numbers(10)"
    with fresh_clickhouse(server) as url, clickhouse.connect(url) as client:
        client.command(create)
        client.command(insert)

        def written_to(*arguments: Any) -> tuple[int, str]:
            client.command(insert)
            found = digest(*arguments)
            client.command(insert)
            return found

        with monkeypatch.context() as patched:
            patched.setattr(clickhouse_backup, "_digest", written_to)
            [saved] = clickhouse_backup.save(url, ["always"], tmp_path)
        assert saved.rows == 5 + 15  # the second partition is read after two more inserts
        assert list(
            clickhouse.read(client, "SELECT name FROM system.tables WHERE database = currentDatabase()")["name"]
        ) == ["always"]
    with fresh_clickhouse(server) as url:
        clickhouse_backup.restore(url, [saved], tmp_path, lambda client: client.command(create))


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("changed", "has other bytes than were written"),
        ("shortened", " were written. Nothing was restored"),
        ("taken away", "there is no such file"),
        ("no manifest", "there is no manifest.json"),
        ("strange manifest", "manifest.json:"),
        ("outside", "there is no such file"),
    ],
)
def test_damaged_backup_is_refused_before_anything_is_restored(
    site: Site, taken: Path, tmp_path: Path, what: str, cause: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in taken.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    [some, *_] = sorted(copy.glob("postgres-*"))
    data = some.read_bytes()
    if what == "changed":
        some.write_bytes(bytes([*data[:-1], data[-1] ^ 1]))
    elif what == "shortened":
        some.write_bytes(data[:-1])
    elif what == "taken away":
        some.unlink()
    elif what == "no manifest":
        (copy / "manifest.json").unlink()
    elif what == "strange manifest":
        (copy / "manifest.json").write_text("{}")
    else:
        manifest = json.loads((copy / "manifest.json").read_bytes())
        manifest["relations"][0]["pieces"][0]["name"] = f"../{taken.name}/{some.name}"
        (copy / "manifest.json").write_text(json.dumps(manifest | UNSEALED))
    said = site.run("restore", str(copy))
    assert (said.returncode, cause in said.stderr) == (1, True), said.stderr


def test_rows_that_are_not_those_of_the_backup_do_not_stay(
    site: Site, taken: Path, tmp_path: Path, database: str
) -> None:
    copy = of_postgres(taken, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_bytes())
    [bars] = [one for one in manifest["relations"] if one["name"] == "stock_1min_qfq"]
    bars["digest"] = "0" * 32
    (copy / "manifest.json").write_text(json.dumps(manifest | UNSEALED))
    said = site.run("restore", str(copy), MARKETDATA_POSTGRES_DSN=database)
    assert (said.returncode, "Postgres stock_1min_qfq: the backup has" in said.stderr) == (1, True), said.stderr
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('marketdata_ledger')").fetchone() == (None,)


def test_table_of_a_flow_that_is_no_longer_declared_is_made_as_it_was(
    site: Site, taken: Path, tmp_path: Path, database: str
) -> None:
    copy = of_postgres(taken, tmp_path / "copy")
    nothing = {"MARKETDATA_POSTGRES_DSN": database, "MARKETDATA_FLOWS_DIR": tmp_path / "nothing"}
    said = site.run("restore", str(copy), **nothing)
    assert (said.returncode, "Postgres prices_of_mine, which nothing of this project" in said.stderr) == (1, True)
    said = site.run("restore", str(copy), "--undeclared", "prices_of_mine", **nothing)
    assert said.returncode == 0, said.stderr
    columns = """SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
                 WHERE attrelid = 'prices_of_mine'::regclass AND attnum > 0 ORDER BY attnum"""
    indexes = "SELECT replace(indexdef, 'public.', '') FROM pg_indexes WHERE tablename = 'prices_of_mine' ORDER BY 1"
    with psycopg.connect(database) as connection, psycopg.connect(site.dsn) as original:
        for query in (columns, indexes, "SELECT symbol, day, close FROM prices_of_mine ORDER BY symbol"):
            assert connection.execute(query).fetchall() == original.execute(query).fetchall() != []
        new = "INSERT INTO marketdata_flow_units (dataset, unit) VALUES ('x', 'y') RETURNING id"
        assert connection.execute(new).fetchone() == (3,)


def test_nothing_of_a_manifest_is_executed_and_foreign_tables_are_refused_by_name(
    site: Site, taken: Path, tmp_path: Path, database: str
) -> None:
    evil = "CREATE TABLE zzz (a text);\nCREATE TABLE pwned AS SELECT current_user"
    one = {"store": "Postgres", "name": "zzz", "rows": 0, "digest": "0" * 32, "columns": ["a"], "pieces": []}
    copy = of_postgres(taken, tmp_path / "copy")
    sealed = json.loads((copy / "manifest.json").read_text())
    changed = sealed | {"relations": [*sealed["relations"], one | {"made_by": evil}]}
    untouched = json.loads((taken / "manifest.json").read_text())
    assert untouched["sha256"]
    for manifest, options, cause in (
        (untouched | {"relations": changed["relations"]}, (), "manifest.json was changed"),
        (changed | UNSEALED, (), "Postgres zzz, which nothing of this project has made"),
        (changed | UNSEALED, ("--undeclared", "zzz"), "which is no definition of that table"),
        (sealed | UNSEALED | {"relations": [one | {"store": "Dagster", "made_by": ""}]}, (), "has no table zzz"),
        (sealed | UNSEALED | {"relations": [one | {"store": "Elsewhere", "made_by": ""}]}, (), "Elsewhere zzz"),
        (sealed | UNSEALED | {"relations": [one | {"store": "MongoDB", "made_by": "[]"}]}, (), "MongoDB zzz"),
        (sealed | UNSEALED | {"relations": [one | {"store": "ClickHouse", "made_by": ""}]}, (), "ClickHouse zzz"),
    ):
        (copy / "manifest.json").write_text(json.dumps(manifest))
        said = site.run("restore", str(copy), *options, MARKETDATA_POSTGRES_DSN=database)
        assert (said.returncode, cause in said.stderr) == (1, True), (cause, said.stderr)
        with psycopg.connect(database) as connection:
            there = "SELECT to_regclass('zzz'), to_regclass('pwned'), to_regclass('marketdata_ledger')"
            assert connection.execute(there).fetchone() == (None, None, None)


def test_a_backup_is_readable_by_its_owner_only_whatever_the_folder(site: Site, tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o755)
    said = site.run("backup", str(open_folder), "--store", "postgres")
    assert said.returncode == 0, said.stderr
    assert len([*open_folder.iterdir()]) > 2
    assert {path.name: path.stat().st_mode & 0o077 for path in open_folder.iterdir()} == dict.fromkeys(
        (path.name for path in open_folder.iterdir()), 0
    )


def test_postgres_goes_to_timescaledb_and_back(
    site: Site, taken: Path, tmp_path: Path, timescale_dsn: str, database: str
) -> None:
    first, there = of_postgres(taken, tmp_path / "first"), tmp_path / "there"
    alone = {"MARKETDATA_CLICKHOUSE_URL": "", "MARKETDATA_MONGO_URI": ""}
    for folder, dsn in ((first, timescale_dsn), (there, database)):
        said = site.run("restore", str(folder), MARKETDATA_POSTGRES_DSN=dsn)
        assert said.returncode == 0, said.stderr
        if folder == first:
            said = site.run("backup", str(there), "--store", "postgres", MARKETDATA_POSTGRES_DSN=dsn, **alone)
            assert said.returncode == 0, said.stderr
            assert digests(there) == digests(first)
    query = "SELECT month, code, name, open, high, low, close, volume, amount FROM stock_monthly_kline ORDER BY 1, 2"
    with psycopg.connect(site.dsn) as original:
        klines = original.execute(query).fetchall()
    assert len(klines) == 2
    for dsn in (timescale_dsn, database):
        with psycopg.connect(dsn) as connection:
            assert connection.execute(query).fetchall() == klines


def test_a_backup_from_before_a_column_of_the_ledger_is_restored(running: LocalStack, tmp_path: Path) -> None:
    server, january = str(running.endpoints.clickhouse_url).rpartition("/")[0], Days.month("2026-01")
    ledger = clickhouse_ledger.LEDGER
    with fresh_clickhouse(server) as url, clickhouse.connect(url) as client:
        clickhouse_ledger.ensure(client)
        load = tick_load("600000.SH", january, tick_bars("600000.SH", january))
        clickhouse_ledger.record(client, [load], clickhouse_ledger.next_version(client))
        client.command("DROP VIEW marketdata_ledger")
        client.command(f"ALTER TABLE {ledger} DROP COLUMN slice_states")
        [saved] = clickhouse_backup.save(url, [ledger], tmp_path)
    assert (saved.rows, "slice_states" in saved.columns) == (2, False)
    with fresh_clickhouse(server) as url, clickhouse.connect(url) as client:
        clickhouse_backup.restore(url, [saved], tmp_path, clickhouse_ledger.ensure)
        [entry] = clickhouse_ledger.entries(client, "tick_data")
        assert (entry.unit, entry.states) == (load.unit, load.states)
    with fresh_clickhouse(server) as url:
        other = msgspec.structs.replace(saved, digest="0" * 16)
        with pytest.raises(TerminalError, match="the database has 2"):
            clickhouse_backup.restore(url, [other], tmp_path, clickhouse_ledger.ensure)


def of_postgres(taken: Path, folder: Path, without: str = "") -> Path:
    """A copy of the backup that has no other database, and not the table `without`."""
    folder.mkdir()
    for path in taken.glob("postgres-*"):
        (folder / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((taken / "manifest.json").read_bytes())
    manifest["relations"] = [one for one in manifest["relations"] if one["store"] == "Postgres"]
    manifest["relations"] = [one for one in manifest["relations"] if one["name"] != without]
    (folder / "manifest.json").write_text(json.dumps(manifest | UNSEALED))
    return folder


def digests(folder: Path) -> dict[str, tuple[int, str]]:
    """Of all tables but those in which a restore itself is on record."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    names = {f"{one['store']} {one['name']}": (one["rows"], one["digest"]) for one in manifest["relations"]}
    return {name: found for name, found in names.items() if "ClickHouse marketdata_ledger" not in name}


def test_dagster_with_runs_or_of_another_version_is_not_overwritten(site: Site, taken: Path, tmp_path: Path) -> None:
    said = site.run("restore", str(taken), "--store", "dagster")
    assert (said.returncode, "Dagster has rows in event_logs" in said.stderr) == (1, True), said.stderr
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in taken.glob("dagster-*"):
        (copy / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((taken / "manifest.json").read_bytes())
    manifest["relations"] = [one for one in manifest["relations"] if one["store"] == "Dagster"]
    [revision] = [one for one in manifest["relations"] if one["name"] == "alembic_version"]
    revision["digest"] = "0" * 32
    (copy / "manifest.json").write_text(json.dumps(manifest | UNSEALED))
    said = site.run("restore", str(copy))
    assert (said.returncode, "of another version than the backup" in said.stderr) == (1, True), said.stderr
    said = site.run("restore", str(copy), "--store", "postgres")
    assert (said.returncode, "has nothing of Postgres" in said.stderr) == (1, True), said.stderr


def test_verify_reads_every_row_without_a_database(site: Site, taken: Path, tmp_path: Path) -> None:
    nowhere = {f"MARKETDATA_{name}": "" for name in ("POSTGRES_DSN", "MONGO_URI", "CLICKHOUSE_URL")}
    said = site.run("restore", "--verify", str(taken), "--json", **nowhere)
    assert said.returncode == 0, said.stderr
    assert len(answer(said)["tables"]) == len(json.loads((taken / "manifest.json").read_bytes())["relations"])
    for store, name in (("Postgres", "stock_1min_qfq"), ("MongoDB", "regular_alphas.lk")):
        copy = tmp_path / store
        copy.mkdir()
        for path in taken.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        manifest = json.loads((taken / "manifest.json").read_bytes())
        [one] = [one for one in manifest["relations"] if (one["store"], one["name"]) == (store, name)]
        assert one["rows"]
        one["rows"] += 1
        (copy / "manifest.json").write_text(json.dumps(manifest | UNSEALED))
        said = site.run("restore", "--verify", str(copy), **nowhere)
        assert (said.returncode, f"the files of {store} {name} have" in said.stderr) == (1, True), said.stderr


def test_keep_deletes_older_and_interrupted_backups_and_nothing_else(site: Site, tmp_path: Path) -> None:
    parent = tmp_path / "backups"
    for name in ("2026-01-01T020000Z", "2026-01-02T020000Z", "2026-01-03T020000Z", "mine", "2099-01-01T020000Z"):
        (parent / name).mkdir(parents=True)
    for name in ("2026-01-01T020000Z", "2026-01-03T020000Z", "mine"):
        end(parent / name, Manifest(FORMAT, "", []))
    said = site.run("backup", str(parent), "--keep", "2", "--store", "mongo")
    assert said.returncode == 0, said.stderr
    left = sorted(one.name for one in parent.iterdir())
    assert [left[0], *left[2:]] == ["2026-01-03T020000Z", "2099-01-01T020000Z", "mine"]
    assert site.run("restore", "--verify", str(parent / left[1])).returncode == 0
    failed = site.run(
        "backup", str(parent), "--keep", "1", "--store", "mongo", MARKETDATA_MONGO_URI="mongodb://127.0.0.1:1"
    )
    assert failed.returncode == 1
    assert {*left} <= {one.name for one in parent.iterdir()}, "a backup that failed deletes no other"


@pytest.mark.slow
def test_backup_while_everything_writes_is_restored_with_the_same_rows(site: Site, tmp_path: Path) -> None:
    """Two tables of Postgres that change in one transaction agree after the restore."""
    written, stop, started = [0], threading.Event(), threading.Event()

    def write(dsn: str, mongo: str, url: str, dagster: str) -> None:
        with (
            psycopg.connect(dsn) as connection,
            psycopg.connect(dagster) as runs,
            MongoClient[dict[str, Any]](mongo) as client,
            clickhouse.connect(url) as house,
        ):
            while not stop.is_set():
                name = f"under load {written[0]}"
                connection.execute("INSERT INTO marketdata_flow_tables VALUES (%s, 'x', 'append')", [name])
                connection.execute("INSERT INTO marketdata_quarantine VALUES ('load', %s, '', 1, '', '', '')", [name])
                connection.commit()
                client["regular_alphas"]["lk"].insert_one({"id": name})
                house.insert("suspensions", [[name]], column_names=["symbol"])
                runs.execute("INSERT INTO kvs (key, value) VALUES (%s, '')", [name])
                runs.commit()
                written[0] += 1
                started.set()

    thread = threading.Thread(target=write, args=(site.dsn, site.mongo, site.clickhouse, site.dagster))
    thread.start()
    try:
        assert started.wait(120)
        least = written[0]
        said = site.run("backup", str(tmp_path / "first"))
    finally:
        stop.set()
        thread.join()
    assert said.returncode == 0, said.stderr
    assert written[0] > least
    site.destroy()
    site.make()
    said = site.run("restore", str(tmp_path / "first"))
    assert said.returncode == 0, said.stderr
    with psycopg.connect(site.dsn) as connection:
        tables = "SELECT count(*) FROM marketdata_flow_tables WHERE dataset LIKE 'under load%'"
        rejects = "SELECT count(*) FROM marketdata_quarantine WHERE dataset = 'load'"
        [[counted], [same]] = [connection.execute(query).fetchone() or [] for query in (tables, rejects)]
    assert least <= counted == same <= written[0]
    said = site.run("backup", str(tmp_path / "second"))
    assert said.returncode == 0, said.stderr
    assert digests(tmp_path / "second") == digests(tmp_path / "first")
