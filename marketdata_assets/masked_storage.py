"""Dagster's storage, Postgres or SQLite, in which no secret is written: no event, tag, tick or run's config has one.

Everything that Dagster records passes here, whoever started the run and whoever wrote the message, the metadata or the
traceback. What is a secret is decided in `secret_values`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import dagster as dg
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage, PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config

from marketdata_assets.dagster_internals import (
    DagsterSqliteStorage,
    SqliteEventLogStorage,
    SqliteRunStorage,
    SqliteScheduleStorage,
)
from marketdata_assets.errors import TerminalError
from marketdata_assets.secret_values import MASK, masker

T = TypeVar("T")


class SecretInRunConfig(TerminalError):
    """A run's config names a variable, or has the value of one that is secret; the run does not start."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(
            f"the run config at {place} {what}; the run is not started. Who sees the UI sees a run's config and"
            " what follows from it: write a plain value that is no secret."
        )


def check_run_config(config: Mapping[str, Any]) -> None:
    """Raise SecretInRunConfig where Dagster would take a value from a variable, and where a value is a secret."""
    mask = masker()
    for place, value in _leaves(config):
        if isinstance(value, Mapping):
            raise SecretInRunConfig(place, f"takes a value from the environment ({{env: {mask(str(value['env']))}}})")
        if isinstance(value, str) and value and value != MASK and mask(value) == MASK:
            raise SecretInRunConfig(place, "has the value of a secret setting")


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its place; what names a variable is one."""
    if isinstance(value, Mapping) and not (value.keys() == {"env"} and isinstance(value["env"], str)):
        for name, one in value.items():
            yield from _leaves(one, f"{place}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _leaves(one, f"{place}[{number}]")
    else:
        yield place, value


def _masked(value: T, mask: Callable[[str], str]) -> T:
    """The same record without secrets in its texts."""
    text = dg.serialize_value(value)  # type: ignore[arg-type]
    if mask(text) == text:
        return value
    return dg.deserialize_value(json.dumps(_each(json.loads(text), mask)), type(value))  # type: ignore[type-var]


KEYS = ("asset_key", "partition", "partition_key", "step_key", "run_id")
"""Fields of records by which Dagster finds others: they stay as they are, as its own tags do."""


def _each(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        kept = {name for name in value if name in KEYS or name.startswith("dagster/")}
        return {name: one if name in kept else _each(one, mask) for name, one in value.items()}
    if isinstance(value, list):
        return [_each(one, mask) for one in value]
    return mask(value) if isinstance(value, str) else value


class _Events:
    """Events of runs, and what is found by them."""

    def store_event(self, event: dg.EventLogEntry) -> None:
        super().store_event(_masked(event, masker()))  # type: ignore[misc]

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        mask = masker()
        super().store_event_batch([_masked(event, mask) for event in events])  # type: ignore[misc]


class _Runs:
    """Runs, whose config names no secret."""

    def add_run(self, dagster_run: dg.DagsterRun) -> dg.DagsterRun:
        check_run_config(dagster_run.run_config)
        tagged = dagster_run.with_tags(_each(dict(dagster_run.tags), masker()))
        return super().add_run(tagged)  # type: ignore[misc,no-any-return]

    def add_run_tags(self, run_id: str, new_tags: Mapping[str, str]) -> None:
        super().add_run_tags(run_id, _each(dict(new_tags), masker()))  # type: ignore[misc]


class _Ticks:
    """Ticks of sensors and schedules."""

    def update_tick(self, tick: Any) -> Any:
        return super().update_tick(_masked(tick, masker()))  # type: ignore[misc]


class MaskedEventLogStorage(_Events, PostgresEventLogStorage):
    """In Postgres."""


class MaskedRunStorage(_Runs, PostgresRunStorage):
    """In Postgres."""


class MaskedScheduleStorage(_Ticks, PostgresScheduleStorage):
    """In Postgres."""


class MaskedSqliteEventLogStorage(_Events, SqliteEventLogStorage):
    """In files, one a run."""


class MaskedSqliteRunStorage(_Runs, SqliteRunStorage):
    """In a file."""


class MaskedSqliteScheduleStorage(_Ticks, SqliteScheduleStorage):
    """In a file."""


class MaskedStorage(DagsterPostgresStorage):
    """What `dagster.yaml` names as its custom storage; the config is that of `postgres`."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Self:
        url, autocreate = pg_url_from_config(config_value), config_value.get("should_autocreate_tables", True)
        tokens = get_token_provider_from_config(config_value)
        made = cls(url, False, inst_data, tokens)  # the storages that it makes are replaced, and connect to nothing
        made._event_log_storage = MaskedEventLogStorage(url, autocreate, token_provider=tokens)
        made._run_storage = MaskedRunStorage(url, autocreate, token_provider=tokens)
        made._schedule_storage = MaskedScheduleStorage(url, autocreate, token_provider=tokens)
        return made


class MaskedSqliteStorage(DagsterSqliteStorage):
    """The files of `base_dir`, where Dagster's own storage would have them."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super().__init__(base_dir, inst_data)
        folder = Path(base_dir)
        self._event_log_storage = MaskedSqliteEventLogStorage(str(folder / "history" / "runs"))
        self._run_storage = MaskedSqliteRunStorage.from_local(str(folder / "history"))
        self._schedule_storage = MaskedSqliteScheduleStorage.from_local(str(folder / "schedules"))
