"""Servers of a stack that end while it runs: started again on the same port, with their data, and reported."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.local import process
from marketdata_assets.local.process import Watch
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings

PATIENCE_S = 60.0


@pytest.fixture
def said() -> list[str]:
    return []


def stack_of(home: Path, said: list[str], *services: str) -> LocalStack:
    return LocalStack(Settings(home=home, postgres_dsn=None, nats_url=None), services, progress=said.append)


def look_until(watch: Watch, holds: Callable[[], bool], speed: float = 1.0) -> None:
    """Look, with a clock that is `speed` times as fast."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PATIENCE_S
        watch.look(began + (time.monotonic() - began) * speed)
        time.sleep(0.02)


def answered(said: list[str], name: str) -> int:
    return sum(line.startswith(f"{name}: answers again") for line in said)


def test_a_killed_server_runs_again_with_its_data_and_its_address(tmp_path: Path, said: list[str]) -> None:
    with stack_of(tmp_path, said, "postgres", "nats") as stack:
        dsn, watch = str(stack.endpoints.postgres_dsn), stack.watch()
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
        os.kill(stack.server("postgres").pid, signal.SIGKILL)
        look_until(watch, lambda: answered(said, "postgres") == 1)
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
        ended = next(line for line in said if "was ended by signal 9" in line)
        assert ended.startswith("postgres ")
        assert ended.endswith(f"its log is {tmp_path / 'logs' / 'postgres.log'}")
        assert answered(said, "nats") == 0


def test_a_server_that_keeps_ending_is_started_later_and_later(tmp_path: Path, said: list[str]) -> None:
    with stack_of(tmp_path, said, "nats") as stack:
        server, watch = stack.server("nats"), stack.watch()
        for times in range(1, 4):
            server.kill()
            look_until(watch, lambda times=times: answered(said, "nats") == times, speed=5)  # type: ignore[misc]
        waits = [
            line.partition("started again in ")[2].partition(" s")[0] for line in said if "is started again" in line
        ]
        assert waits == ["1", "2", "4"]


def test_a_port_that_is_taken_meanwhile_is_reported_until_it_is_free(tmp_path: Path, said: list[str]) -> None:
    with stack_of(tmp_path, said, "nats") as stack:
        server, watch = stack.server("nats"), stack.watch()
        server.kill()
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stranger.bind(("127.0.0.1", server.port))
            stranger.listen()
            look_until(watch, lambda: any(f"port {server.port} on 127.0.0.1 is in use" in line for line in said), 10)
        look_until(watch, lambda: answered(said, "nats") == 1, speed=10)
        assert server.alive


def test_a_server_that_ran_for_long_is_started_again_at_once(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STEADY_SECONDS", 0.0)
    with stack_of(tmp_path, said, "nats") as stack:
        watch = stack.watch()
        for times in (1, 2):
            stack.server("nats").kill()
            look_until(watch, lambda times=times: answered(said, "nats") == times)  # type: ignore[misc]
        assert sum("is started again in 1 s" in line for line in said) == 2
