"""Rewriting a part of a partition: rivals lose nothing, what is dropped cannot be published, waiting has an end."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from marketdata_assets.stores import clickhouse, clickhouse_rewrite
from marketdata_assets.stores.clickhouse_rewrite import Stage, Superseded, staged, stages

SCHEMA = pl.Schema({"k": pl.UInt8(), "n": pl.UInt64()})


@pytest.fixture
def client(clickhouse_client: Client) -> Client:
    clickhouse_client.command("CREATE TABLE t (k UInt8, n UInt64) ENGINE = MergeTree PARTITION BY k ORDER BY n")
    clickhouse.insert(clickhouse_client, "t", numbers(0))
    return clickhouse_client


def numbers(*values: int, k: int = 1) -> pl.DataFrame:
    return pl.DataFrame({"k": [k] * len(values), "n": values}, schema=SCHEMA)


def total(client: Client) -> tuple[int, int]:
    rows, summed = clickhouse.read(client, "SELECT count(), sum(n) FROM t WHERE k = 1").row(0)
    return rows, summed


def increment(stage: Stage) -> None:
    value = stage.read("SELECT sum(n) FROM {stage}").item()
    stage.delete("1", {})
    stage.insert(numbers(value + 1))
    stage.publish()


def leave_behind(client: Client, name: str) -> None:
    """A stage whose writer was killed."""
    client.command(f"CREATE TABLE {name} AS t")


@pytest.mark.slow
def test_every_increment_that_was_published_is_there(client: Client, clickhouse_url: str) -> None:
    """Without any courtesy, so that the writers undo each other as often as they can."""
    wanted, won, lost = 6, [], []
    deadline = time.monotonic() + 120

    def write(_: int) -> None:
        with clickhouse.connect(clickhouse_url) as mine:
            while len(won) < wanted and time.monotonic() < deadline:
                try:
                    with staged(mine, "t", "1", courtesy_s=0) as stage:
                        increment(stage)
                    won.append(1)
                except Superseded:
                    lost.append(1)
                time.sleep(random.uniform(0, 0.2))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert total(client) == (1, len(won))
    assert len(won) >= wanted
    assert lost
    assert stages(client, "t__") == []


def test_writers_of_one_machine_take_turns(client: Client, clickhouse_url: str, tmp_path: Path) -> None:
    lost = []

    def write(_: int) -> None:
        with clickhouse.connect(clickhouse_url) as mine:
            for _ in range(2):
                try:
                    with staged(mine, "t", "1", turns=tmp_path) as stage:
                        increment(stage)
                except Superseded:
                    lost.append(1)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert (total(client), lost) == ((1, 6), [])


def test_what_was_dropped_cannot_be_published(client: Client) -> None:
    with pytest.raises(Superseded, match="another writer"), staged(client, "t", "1") as stage:
        with staged(client, "t", "1", courtesy_s=0) as other:
            increment(other)
        increment(stage)
    assert total(client) == (1, 1)


def test_a_replacement_under_way_is_waited_for(client: Client, clickhouse_url: str) -> None:
    """As one is whose stage a third writer has dropped: it is not listed, and lands all the same."""
    ended = []

    def replace() -> None:
        with clickhouse.connect(clickhouse_url) as other:
            other.command("SELECT sleep(1.5) /* ALTER TABLE t REPLACE PARTITION ID '1' FROM t__1__gone */")
            ended.append(1)

    sql = "SELECT count() FROM system.processes WHERE query LIKE '%t\\_\\_1\\_\\_gone%' AND query_id != queryID()"
    other = threading.Thread(target=replace)
    other.start()
    while not clickhouse.read(client, sql).item():
        assert not ended
    with staged(client, "t", "1"):
        found = clickhouse.read(client, sql).item()
    other.join()
    assert found == 0


def test_a_dead_stage_of_this_machine_is_dropped_at_once_and_another_is_given_time(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = clickhouse_rewrite._group(tmp_path)
    leave_behind(client, f"t__1__{group}_0")
    with staged(client, "t", "1", turns=tmp_path, courtesy_s=3600) as stage:
        assert stages(client, "t__") == [stage.name]
    leave_behind(client, "t__1__other_0")
    leave_behind(client, "t__2__other_0")
    with monkeypatch.context() as hasty, pytest.raises(Superseded, match="all the time"):
        hasty.setattr(clickhouse_rewrite, "PATIENCE_SECONDS", 0.1)
        with staged(client, "t", "1", turns=tmp_path, courtesy_s=3600):
            pass
    assert sorted(stages(client, "t__")) == ["t__1__other_0", "t__2__other_0"]
    with staged(client, "t", "1", turns=tmp_path, courtesy_s=0.05) as stage:
        assert sorted(stages(client, "t__")) == sorted([stage.name, "t__2__other_0"])


def test_a_sleeper_with_the_turn_is_not_waited_for_for_ever(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_rewrite, "TURN_SECONDS", 0.05)
    with pytest.raises(Superseded), staged(client, "t", "1", turns=tmp_path) as sleeper:
        with staged(client, "t", "1", turns=tmp_path, courtesy_s=0.05) as stage:
            increment(stage)
        sleeper.publish()
    assert total(client) == (1, 1)


def test_partitions_are_replaced_one_by_one(client: Client) -> None:
    clickhouse.insert(client, "t", numbers(5, 6, k=2))
    with staged(client, "t", "1") as one, staged(client, "t", "2") as two:
        assert two.read("SELECT sum(n) FROM {stage}").item() == 11
        increment(one)
        two.delete("n = %(n)s", {"n": 5})
        two.publish()
    assert clickhouse.read(client, "SELECT k, n FROM t ORDER BY k, n").rows() == [(1, 1), (2, 6)]


@pytest.mark.parametrize("how", ["delete", "clear"])
def test_a_partition_can_become_empty(client: Client, how: str) -> None:
    with staged(client, "t", "1") as stage:
        if how == "delete":
            stage.delete("1", {})
        else:
            stage.clear()
        stage.publish()
    assert total(client) == (0, 0)


def test_a_partition_that_was_never_there_is_made(client: Client) -> None:
    with staged(client, "t", "9") as stage:
        assert stage.read("SELECT count() FROM {stage}").item() == 0
        stage.insert(numbers(1, k=9))
        stage.publish()
    assert clickhouse.read(client, "SELECT n FROM t WHERE k = 9").item() == 1


def test_leaving_with_an_error_publishes_nothing(client: Client) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_IDENTIFIER"), staged(client, "t", "1") as stage:
        stage.delete("nothing = 1", {})
    with pytest.raises(RuntimeError), staged(client, "t", "1") as stage:
        stage.delete("1", {})
        raise RuntimeError
    assert (total(client), stages(client, "t__")) == ((1, 0), [])


@pytest.mark.parametrize("partition", ["", "2026-01", "1'", "a b"])
def test_what_is_no_partition_is_refused(client: Client, partition: str) -> None:
    with pytest.raises(ValueError, match="no partition"), staged(client, "t", partition):
        pass
