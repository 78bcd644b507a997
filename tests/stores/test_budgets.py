"""Budgets in PostgreSQL: one rate over processes and hosts by the server's clock, and bounded waits without it."""

import asyncio
import gc
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from marketdata_assets.budget import Budget, BudgetBlocked, BudgetUnavailable, Quota
from marketdata_assets.stores import budgets
from marketdata_assets.stores.budgets import PostgresBudgets

TAKER = """
import asyncio, sys, time
from marketdata_assets.budget import Budget
from marketdata_assets.stores.budgets import PostgresBudgets

time.time = lambda: float(sys.argv[5])  # the clock of a host that is wrong; the server's is used

async def main(dsn, per_seconds, requests, turns, _):
    budget = Budget(PostgresBudgets(dsn), "lk", float(per_seconds), float(requests))
    print("ready", flush=True)
    async def take():
        for _ in range(int(turns)):
            await budget.acquire()
    await asyncio.gather(*(take() for _ in range(3)))

asyncio.run(main(*sys.argv[1:]))
"""


def takers(dsn: str, budget: Budget, turns: int, clocks: Sequence[float]) -> list["subprocess.Popen[str]"]:
    """Processes that take so many turns each, in three tasks, with these clocks."""
    rate = [str(budget.per_seconds), str(budget.requests), str(turns // 3)]
    commands = [[sys.executable, "-c", TAKER, dsn, *rate, str(clock)] for clock in clocks]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    return children


def finish(children: Sequence["subprocess.Popen[str]"]) -> None:
    for child in children:
        child.communicate(timeout=120)
        assert child.returncode == 0


def now(dsn: str) -> float:
    """The server's clock."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row
    return float(row[0])


def next_turn(dsn: str, name: str = "lk") -> float:
    """When the budget allows the next request, by the server's clock."""
    with psycopg.connect(dsn) as connection:
        query = "SELECT extract(epoch FROM turn)::float8 FROM request_budgets WHERE name = %s"
        row = connection.execute(query, [name]).fetchone()
    assert row
    return float(row[0])


def test_processes_with_wrong_clocks_share_one_rate(dsn: str) -> None:
    budget, started = Budget(PostgresBudgets(dsn), "lk", 1.0, 60), now(dsn)
    finish(takers(dsn, budget, 30, [0.0, 1e9, 4e9]))
    # Turns follow one another at the spacing, whoever takes them, and none is taken before its time.
    assert next_turn(dsn) > started + 90 * budget.spacing - 0.001
    assert now(dsn) > started + 89 * budget.spacing - 0.001


@pytest.mark.slow
def test_block_stops_every_process_and_longer_ones_win(dsn: str) -> None:
    budget = Budget(PostgresBudgets(dsn), "lk", 1.0, 200)
    children = takers(dsn, budget, 300, [0.0, 0.0])
    ends = now(dsn) + 1.0
    budget.block(1.0)
    budget.block(0.1)
    assert next_turn(dsn) > ends - 0.001
    finish(children)
    assert now(dsn) > ends


def test_long_block_is_told_at_once_to_those_who_wait_already(dsn: str) -> None:
    first, second = (Budget(PostgresBudgets(dsn), "lk", 1.0, 20) for _ in range(2))

    async def main() -> None:
        await first.acquire()
        await asyncio.to_thread(second.block, 500)
        with pytest.raises(BudgetBlocked, match=r"49\d|500"):
            await second.acquire(patience=60)
        with pytest.raises(BudgetBlocked, match=r"49\d|500"):
            await first.acquire(patience=60)

    asyncio.run(main())


def test_killed_and_stopped_processes_cost_the_others_nothing(dsn: str) -> None:
    budget = Budget(PostgresBudgets(dsn), "lk", 1.0, 100)
    killed, stopped, living = takers(dsn, budget, 90, [0.0, 0.0, 0.0])
    killed.kill()
    killed.communicate()
    stopped.send_signal(signal.SIGSTOP)
    finish([living])
    assert stopped.poll() is None
    stopped.send_signal(signal.SIGCONT)
    finish([stopped])


def test_a_turn_of_a_damaged_row_too_far_ahead_heals_itself(dsn: str) -> None:
    budget = Budget(PostgresBudgets(dsn), "lk", 1.0, 20)
    asyncio.run(budget.acquire())
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE request_budgets SET turn = now() + interval '3 years'")
    asyncio.run(Budget(PostgresBudgets(dsn), "lk", 1.0, 20).acquire(patience=1))
    assert next_turn(dsn) < now(dsn) + 1


def test_a_quota_is_used_up_and_comes_back_for_all(dsn: str) -> None:
    async def taken() -> list[bool]:
        quotas = [Quota(PostgresBudgets(dsn), "q", 2.0, 3) for _ in range(2)]
        waits = [await quota.take() for quota in quotas * 2]
        return [wait == 0 for wait in waits]

    assert asyncio.run(taken()) == [True, True, True, False]
    with psycopg.connect(dsn) as connection:  # as if the slots were of an earlier period
        earlier = "SELECT jsonb_object_agg(key::bigint - 242, value) FROM jsonb_each(counts)"
        connection.execute(f"UPDATE request_quotas SET counts = ({earlier})")
    assert asyncio.run(taken()) == [True, True, True, False]


def test_hosts_that_begin_at_once_create_the_tables_once(dsn: str) -> None:
    async def main() -> None:
        stores = [PostgresBudgets(dsn) for _ in range(8)]
        await asyncio.gather(*(Budget(store, "lk", 1.0, 1000).acquire() for store in stores))

    asyncio.run(main())


STOPS = """
import asyncio, os, signal, sys
import psycopg
from marketdata_assets.budget import Budget
from marketdata_assets.stores.budgets import PostgresBudgets

execute = psycopg.Connection.execute

def stops(self, query, *arguments):
    cursor = execute(self, query, *arguments)
    if "advisory" in query:
        print("stops", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return cursor

psycopg.Connection.execute = stops
asyncio.run(Budget(PostgresBudgets(sys.argv[1]), "lk", 1.0, 100).acquire())
"""


def test_a_process_that_is_stopped_while_it_creates_the_tables_keeps_nobody_waiting(dsn: str) -> None:
    with subprocess.Popen([sys.executable, "-c", STOPS, dsn], stdout=subprocess.PIPE, text=True) as stopped:
        assert stopped.stdout
        assert stopped.stdout.readline() == "stops\n"
        try:
            asyncio.run(Budget(PostgresBudgets(dsn), "lk", 1.0, 100).acquire())
        finally:
            stopped.send_signal(signal.SIGCONT)
        finish([stopped])


def test_scopes_of_one_database_are_separate(dsn: str) -> None:
    asyncio.run(Budget(PostgresBudgets(dsn, "brain."), "me", 1.0, 20).acquire())
    assert next_turn(dsn, "brain.me")


def test_a_store_goes_to_another_process_and_shows_no_password() -> None:
    store = PostgresBudgets("postgresql://me:secret@db.example:5433/budgets", "x.")
    again = pickle.loads(pickle.dumps(store))
    assert repr(again) == repr(store) == "PostgresBudgets('db.example:5433/budgets', 'x.')"


def test_without_a_server_the_error_names_it_and_the_setting() -> None:
    budget = Budget(PostgresBudgets("postgresql://me:secret@127.0.0.1:1/budgets"), "lk", 1.0, 20)
    with pytest.raises(BudgetUnavailable, match=r"127\.0\.0\.1:1/budgets.*MARKETDATA_BUDGETS") as caught:
        asyncio.run(budget.acquire())
    assert "secret" not in str(caught.value)
    with pytest.raises(BudgetUnavailable):
        budget.block(1.0)


def test_a_role_that_may_not_create_the_tables_is_told_so(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE budget_reader LOGIN PASSWORD 'reader'")
        try:
            budget = Budget(PostgresBudgets(make_conninfo(dsn, user="budget_reader", password="reader")), "lk", 1.0, 20)
            with pytest.raises(BudgetUnavailable, match="permission denied for schema public"):
                asyncio.run(budget.acquire())
        finally:
            connection.execute("DROP ROLE budget_reader")


def test_a_connection_that_was_lost_is_opened_again(dsn: str) -> None:
    budget = Budget(PostgresBudgets(dsn), "lk", 1.0, 1000)
    asyncio.run(budget.acquire())
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"
        assert connection.execute(query, ["marketdata budgets"]).fetchone() == (1,)
    asyncio.run(budget.acquire())


def test_a_server_that_is_stopped_is_waited_for_a_while_only(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "LONGEST_ANSWER_SECONDS", 0.5)
    store = PostgresBudgets(dsn)
    budget = Budget(store, "lk", 1.0, 1000)
    asyncio.run(budget.acquire())
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'marketdata budgets'"
        [(backend,)] = connection.execute(query).fetchall()
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(BudgetUnavailable, match="no answer"):
                asyncio.run(budget.acquire())
        finally:
            os.kill(backend, signal.SIGCONT)
    asyncio.run(budget.acquire())  # over a new connection


def test_connections_are_closed_with_their_store(dsn: str) -> None:
    budget = Budget(PostgresBudgets(dsn), "lk", 1.0, 1000)
    asyncio.run(budget.acquire())
    del budget
    gc.collect()
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'marketdata budgets' AND datname = %s"
    ends = time.monotonic() + 60
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = conninfo_to_dict(dsn)["dbname"]
        while connection.execute(query, [name]).fetchone() != (0,):
            assert time.monotonic() < ends
