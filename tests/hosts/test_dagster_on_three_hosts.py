"""UI and daemon on one host, a code server on each of two others under one address: the first dies with its run."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest
from psycopg.conninfo import conninfo_to_dict

from marketdata_demo.hosts import Host, Network, network

PORT = 4000
LOCATION = "code"
WORKSPACE = """
load_from:
  - grpc_server:
      host: {host}
      port: {port}
      location_name: {location}
"""


@dataclass(frozen=True)
class Site:
    """The hosts, the address of the code that one of them has, and the folder of all."""

    net: Network
    code_address: str
    folder: Path
    environment: Mapping[str, str]

    def start(self, host: Host, name: str, command: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a program of this environment on a host, with a folder and a log of its own."""
        home = self.folder / host.name
        dagster = home / "dagster"
        dagster.mkdir(parents=True, exist_ok=True)
        (dagster / "dagster.yaml").write_text(dagster_yaml(), "utf-8")
        places = {"MARKETDATA_HOME": home, "DAGSTER_HOME": dagster, "DAGSTER_COMPUTE_LOG_DIR": home / "logs"}
        environment = {**self.environment, **{variable: str(folder) for variable, folder in places.items()}}
        with (home / f"{name}.log").open("w") as log:
            program = str(Path(sys.executable).with_name(command[0]))
            return host.start([program, *command[1:]], environment, stdout=log, stderr=log, cwd=home)

    def serve_code(self, host: Host) -> None:
        """Start a code server that listens on all addresses of its host."""
        where = ["--host", "0.0.0.0", "--port", str(PORT), "--location-name", LOCATION]
        job = ["--python-file", str(Path(__file__).with_name("named_job.py"))]
        self.start(host, "code", ["python", "-m", "marketdata_assets.ui.code_server", *where, *job])

    def noted(self, file: str) -> list[str]:
        """The hosts that have noted themselves in a file."""
        path = self.folder / file
        return path.read_text().split() if path.exists() else []


def dagster_yaml() -> str:
    """The file of the package, with a shorter interval."""
    text = files("marketdata_assets").joinpath("dagster.yaml").read_text("utf-8")
    assert "poll_interval_seconds: 30" in text
    return text.replace("poll_interval_seconds: 30", "poll_interval_seconds: 5")


def until(true: Callable[[], object], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.2)


@pytest.fixture
def site(dsn: str, tmp_path: Path) -> Iterator[Site]:
    postgres = conninfo_to_dict(dsn)
    with network(3) as net:
        net.publish(int(postgres["port"] or 5432))
        storage = {
            "DAGSTER_PG_HOST": net.address,
            "DAGSTER_PG_PORT": str(postgres["port"]),
            "DAGSTER_PG_DB": str(postgres["dbname"]),
            "DAGSTER_PG_USER": str(postgres["user"]),
            "DAGSTER_PG_PASSWORD": str(postgres.get("password", "")),
        }
        code_address = net.address.rpartition(".")[0] + ".100"
        environment = {**os.environ, **storage, "RELEASE": str(tmp_path)}
        yield Site(net, code_address, tmp_path, environment)


@pytest.fixture
def instance(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The storage that the hosts share."""
    home = site.folder / "here"
    home.mkdir()
    (home / "dagster.yaml").write_text(dagster_yaml(), "utf-8")
    for name, value in site.environment.items():
        if name.startswith("DAGSTER_PG"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_COMPUTE_LOG_DIR", str(home / "logs"))
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


@pytest.mark.slow
def test_runs_of_a_host_that_dies_fail_and_are_retried_once_on_another(
    site: Site, instance: dg.DagsterInstance
) -> None:
    control, first, second = site.net.hosts
    workspace = site.folder / "workspace.yaml"
    workspace.write_text(WORKSPACE.format(host=site.code_address, port=PORT, location=LOCATION), "utf-8")
    first.add_address(site.code_address)
    for host in (first, second):
        site.serve_code(host)
    site.start(control, "daemon", ["dagster-daemon", "run", "--workspace", str(workspace)])
    site.start(control, "ui", ["marketdata", "ui", "--port", "3000", "--workspace", str(workspace)])
    ask = "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/server_info')"
    until(lambda: control.start([sys.executable, "-c", ask], stderr=subprocess.DEVNULL).wait() == 0)
    launch = ["dagster", "job", "launch", "--workspace", str(workspace), "--location", LOCATION, "--job", "waiting"]
    until(lambda: site.start(control, "launch", launch).wait() == 0)
    until(lambda: site.noted("started"))

    first.kill()
    second.add_address(site.code_address)
    until(lambda: len(site.noted("started")) == 2)
    (site.folder / "release").touch()
    until(lambda: all(run.is_finished for run in instance.get_runs()))

    retried, died = instance.get_runs()
    assert (died.status, retried.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
    assert retried.parent_run_id == died.run_id
    said = [entry.message for entry in instance.all_logs(died.run_id) if "code server" in entry.message]
    assert said, "the run says why it was ended"
    assert site.noted("started") == [first.name, second.name]
    assert site.noted("ended") == [second.name]
