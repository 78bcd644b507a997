"""A Ray cluster of two hosts loads a flow; the second dies with units in progress, which the first loads."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from marketdata_assets.fanout import Fanout
from marketdata_assets.flows.run import run_flow
from marketdata_demo.hosts import Host, Network, network
from tests.flows import flow_files

PORT = 6379
LONGEST = 300.0
"""Seconds that are never needed on a machine that is not busy with something else."""
HANDLER = """
import socket, time
from pathlib import Path

def handle(frame):
    if socket.gethostname() == "SECOND":
        (Path(__file__).parent / "taken").touch()
        time.sleep(10_000)
    return frame
"""
VARIABLES = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 3, "RAY_USAGE_STATS_ENABLED": "0"}
VARIABLES |= {"RAY_grpc_client_keepalive_time_ms": "10000", "RAY_grpc_client_keepalive_timeout_ms": "10000"}


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as found:
        yield found


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Short, for the paths of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def start_ray(host: Host, log: Path, *options: str) -> None:
    """Start Ray on a host as `docs/scale.md` does, and wait until it runs."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--node-ip-address={host.address}"]
    command += ["--object-store-memory=80000000", "--num-cpus=2", "--node-manager-port=6380"]
    command += ["--object-manager-port=6381", "--min-worker-port=20000", "--max-worker-port=20100", *options]
    with log.open("w") as output:
        process = host.start(command, {**os.environ, **VARIABLES}, stdout=output, stderr=output)
    until(lambda: process.poll() is None and "Ray runtime started" in log.read_text())


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.1)


@pytest.mark.slow
def test_units_of_a_host_that_dies_are_loaded_by_the_other(
    net: Network, ray_folder: Path, dsn: str, tmp_path: Path
) -> None:
    first, second = net.hosts
    flow = flow_files.flow(tmp_path, flow_files.PRICES + "handlers: [{call: {function: .mine.handle}}]\n")
    handler = tmp_path / "mine.py"
    handler.write_text(HANDLER.replace("SECOND", second.name))
    for code in "abcdefgh":
        flow_files.deliver(tmp_path, f"{code}.csv", flow_files.lines(code, range(1, 300)))

    net.publish(int(conninfo_to_dict(dsn)["port"] or 5432))
    start_ray(
        first, ray_folder / "1.log", "--head", f"--port={PORT}", f"--temp-dir={ray_folder}", "--include-dashboard=false"
    )
    start_ray(second, ray_folder / "2.log", f"--address={first.address}:{PORT}")
    theirs = make_conninfo(dsn, host=net.address)
    script = str(Path(__file__).with_name("load_flow.py"))
    command = [sys.executable, script, str(tmp_path / "prices.yaml"), str(tmp_path), theirs, f"{first.address}:{PORT}"]
    load = first.start(command, {**os.environ, **VARIABLES}, stdout=subprocess.PIPE)
    until((tmp_path / "taken").exists)
    second.kill()
    assert load.stdout
    told = json.loads(load.stdout.read().splitlines()[-1])
    load.stdout.close()
    assert (load.wait(LONGEST), told) == (0, {"rows": 8 * 299, "failed": []})

    by_ray = flow_files.rows(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert not run_flow(flow, dsn, tmp_path, run_id="pool", fanout=Fanout(2)).failed
    assert by_ray == flow_files.rows(dsn)
