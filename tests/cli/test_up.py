"""`marketdata up --no-ui` as a process: ready, refused a second time, stopped, killed."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from marketdata_assets.cli.servers import link, with_ui_port
from marketdata_assets.local import proctable, record
from marketdata_assets.local.process import port_is_free
from marketdata_assets.secret_values import without_password
from marketdata_assets.settings import Settings
from tests.cli.commands import PROGRAMS, answer, apart, environment, marketdata, until

EVERY = {"postgres", "mongo", "clickhouse", "nats"}


@contextmanager
def up(home: Path, *arguments: str, **variables: object) -> Iterator[subprocess.Popen[str]]:
    """A stack that is ready."""
    command = [str(PROGRAMS / "marketdata"), "up", "--no-ui", *arguments]
    with (
        (home / "up.log").open("w") as log,
        subprocess.Popen(
            command, env=environment(home, **variables), cwd=home, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            until(lambda: ready(home, process))
            yield process
        finally:
            process.kill()


def ready(home: Path, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, (home / "up.log").read_text()
    return "running; Ctrl-C stops it" in (home / "up.log").read_text()


def test_second_up_is_refused_and_a_killed_one_leaves_no_orphans(home: Path) -> None:
    with up(home) as process:
        found = record.read(home)
        assert found is not None
        assert {server.name for server in found.servers} == EVERY
        second = apart(home, "up", "--no-ui")
        assert second.returncode == 1
        assert f"process {process.pid} " in second.stderr
        assert "Traceback" not in second.stderr
        assert all(server.alive for server in found.servers)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert proctable.wait_gone([server.pid for server in found.servers], seconds=20)
    # What a killed stack wrote down leads nobody to servers that are gone.
    assert "marketdata up" in marketdata(home, "status").stderr


def test_ctrl_c_ends_it_without_a_traceback(home: Path) -> None:
    with up(home, MARKETDATA_DOMAINS="alphas") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout is not None
        table = process.stdout.read()
    said = (home / "up.log").read_text()
    assert "Traceback" not in said
    assert "stopped 2 servers" in said
    secrets = [(home / name / "password").read_text() for name in ("postgres", "mongo")]
    assert all(secrets)
    assert [secret for secret in secrets if secret in said + "".join(table.split())] == []
    assert "DAGSTER_PG_PASSWORD" in table


def test_up_tells_machines_where_the_servers_are_and_ends_at_a_signal(home: Path) -> None:
    dsn = "postgresql://somebody:canary@db.invalid:5432/bars"
    with up(home, "--json", MARKETDATA_POSTGRES_DSN=dsn) as process:
        found = record.read(home)
        assert found is not None
        assert {server.name for server in found.servers} == EVERY - {"postgres"}
        assert process.stdout is not None
        out = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (home / "up.log").read_text()
    told = json.loads(out)
    assert told["MARKETDATA_NATS_URL"] == without_password(found.urls["nats_url"]) != found.urls["nats_url"]
    assert told["MARKETDATA_HOME"] == str(home)
    assert told["MARKETDATA_POSTGRES_DSN"] == "postgresql://somebody:***@db.invalid:5432/bars"
    assert "canary" not in out + (home / "up.log").read_text()
    assert not any(server.alive for server in found.servers)
    assert not (home / "stack.json").exists()


def test_taken_ui_port_is_named_before_anything_starts(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = apart(home, "up", MARKETDATA_UI_PORT=port)
    assert refused.returncode == 1
    assert f"port {port} " in refused.stderr
    assert "MARKETDATA_UI_PORT" in refused.stderr
    assert not (home / "postgres").exists()


def test_a_ui_port_that_nobody_named_is_replaced_by_a_free_one(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        with suppress(OSError):  # somebody has it already
            other.bind(("127.0.0.1", 3000))
            other.listen()
        settings = with_ui_port(Settings(home=home))
    assert settings.ui_port != 3000
    assert port_is_free(settings.ui_port)
    said = capfd.readouterr().err
    assert f"port 3000 is in use, so it takes port {settings.ui_port}" in said
    assert f"127.0.0.1:{settings.ui_port}/" in link(settings.model_copy(update={"ui_token": SecretStr("token")}))


def test_a_server_that_dies_is_started_again_reported_and_doctor_says_so(home: Path) -> None:
    with up(home, MARKETDATA_DOMAINS="bars"):
        found = record.read(home)
        assert found is not None
        [victim] = found.servers
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda: "postgres was ended by signal 9" in (home / "up.log").read_text())
        until(lambda: "postgres: answers again" in (home / "up.log").read_text())
        assert marketdata(home, "doctor", "--json", MARKETDATA_DOMAINS="bars").returncode == 0


def test_doctor_advises_on_the_stack_that_runs_and_no_variable_that_nobody_set(home: Path) -> None:
    mine = record.StackRecord(os.getpid(), proctable.start_mark(os.getpid()) or "")
    urls = {"postgres_dsn": "postgresql://postgres:secret@127.0.0.1:1/marketdata"}
    record.write(home, mine.servers, urls)
    [server] = [one for one in answer(marketdata(home, "doctor", "--json"))["servers"] if one["store"] == "Postgres"]
    assert not server["ok"]
    assert f"(process {os.getpid()}) starts it again" in server["remedy"]
    assert str(home / "logs" / "postgres.log") in server["remedy"]
    assert "MARKETDATA_POSTGRES_DSN" not in server["remedy"]
