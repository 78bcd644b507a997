"""The services of ours as processes: the commands and variables of the compose file, with other ports and folders."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from psycopg.conninfo import conninfo_to_dict

from marketdata_assets.local.postgres import dagster_environment
from marketdata_assets.local.process import free_port, port_answers
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from tests.deploy.compose_file import DOCKER, SECRETS, prepared, services
from tests.postgres_roles import make_roles

BIN = Path(sys.executable).parent
PORTS = {"code": "4000", "webserver": "3000", "web": "3100", "metrics": "9101"}


@dataclass
class Machine:
    """What takes the place of the engine: folders, ports, and the processes that run."""

    folder: Path
    secrets: Path
    storage: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of the UI."""
        return f"http://127.0.0.1:{self.ports['3000']}"

    @property
    def token(self) -> str:
        """What logs in to the UI."""
        return (self.folder / "data" / "dagster" / "ui_token").read_text().strip()

    def placed(self, text: str) -> str:
        """A value of the compose file, with what is inside a container put where it is here."""
        text = text.replace(SECRETS, f"{self.secrets}/").replace("0.0.0.0", "127.0.0.1")
        for inside, port in self.ports.items():
            text = str(port) if text == inside else text.replace(f"127.0.0.1:{inside}", f"127.0.0.1:{port}")
        if text == "/app/docker/workspace.yaml":
            return str(self._workspace())
        return str(self.folder / text[1:]) if text.startswith(("/data", "/input", "/providers")) else text

    def environment(self, name: str) -> dict[str, str]:
        """What the process sees: nothing of ours but what the compose file gives."""
        given = {variable: self.placed(value) for variable, value in services()[name]["environment"].items()}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MARKETDATA_", "DAGSTER_"))}
        return kept | given | self.storage | {"PATH": f"{BIN}:{os.environ['PATH']}"}

    def arguments(self, command: list[str]) -> list[str]:
        return [self.placed(word) for word in command]

    def start(self, name: str) -> None:
        """The image's entrypoint with the service's command."""
        command = ["marketdata", "exec", *self.arguments(services()[name]["command"])]
        command[0] = str(BIN / command[0])
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command, env=self.environment(name), cwd=self.folder, stdout=log, stderr=log
            )

    def migrate(self) -> None:
        """What the service of this name does before all others."""
        command = self.arguments(services()["migrate"]["command"])
        environment = self.environment("migrate")
        for absent in ("MONGO_URI", "CLICKHOUSE_URL", "NATS_URL"):
            del environment[f"MARKETDATA_{absent}_FILE"]
        entered = ["marketdata", "exec", *command]
        subprocess.run([str(BIN / entered[0]), *entered[1:]], env=environment, cwd=self.folder, check=True)

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(60)

    def healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        command = self.arguments(services()[name]["healthcheck"]["test"][1:])
        environment = self.environment(name)
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True).returncode == 0

    def become_healthy(self, name: str, port: str) -> None:
        end = time.monotonic() + 120
        while not (port_answers(self.ports[port]) and self.healthy(name)):
            said = (self.folder / f"{name}.log").read_text()
            assert self.running[name].poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.2)

    def _workspace(self) -> Path:
        text = yaml.safe_load((DOCKER / "workspace.yaml").read_text())
        text["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": self.ports["4000"]}
        file = self.folder / "workspace.yaml"
        file.write_text(yaml.safe_dump(text))
        return file


def write_flow(flows: Path, name: str, description: str) -> None:
    """A flow as `marketdata flows new` writes one."""
    folder = flows / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "defs.yaml").write_text(f"""\
type: marketdata_assets.components.Flow
attributes:
  description: {description}
  loader:
    folder: prices
    columns: [symbol, day, close]
    types: {{day: date, close: double}}
  target:
    table: {name}
    columns: {{symbol: text, day: date, close: double}}
    key: [symbol, day]
""")


def roles(dsn: str, secrets: Path, service: str, **names: str) -> None:
    """Make the roles of a service, with the passwords that prepare.sh drew."""
    given = {name: value.replace(SECRETS, f"{secrets}/") for name, value in services()[service]["environment"].items()}
    wanted = {name: text for name, text in given.items() if name.startswith(("WRITER", "READER"))}
    make_roles(dsn, wanted | names)


def at(address: str, dsn: str, user: str) -> str:
    """A DSN of prepare.sh, with the server and database of `dsn`."""
    found = conninfo_to_dict(dsn)
    return f"postgresql://{user}:{urlsplit(address).password}@{found['host']}:{found['port']}/{found['dbname']}"


@contextmanager
def deployed(folder: Path) -> Iterator[Machine]:
    """Code server, UI, market page and metrics, healthy, on a Postgres of their own; they end with the context."""
    secrets = prepared(folder)
    with LocalStack(Settings(home=folder / "stack", postgres_dsn=None), services=("postgres",)) as stack:
        assert stack.endpoints.postgres_dsn
        assert stack.endpoints.dagster_pg
        roles(stack.endpoints.dagster_pg, secrets, "dagster-db")
        roles(stack.endpoints.postgres_dsn, secrets, "timescaledb", READER="bars_reader")  # both are on one server here
        for name, user in (("postgres_dsn", "marketdata"), ("postgres_reader_dsn", "bars_reader")):
            text = at((secrets / name).read_text(), stack.endpoints.postgres_dsn, user)
            (secrets / name).unlink()
            (secrets / name).write_text(text)
        storage = dagster_environment(stack.endpoints.dagster_pg)
        del storage["DAGSTER_PG_PASSWORD"], storage["DAGSTER_PG_USER"]  # are those of the service
        machine = Machine(folder, secrets, storage, {port: free_port() for port in PORTS.values()})
        try:
            machine.migrate()
            for name, port in PORTS.items():  # the code server first, as the others depend on it
                machine.start(name)
                machine.become_healthy(name, port)
            yield machine
        finally:
            machine.stop()
