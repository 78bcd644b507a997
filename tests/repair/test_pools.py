"""Limits of pools stand before runs ask for them, whoever was first, and follow their default."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
import pytest

from marketdata_assets import pools
from marketdata_assets.definitions import defs
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
    used = {op.pool for job in defs().get_repository_def().get_all_jobs() for op in job.graph.iterate_op_defs()}
    assert used - {None} == set(pools.POOLS)


def test_limits_are_written_once_and_follow_the_default(opened: Open) -> None:
    with opened(4) as instance:
        for _ in range(2):
            pools.ready(instance)
            assert limits(instance) == dict.fromkeys(pools.POOLS, (4, True))
    with opened(6) as instance:
        pools.ready(instance)
        assert limits(instance) == dict.fromkeys(pools.POOLS, (6, True))
        assert working.execute_in_process(instance=instance).success


def test_limit_that_somebody_set_stays(opened: Open) -> None:
    with opened(4) as instance:
        instance.event_log_storage.set_concurrency_slots("mongo", 1)
        pools.ready(instance)
        assert limits(instance) == dict.fromkeys(pools.POOLS, (4, True)) | {"mongo": (1, False)}


def test_process_that_looked_before_another_wrote_goes_on(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(4) as instance:
        pools.ready(instance)
        storage = instance.event_log_storage
        before, after = [[]], storage.get_pool_limits()
        monkeypatch.setattr(storage, "get_pool_limits", lambda: before.pop() if before else after)
        pools.ready(instance)
        monkeypatch.undo()
        assert limits(instance) == dict.fromkeys(pools.POOLS, (4, True))


def test_failure_that_is_no_race_is_told(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def refuse(_: str) -> bool:
        raise OperationalError("INSERT", {}, Exception("away"))

    with opened(4) as instance:
        monkeypatch.setattr(instance.event_log_storage, "initialize_concurrency_limit_to_default", refuse)
        with pytest.raises(OperationalError, match="away"):
            pools.ready(instance)


def test_without_a_default_there_are_no_limits(on_postgres: dg.DagsterInstance) -> None:
    pools.ready(on_postgres)
    assert limits(on_postgres) == {}
