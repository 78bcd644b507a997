"""Budgets in a PostgreSQL database that hosts share, by the clock of that server.

Each question is one statement, so that no lock is held while an answer travels: a host that is cut off holds up nobody.
What a budget is belongs to `budget`.
"""

import asyncio
import os
import socket
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from marketdata_assets.budget import LONGEST_NAP_SECONDS, SLOTS, Budget, BudgetUnavailable, Quota
from marketdata_assets.stores.postgres import statement

PACKAGE = "marketdata_assets.stores"
LONGEST_ANSWER_SECONDS = 10.0
"""A server that has not answered for so long does not answer."""
LATE_SECONDS = 0.25
"""A turn whose answer took longer than this, and than the lateness of its budget, is not used."""

_SHORT_NAP_SECONDS = 0.001

_CONNECTING: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 5000,  # ms
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "application_name": "marketdata budgets",
}


class PostgresBudgets:
    """A store of budgets; their names in the database begin with `scope`. It connects at the first question.

    All questions of a process go over one connection, one after the other. Until the next turn that it knows of, a
    process sends none.
    """

    def __init__(self, dsn: str, scope: str = "") -> None:
        self._dsn, self._scope = dsn, scope
        self._session: _Session | None = None
        self._known: dict[str, tuple[float, float]] = {}  # by budget, when the next turn is, and until when that holds

    def __reduce__(self) -> tuple[Any, ...]:
        return PostgresBudgets, (self._dsn, self._scope)

    def __repr__(self) -> str:
        return f"PostgresBudgets({self.address!r}, {self._scope!r})"

    @property
    def address(self) -> str:
        """Host, port and database, for messages."""
        with suppress(psycopg.Error):
            parts = conninfo_to_dict(self._dsn)
            return f"{parts.get('host', '')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
        return "PostgreSQL"

    async def take(self, budget: Budget, cost: float) -> float:
        return self._wait(budget) or await self._answer(self._take, budget, cost)

    async def count(self, quota: Quota) -> float:
        return await self._answer(self._count, quota)

    def block(self, budget: Budget, seconds: float) -> None:
        future = self._submit(self._block, budget, seconds)
        try:
            future.result(LONGEST_ANSWER_SECONDS)
        except TimeoutError:
            raise self._silent() from None

    async def _answer(self, question: Any, *arguments: Any) -> float:
        future = self._submit(question, *arguments)
        try:
            async with asyncio.timeout(LONGEST_ANSWER_SECONDS):
                answer: float = await asyncio.wrap_future(future)
        except TimeoutError:
            raise self._silent() from None
        return answer

    def _submit(self, question: Any, *arguments: Any) -> "Future[Any]":
        if self._session is None:
            self._session = _Session(self._dsn, self.address)
        return self._session.thread.submit(question, self._session, *arguments)

    def _silent(self) -> BudgetUnavailable:
        assert self._session
        self._session.interrupt()
        return BudgetUnavailable(self.address, f"no answer within {LONGEST_ANSWER_SECONDS:.0f} s")

    def _wait(self, budget: Budget) -> float:
        """The seconds until the next turn that this process knows of; 0 when it has to send a question."""
        now = time.monotonic()
        turn, until = self._known.get(budget.name, (now, now))
        return turn - now if now < min(turn, until) else 0.0

    # In the thread of the session.

    def _take(self, session: "_Session", budget: Budget, cost: float) -> float:
        asked = time.monotonic()
        if known := self._wait(budget):
            return known
        values = {"delay": budget.spacing * cost, "lateness": budget.lateness, "longest": budget.longest_wait}
        row = session.ask("budgets_take.sql", {"name": self._scope + budget.name, **values})
        if row is None:
            return _SHORT_NAP_SECONDS
        taken, wait = row
        now = time.monotonic()
        # Nobody moves a turn to an earlier moment, and the server answered after the question was sent.
        self._known[budget.name] = asked + wait, now + LONGEST_NAP_SECONDS
        if taken and now - asked <= max(budget.lateness, LATE_SECONDS):
            return 0.0
        return float(max(asked + wait - now, _SHORT_NAP_SECONDS))

    def _count(self, session: "_Session", quota: Quota) -> float:
        values = {"requests": max(quota.requests, 1), "slot": quota.per_seconds / SLOTS, "slots": SLOTS + 2}
        row = session.ask("budgets_count.sql", {"name": self._scope + quota.name, **values})
        return float(row[0]) if row else _SHORT_NAP_SECONDS

    def _block(self, session: "_Session", budget: Budget, seconds: float) -> None:
        session.ask("budgets_block.sql", {"name": self._scope + budget.name, "seconds": seconds})
        self._known.pop(budget.name, None)


class _Session:
    """A connection of one thread, opened again when it was lost, and closed when nobody uses the store any more."""

    def __init__(self, dsn: str, address: str) -> None:
        self.thread = ThreadPoolExecutor(1, "budgets")
        self._dsn, self._address = dsn, address
        self._open: list[psycopg.Connection] = []
        weakref.finalize(self, _close, self.thread, self._open)

    def ask(self, file: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The first row of a statement; it is repeated once on a new connection when the old one was lost."""
        query, had = statement(PACKAGE, file), bool(self._open)
        try:
            return self._answer(query, values)
        except psycopg.Error as error:
            self._drop()
            if not had:
                raise BudgetUnavailable(self._address, str(error)) from error
        try:
            return self._answer(query, values)
        except psycopg.Error as error:
            self._drop()
            raise BudgetUnavailable(self._address, str(error)) from error

    def interrupt(self) -> None:
        """End what the thread waits for, by closing the connection's socket in both directions."""
        with suppress(IndexError, OSError, pg.Error), socket.socket(fileno=os.dup(self._open[0].fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    def _answer(self, query: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        try:
            return self._row(query, values)
        except pg.UndefinedTable:
            self._open[0].execute(statement(PACKAGE, "budgets.sql"))
            return self._row(query, values)

    def _row(self, query: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        if not self._open:
            self._open.append(psycopg.connect(self._dsn, autocommit=True, **_CONNECTING))
            self._open[0].execute("SET synchronous_commit = off; SET statement_timeout = '5s'")
        cursor = self._open[0].execute(query, values)
        return cursor.fetchone() if cursor.description else None

    def _drop(self) -> None:
        _close(None, self._open)


def _close(thread: ThreadPoolExecutor | None, connections: list[psycopg.Connection]) -> None:
    if thread:
        thread.shutdown(wait=False)
    while connections:
        connections.pop().close()
