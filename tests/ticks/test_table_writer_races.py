"""Readers, rivals, kills, sleepers and a server that goes away, while days of symbols are replaced."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.stores import clickhouse, clickhouse_rewrite
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_rewrite import Superseded
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.ticks import tables
from marketdata_assets.ticks.table_writer import WriteRetries
from tests.own_clickhouse import OwnClickHouse
from tests.ticks.tick_rows import JANUARY, assert_ledger_agrees, bars, content_hash, entry, land, one, stored

PROJECT = Path(__file__).parents[2]
A, B, C = "600000.SH", "600001.SH", "000001.SZ"
KILLS = 8


@dataclass
class Writers:
    """Processes that land what they are told to; each runs one order at a time."""

    open: ExitStack
    idle: list["subprocess.Popen[str]"] = field(default_factory=list)
    busy: dict[int, "subprocess.Popen[str]"] = field(default_factory=dict)

    def begin(self, url: str, seed: int, symbols: list[str], *, turns: Path | None = None, rounds: int = 1) -> int:
        writer = self.idle.pop() if self.idle else self._more()
        assert writer.stdin and writer.stdout
        writer.stdin.write(json.dumps([url, seed, symbols, turns and str(turns), rounds]) + "\n")
        writer.stdin.flush()
        process = int(writer.stdout.readline())
        self.busy[process] = writer
        return process

    def end(self, process: int) -> int:
        """Wait for the order to end; its exit code."""
        writer = self.busy.pop(process)
        assert writer.stdout
        code = int(writer.stdout.readline())
        self.idle.append(writer)
        return code

    def _more(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.ticks.table_writer_process"]
        writer = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.open.callback(self._stop, writer)
        return writer

    def _stop(self, writer: "subprocess.Popen[str]") -> None:
        writer.kill()
        writer.communicate()


@pytest.fixture(scope="module")
def writers() -> Iterator[Writers]:
    with ExitStack() as stack:
        yield Writers(stack)


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.002)


def test_a_reader_sees_whole_old_or_whole_new_states_only(client: Client, clickhouse_url: str) -> None:
    versions = [[one(A, seed=n, minutes=10 + n), one(B, seed=n, minutes=40 - n)] for n in range(3)]
    steady = bars(C, JANUARY)
    land(client, [*versions[0], one(C)])
    sql = """SELECT count() AS n, sum(cityHash64(symbol, ts, close, volume)) AS s,
        countIf(symbol = '000001.SZ') AS steady FROM tick_data"""
    seen: list[tuple[int, int, int]] = []
    done = threading.Event()

    def read() -> None:
        with clickhouse.connect(clickhouse_url) as reader:
            while not done.is_set():
                seen.append(clickhouse.read(reader, sql).row(0))

    reader = threading.Thread(target=read)
    reader.start()
    states = []
    for version in versions:
        before = len(seen)
        land(client, version)
        states.append(clickhouse.read(client, sql).row(0))
        wait_until(lambda mark=before: len(seen) > mark + 2)
    done.set()
    reader.join()
    assert len(set(states)) == len(versions)
    assert {state[2] for state in seen} == {steady.height}
    assert set(seen) <= set(states)
    assert len(set(seen)) >= len(versions) - 1
    order = [states.index(state) for state in seen]
    assert order == sorted(order)


@pytest.mark.slow
@pytest.mark.parametrize("in_turn", [True, False])
def test_four_processes_leave_one_whole_version_of_each_symbol(
    client: Client, clickhouse_url: str, writers: Writers, tmp_path: Path, in_turn: bool
) -> None:
    """Two symbols are everybody's, one is each writer's own; nothing of anyone's own may be lost."""
    rounds = 4 if in_turn else 1  # out of turn each publish is contended many times
    turns = tmp_path if in_turn else None
    own = {seed: f"00000{seed}.SZ" for seed in (1, 2, 3, 4)}
    running = [
        writers.begin(clickhouse_url, seed, [A, B, symbol], turns=turns, rounds=rounds) for seed, symbol in own.items()
    ]
    assert [writers.end(process) for process in running] == [0] * 4
    versions = {
        symbol: [bars(symbol, JANUARY, seed=seed + 1000 * number, minutes=5 + seed) for number in range(rounds)]
        for seed, symbol in own.items()
    }
    for symbol, known in versions.items():
        assert stored(client, symbol).equals(known[-1]), "its only writer's last version"
    last = {
        symbol: [bars(symbol, JANUARY, seed=seed + 1000 * (rounds - 1), minutes=5 + seed) for seed in own]
        for symbol in (A, B)
    }
    winners = [[stored(client, symbol).equals(known) for known in last[symbol]] for symbol in (A, B)]
    assert winners[0] == winners[1], "both symbols were published together"
    assert winners[0].count(True) == 1
    assert_ledger_agrees(client)
    assert clickhouse_rewrite.stages(client, "tick_data__") == []


