"""Pool limits exist before runs need them, whichever process is first, and follow their default."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
import pytest

from marketdata_assets.dagster_internals import POOLS, ensure_pool_limits
from tests.project_definitions import definitions
from tests.repair.conftest import instance_on

Open = Callable[[int], AbstractContextManager[dg.DagsterInstance]]


@dg.op(pool="mongo")
def works() -> None: ...


@dg.job
def working() -> None:
    works()


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Open:
    """Instances on one and the same storage, with this default."""
    return lambda default: instance_on(
        dsn, tmp_path, concurrency={"pools": {"default_limit": default, "granularity": "op"}}
    )


def limits(instance: dg.DagsterInstance) -> dict[str, tuple[int, bool]]:
    return {one.name: (one.limit, one.from_default) for one in instance.event_log_storage.get_pool_limits()}


def test_all_pools_of_the_definitions_and_no_others_are_known() -> None:
    used = {op.pool for job in definitions().get_repository_def().get_all_jobs() for op in job.graph.iterate_op_defs()}
    assert used - {None} == set(POOLS)


def test_limits_are_written_once_and_follow_the_default_but_for_one_that_a_person_set(
    opened: Open,
) -> None:
    with opened(4) as instance:
        for _ in range(2):
            ensure_pool_limits(instance)
            assert limits(instance) == dict.fromkeys(POOLS, (4, True))
        instance.event_log_storage.set_concurrency_slots("mongo", 1)
        ensure_pool_limits(instance)
        assert limits(instance) == dict.fromkeys(POOLS, (4, True)) | {"mongo": (1, False)}
    with opened(6) as instance:
        ensure_pool_limits(instance)
        assert limits(instance) == dict.fromkeys(POOLS, (6, True)) | {"mongo": (1, False)}
        assert working.execute_in_process(instance=instance).success


def test_two_processes_may_write_the_limits_at_the_same_time(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(4) as instance:
        ensure_pool_limits(instance)
        storage = instance.event_log_storage
        before, after = [[]], storage.get_pool_limits()
        monkeypatch.setattr(storage, "get_pool_limits", lambda: before.pop() if before else after)
        ensure_pool_limits(instance)
        monkeypatch.undo()
        assert limits(instance) == dict.fromkeys(POOLS, (4, True))


def test_failure_that_is_no_race_is_raised(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def refuse(_: str) -> bool:
        raise OperationalError("INSERT", {}, Exception("away"))

    with opened(4) as instance:
        monkeypatch.setattr(instance.event_log_storage, "initialize_concurrency_limit_to_default", refuse)
        with pytest.raises(OperationalError, match="away"):
            ensure_pool_limits(instance)


def test_without_a_default_there_are_no_limits(on_postgres: dg.DagsterInstance) -> None:
    ensure_pool_limits(on_postgres)
    assert limits(on_postgres) == {}
