"""What Dagster records: no secret in an event, a tag, a tick or a run's config, whoever starts the run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.test_utils import instance_for_test
from psycopg import sql
from sqlalchemy import Engine, event

from marketdata_assets.dagster_storage import ComputeLogs
from marketdata_assets.masked_storage import SecretInRunConfig, check_run_config

CANARY = "canary-5b1f"


class Options(dg.Config):
    """As those of our assets."""

    folder: str = ""
    names: list[str] = []  # noqa: RUF012
    limit: int = 0


@dg.asset
def leaking(context: dg.AssetExecutionContext, config: Options) -> dg.MaterializeResult:
    """Puts a secret wherever a step can put one."""
    print(f"printed {CANARY}")
    context.log.warning(f"logged {CANARY}")
    context.log_event(dg.AssetObservation("leaking", metadata={"note": f"observed {CANARY}", CANARY: {"a": [CANARY]}}))
    context.instance.add_run_tags(context.run_id, {"asked": CANARY})
    if config.limit:
        try:
            raise OSError(f"cause {CANARY}")
        except OSError as error:
            raise dg.Failure(f"failed {CANARY}", {"cause": dg.MetadataValue.md(f"`{CANARY}`")}) from error
    return dg.MaterializeResult(metadata={"table": dg.MetadataValue.json({"row": [CANARY]}), "rows": 3})


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TUSHARE_TOKEN", CANARY)
    return CANARY


@dataclass(frozen=True)
class Recorded:
    """An instance, and where its storage has a text: tables or files."""

    instance: dg.DagsterInstance
    places: Callable[[str], list[str]]


@pytest.fixture(params=["postgres", "sqlite"])
def recorded(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """On Postgres as in production, or on files as `dagster dev` in a clone has them."""
    if request.param == "postgres":
        dsn = request.getfixturevalue("dsn")
        yield Recorded(request.getfixturevalue("on_postgres"), lambda text: rows_with(dsn, text))
        return
    home = tmp_path / "home"
    monkeypatch.setenv("MARKETDATA_HOME", str(home))
    module = "marketdata_assets.dagster_storage"
    settings: dict[str, Any] = {
        "storage": {"custom": {"module": module, "class": "Storage", "config": {}}},
        "compute_logs": {"module": module, "class": "ComputeLogs", "config": {}},
        "telemetry": {"enabled": False},
    }
    with instance_for_test(overrides=settings, temp_dir=str(tmp_path)) as instance:
        yield Recorded(instance, lambda text: files_with(home, text))


def files_with(folder: Path, text: str) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    return [path.name for path in files if text.encode() in path.read_bytes()]


def rows_with(dsn: str, text: str) -> list[str]:
    """Tables of Dagster's storage that have the text in some row."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert len(tables) > 20
        query = "SELECT 1 FROM {} t WHERE t::text LIKE {} LIMIT 1"
        find = [sql.SQL(query).format(sql.Identifier(table), sql.Literal(f"%{text}%")) for (table,) in tables]
        return [table for (table,), one in zip(tables, find, strict=True) if connection.execute(one).fetchone()]


def test_what_dagster_finds_records_by_stays_as_it_is(
    on_postgres: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password may be a part of an account's name, or the name itself, which is a partition."""
    monkeypatch.setenv("MARKETDATA_BRAIN_PASSWORD_X", "sample")
    monkeypatch.setenv("MARKETDATA_BRAIN_PASSWORD_Y", "sample2")
    accounts = dg.StaticPartitionsDefinition(["sample1", "sample2", "sample3"])

    @dg.asset(partitions_def=accounts, backfill_policy=dg.BackfillPolicy.single_run())
    def documents() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"passwords": "sample, sample2", "accounts": "sample1"})

    tags = {"dagster/asset_partition_range_start": "sample1", "dagster/asset_partition_range_end": "sample3"}
    job = dg.Definitions([documents]).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=on_postgres, tags={**tags, "asked": "sample2"})
    assert result.success
    assert on_postgres.get_materialized_partitions(dg.AssetKey("documents")) == {"sample1", "sample2", "sample3"}
    [run] = on_postgres.get_runs()
    assert {name: run.tags[name] for name in (*tags, "asked")} == {**tags, "asked": "***"}
    [event, *_] = on_postgres.fetch_materializations(dg.AssetKey("documents"), limit=3).records
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["passwords"].value == "***, ***"
    assert event.asset_materialization.metadata["accounts"].value == "sample1"


