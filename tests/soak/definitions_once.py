"""The project's definitions, loaded once for a process: Dagster would load them anew for every run."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from dagster import DagsterInstance
from dagster._core.definitions import reconstruct


@contextmanager
def loaded_once() -> Iterator[None]:
    """Load them; whoever asks Dagster for them within gets these."""
    from marketdata_assets.definitions import defs

    loaded = defs().get_repository_def()
    with patch.object(reconstruct, "reconstruct_repository_def_from_pointer", lambda *_: loaded):
        yield


def keep_connections(instance: DagsterInstance) -> None:
    """By default Dagster opens a new connection for every statement outside of its webserver."""
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=10)