@pytest.mark.slow
def test_killed_writers_leave_nothing_that_a_rerun_does_not_mend(
    client: Client, clickhouse_url: str, writers: Writers
) -> None:
    chance = random.Random(11)
    land(client, [one(A), one(B), one(C)])
    writers.end(writers.begin(clickhouse_url, 99, [A]))
    began = time.monotonic()
    writers.end(writers.begin(clickhouse_url, 100, [A, B]))
    usual = time.monotonic() - began
    half_way = 0
    for number in range(KILLS):
        process = writers.begin(clickhouse_url, number, [A, B])
        time.sleep(chance.uniform(0, usual))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        half_way += writers.end(process) == -signal.SIGKILL
        for symbol in (A, B):
            found = entry(client, symbol)
            rows = stored(client, symbol)
            assert found.pending or found.content_hash == content_hash(rows)
            assert found.pending == (found.slices == [])
        assert stored(client, C).equals(bars(C, JANUARY))
        assert writers.end(writers.begin(clickhouse_url, number, [A, B])) == 0
        for symbol in (A, B):
            assert stored(client, symbol).equals(bars(symbol, JANUARY, seed=number, minutes=5 + number))
        assert_ledger_agrees(client)
        assert clickhouse_rewrite.stages(client, "tick_data__") == []
    assert half_way >= KILLS // 2


def test_a_writer_killed_before_its_publish_leaves_the_unit_in_doubt(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(client, [one(A), one(B)])

    class Killed(BaseException):
        pass

    def die(stage: clickhouse_rewrite.Stage) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(clickhouse_rewrite.Stage, "publish", die)
        land(client, [one(A, seed=1)])
    found = entry(client, A)
    assert (found.outcome, found.error, found.slices) == ("failed", "interrupted while it was written", [])
    assert found.previous_hash == content_hash(bars(A, JANUARY))
    assert [load.source for load in ledger.entries(client, "tick_data") if load.pending] == [A]
    assert stored(client, A).equals(bars(A, JANUARY))
    land(client, [one(A, seed=1)])
    assert entry(client, A).previous_hash == content_hash(bars(A, JANUARY))
    assert_ledger_agrees(client)


@pytest.mark.slow
def test_a_sleeping_writer_that_is_overtaken_cannot_publish(
    client: Client, clickhouse_url: str, writers: Writers
) -> None:
    """Stopped at some moment between its first and its last step; whoever came after it wins, and it begins anew."""
    land(client, [one(A), one(C)])
    overtaken = 0
    for number in range(1, 7):
        process = writers.begin(clickhouse_url, number, [A, B])
        wait_until(lambda: clickhouse_rewrite.stages(client, "tick_data__"))
        time.sleep(0.01 * number)
        os.kill(process, signal.SIGSTOP)
        asleep = bool(clickhouse_rewrite.stages(client, "tick_data__"))
        land(client, [one(A, seed=50 + number), one(C, seed=50 + number)])
        assert stored(client, A).equals(bars(A, JANUARY, seed=50 + number))
        overtaken += asleep
        os.kill(process, signal.SIGCONT)
        assert writers.end(process) == 0
        expected = bars(A, JANUARY, seed=number, minutes=5 + number) if asleep else bars(A, JANUARY, seed=50 + number)
        assert stored(client, A).equals(expected)
        assert stored(client, B).equals(bars(B, JANUARY, seed=number, minutes=5 + number))
        assert stored(client, C).equals(bars(C, JANUARY, seed=50 + number)), "made while the other slept"
        assert_ledger_agrees(client)
    assert overtaken >= 3


def test_rivals_that_never_stop_end_in_a_clear_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = clickhouse_rewrite.Stage.publish

    def overtaken(stage: clickhouse_rewrite.Stage) -> None:
        client.command(f"DROP TABLE {stage.name} SYNC")
        publish(stage)

    monkeypatch.setattr(clickhouse_rewrite.Stage, "publish", overtaken)
    pauses: list[float] = []
    with pytest.raises(Superseded, match="fewer concurrent writers"):
        land(client, [one(A)], retries=WriteRetries(contended=4), sleep=pauses.append)
    assert len(pauses) == 3
    assert stored(client).is_empty()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_that_goes_and_comes_back_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    server = OwnClickHouse(tmp_path)
    try:
        with clickhouse.connect(server.url) as client:
            tables.ensure(client)
            land(client, [one(A), one(B)])
            insert = clickhouse.insert
            away = [True]

            def after_the_insert(*arguments: Any) -> None:
                insert(*arguments)
                if away and arguments[1].startswith("tick_data__"):
                    getattr(server, end)()

            def back(seconds: float) -> None:
                if away.pop():
                    server.start()

            monkeypatch.setattr(clickhouse, "insert", after_the_insert)
            land(client, [one(A, seed=1)], sleep=back)
            assert away == []
            assert stored(client).equals(pl.concat([bars(A, JANUARY, seed=1), bars(B, JANUARY)]))
            assert_ledger_agrees(client)
            assert clickhouse_rewrite.stages(client, "tick_data__") == []
    finally:
        server.stop()


def test_a_server_that_stays_away_is_named(tmp_path: Path) -> None:
    server = OwnClickHouse(tmp_path)
    pauses: list[float] = []
    with clickhouse.connect(server.url) as client:
        tables.ensure(client)
        server.stop()
        with pytest.raises(StoreAway, match="run the same partitions again"):
            land(client, [one(A)], retries=WriteRetries(away=3), sleep=pauses.append)
    assert pauses == [0.5, 1.0]