def test_nothing_that_a_step_says_is_stored_with_a_secret(recorded: Recorded, secret: str) -> None:
    for limit in (0, 1):
        says_no_secret(recorded, secret, limit)


def says_no_secret(recorded: Recorded, secret: str, limit: int) -> None:
    job = dg.Definitions([leaking]).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=recorded.instance,
        run_config={"ops": {"leaking": {"config": {"limit": limit}}}},
        tags={"note": f"by {secret}"},
        raise_on_error=False,
    )
    assert result.success == (limit == 0)
    assert recorded.places("logged ***")
    assert recorded.places("printed ****") or type(recorded.instance.compute_log_manager) is not ComputeLogs
    assert recorded.places("observed ***")
    assert recorded.places("failed ***" if limit else "Materialized value")
    assert recorded.places(secret) == []
    run = recorded.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert (run.tags["note"], run.tags["asked"]) == ("by ***", "***")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"ops": {"leaking": {"config": {"folder": {"env": "TUSHARE_TOKEN"}}}}}, "ops.leaking.config.folder"),
    ({"ops": {"leaking": {"config": {"names": ["a", {"env": "TUSHARE_TOKEN"}]}}}}, "ops.leaking.config.names[1]"),
    ({"ops": {"leaking": {"config": {"limit": {"env": "TUSHARE_TOKEN"}}}}}, "ops.leaking.config.limit"),
    ({"loggers": {"console": {"config": {"log_level": {"env": "TUSHARE_TOKEN"}}}}}, "loggers.console.config"),
    ({"resources": {"io_manager": {"config": {"base_dir": {"env": "TUSHARE_TOKEN"}}}}}, "resources.io_manager"),
    ({"ops": {"leaking": {"config": {"folder": CANARY}}}}, "ops.leaking.config.folder"),
]


def test_a_run_config_that_would_read_a_secret_starts_no_run(recorded: Recorded, secret: str) -> None:
    job = dg.Definitions([leaking]).resolve_implicit_global_asset_job_def()
    for config, place in REFUSED:
        with pytest.raises((SecretInRunConfig, dg.DagsterInvalidConfigError)) as refused:
            job.execute_in_process(instance=recorded.instance, run_config=config)
        assert place in str(refused.value).replace(":", "."), config
        assert secret not in str(refused.value)
        # As the launchpad, GraphQL, backfills and schedules make a run.
        with pytest.raises((SecretInRunConfig, dg.DagsterInvalidConfigError)):
            recorded.instance.create_run_for_job(job, run_config=config)
    assert recorded.instance.get_runs_count() == 0
    assert recorded.places(secret) == []


def test_a_run_config_of_ours_starts_a_run(secret: str) -> None:
    check_run_config({"ops": {"a": {"config": {"months": {"env": ["2024-01"]}, "env": {"x": 1}, "folder": "bars"}}}})


def test_an_error_of_a_sensor_is_stored_without_a_secret(recorded: Recorded, secret: str) -> None:
    from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus
    from dagster._utils.error import SerializableErrorInfo

    data = TickData("id", "sensor", InstigatorType.SENSOR, TickStatus.STARTED, 1.0, selector_id="x")
    tick = recorded.instance.create_tick(data)
    ended = tick.with_status(TickStatus.FAILURE, error=SerializableErrorInfo(f"no {secret}", [secret], "OSError"))
    recorded.instance.update_tick(ended)
    [stored] = recorded.instance.get_ticks("id", "x")
    assert stored.error is not None
    assert stored.error.message == "no ***"
    assert recorded.places(secret) == []


def test_an_instance_opens_connections_of_its_three_storages_alone(on_postgres: dg.DagsterInstance) -> None:
    reference, opened = on_postgres.get_ref(), list[object]()

    def count(connection: object, _: object) -> None:
        opened.append(connection)

    event.listen(Engine, "connect", count)
    try:
        with dg.DagsterInstance.from_ref(reference):
            assert len(opened) == 6, "two of each storage; a code server opens an instance for each tick"
    finally:
        event.remove(Engine, "connect", count)
