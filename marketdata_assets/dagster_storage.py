"""Where a Dagster instance keeps its records: what `dagster.yaml` names, because that file has no conditions.

Postgres when DAGSTER_PG_HOST is set, as by `marketdata up` and the deployments; otherwise SQLite in the data folder, so
that `dagster dev` works in a clone without any variable.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marketdata_assets.dagster_internals import DagsterSqliteStorage, LocalComputeLogManager
from marketdata_assets.errors import TerminalError
from marketdata_assets.masked_storage import MaskedSqliteStorage, MaskedStorage
from marketdata_assets.secret_values import mask_bytes
from marketdata_assets.settings import Settings

POSTGRES = {
    "hostname": "DAGSTER_PG_HOST",
    "port": "DAGSTER_PG_PORT",
    "db_name": "DAGSTER_PG_DB",
    "username": "DAGSTER_PG_USER",
    "password": "DAGSTER_PG_PASSWORD",
}
"""The parts of the address, and the variables that have them."""
LOGS = "DAGSTER_COMPUTE_LOG_DIR"


class Storage(DagsterSqliteStorage):
    """Runs, events and schedules."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Any:
        """The storage of this process. Raises TerminalError when the address of Postgres lacks a part."""
        if not os.environ.get(POSTGRES["hostname"]):
            return MaskedSqliteStorage.from_local(str(Settings().root / "dagster" / "storage"), inst_data)
        if missing := [name for name in POSTGRES.values() if name not in os.environ]:
            raise TerminalError(f"DAGSTER_PG_HOST is set, and {', '.join(missing)} is not; set it, or unset the host")
        address: Any = {part: os.environ[name] for part, name in POSTGRES.items()}
        # SQLAlchemy 2.1 would read a plain postgresql:// as psycopg 3, whose NOTIFY dagster-postgres cannot use.
        address |= {"scheme": "postgresql+psycopg2", "port": int(address["port"])}
        return MaskedStorage.from_config_value(inst_data, {"postgres_db": address})


class ComputeLogs(LocalComputeLogManager):
    """What runs print, in DAGSTER_COMPUTE_LOG_DIR or in the data folder; without secrets once a step has ended."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> "ComputeLogs":
        folder = os.environ.get(LOGS) or str(Settings().root / "dagster" / "logs")
        return cls(folder, inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[Any]:
        with super().capture_logs(log_key) as context:
            yield context
        for suffix in ("out", "err"):
            file = Path(self.get_captured_local_path(log_key, suffix))
            if file.exists() and (masked := mask_bytes(text := file.read_bytes())) != text:
                file.write_bytes(masked)
