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
from tests.examples import others_slow

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


@pytest.mark.slow
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


MANY = 8


@pytest.fixture
def many_parts(client: Client) -> Client:
    """The table with 0 to 7, each in a part of its own."""
    client.command("SYSTEM STOP MERGES t")
    for value in range(1, MANY):
        clickhouse.insert(client, "t", numbers(value))
    return client


def parts(client: Client, table: str) -> set[str]:
    sql = "SELECT name FROM system.parts WHERE active AND rows > 0 AND table = {table:String}"
    return set(clickhouse.read(client, sql, {"table": table})["name"])


def values(client: Client) -> list[int]:
    return clickhouse.read(client, "SELECT n FROM t ORDER BY n")["n"].to_list()


@pytest.mark.parametrize("gone", others_slow([[0, 7], [2], [0, 1, 2, 3, 4, 5, 6], list(range(MANY)), [99]]))
def test_rows_of_many_parts_are_deleted_and_the_others_are_kept(many_parts: Client, gone: list[int]) -> None:
    with staged(many_parts, "t", "1") as stage:
        stage.delete("n IN %(gone)s", {"gone": gone})
        assert [*stages(many_parts, "t__")] == [stage.name]
        stage.publish()
    assert values(many_parts) == [value for value in range(MANY) if value not in gone]


def test_parts_without_a_deleted_row_are_not_written_anew(many_parts: Client) -> None:
    with staged(many_parts, "t", "1") as stage:
        before = parts(many_parts, stage.name)
        stage.delete("n = %(n)s", {"n": 2})
        assert len(parts(many_parts, stage.name) & before) == MANY - 1


@pytest.mark.parametrize("step", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (0, 1, 2, 4, 5))])
def test_a_writer_killed_while_it_deletes_leaves_what_the_next_one_drops(
    many_parts: Client, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    class Killed(BaseException):
        pass

    command, left = Stage._command, [step]

    def die(stage: Stage, *arguments: object) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        command(stage, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(Killed), staged(many_parts, "t", "1") as stage:
        patched.setattr(Stage, "_command", die)
        patched.setattr(clickhouse_rewrite, "_drop", lambda client, name: None)
        stage.delete("n = 2", {})
    assert values(many_parts) == [*range(MANY)]
    assert stages(many_parts, "t__")
    with staged(many_parts, "t", "1", courtesy_s=0) as stage:
        stage.delete("n = 2", {})
        stage.publish()
    assert values(many_parts) == [0, 1, 3, 4, 5, 6, 7]
    assert stages(many_parts, "t__") == []


def test_a_writer_overtaken_while_it_deletes_cannot_publish(
    many_parts: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, overtaken = Stage._command, list[str]()

    def overtake(stage: Stage, sql: str, *arguments: object) -> None:
        command(stage, sql, *arguments)  # type: ignore[arg-type]
        if "_apart" in sql and not overtaken:
            overtaken.append(stage.name)
            with staged(many_parts, "t", "1", courtesy_s=0) as other:
                other.insert(numbers(50))
                other.publish()

    monkeypatch.setattr(Stage, "_command", overtake)
    with pytest.raises(Superseded), staged(many_parts, "t", "1") as stage:
        stage.delete("n = 2", {})
        stage.publish()
    assert values(many_parts) == [*range(MANY), 50]
    assert stages(many_parts, "t__") == []
