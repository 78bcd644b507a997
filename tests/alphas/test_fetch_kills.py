"""SIGKILL of a fetching process before any of its steps: each slice is whole or absent, and the next run completes."""

import asyncio
import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from brain_clients import EMAIL, HASTY, MONTH, NOVEMBER, PASSWORD, children, client, fetched

from marketdata_assets.alphas import slices
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.fetch import fetch_month
from marketdata_demo.servers.brain import Alpha, BrainServer, make, spread

UNTIL = NOVEMBER.start + dt.timedelta(days=4, minutes=1)


def doomed(url: str, home: Path, steps: int, refetch: bool) -> None:
    """Fetch, and die before the step after `steps`: a page, or a change of any file."""
    left = steps

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return step

    for name in ("replace", "fsync", "unlink", "pwrite"):
        setattr(os, name, mortal(getattr(os, name)))
    BrainClient.page = mortal(BrainClient.page)  # type: ignore[method-assign]

    async def main() -> None:
        async with client(SimpleNamespace(url=url), home, policy=HASTY) as one:  # type: ignore[arg-type]
            report = await fetch_month(one, home / "alphas", "lk", MONTH, kinds=["regular"], now=UNTIL, refetch=refetch)
        assert report.failed == ()

    asyncio.run(main())


def serve() -> None:
    """Answer each order on stdin with the exit code of a child that carried it out; the imports are paid for once."""
    for order in sys.stdin:
        url, home, steps, refetch = json.loads(order)
        child = os.fork()
        if child == 0:
            try:
                doomed(url, Path(home), steps, refetch)
            finally:
                os._exit(1 if sys.exc_info()[0] else 0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


Fetch = Callable[[str, Path, int, bool], bool]


@pytest.fixture(scope="module")
def survived() -> Iterator[Fetch]:
    """A fetch in another process that is killed after so many steps; True when it needed no more of them."""
    here = Path(__file__)
    command = [sys.executable, "-c", f"import {here.stem} as kills; kills.serve()"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=here.parent, env=children(), **pipes) as server:
        assert server.stdin and server.stdout

        def run(url: str, home: Path, steps: int, refetch: bool) -> bool:
            print(json.dumps([url, str(home), steps, refetch]), file=server.stdin, flush=True)
            assert server.stdout
            code = int(server.stdout.readline())
            assert code in (0, -signal.SIGKILL)
            return code == 0

        yield run
        server.stdin.close()


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD)
        yield server


def alphas_of(count: int, first: int = 0) -> list[Alpha]:
    return list(spread(NOVEMBER.start, NOVEMBER.start + dt.timedelta(days=4), count, first=first))


def held(home: Path) -> dict[str, set[str]]:
    """The versions on disk of every id; every slice is sound, and keeps to its window."""
    found: dict[str, set[str]] = {}
    for piece in slices.of_month(home / "alphas", "lk", "regular", MONTH):
        for document in json.loads(piece.path.read_bytes()):
            assert piece.window.start <= dt.datetime.fromisoformat(document["dateCreated"]) < piece.window.end
            found.setdefault(document["id"], set()).add(document["dateModified"])
    return found


def test_kill_before_any_step_leaves_whole_slices_and_the_next_run_goes_on(
    server: BrainServer, tmp_path: Path, survived: Fetch
) -> None:
    alphas = alphas_of(210)
    server.add_alphas(EMAIL, alphas)
    steps, kills = 0, 0
    while not survived(server.url, tmp_path / str(steps), steps, False):
        home = tmp_path / str(steps)
        found = held(home)
        for piece in slices.of_month(home / "alphas", "lk", "regular", MONTH):
            expected = {alpha.id for alpha in alphas if piece.window.start <= alpha.created < piece.window.end}
            assert expected <= set(found)
        landed = len(slices.of_month(home / "alphas", "lk", "regular", MONTH))
        report = fetched(server, home, now=UNTIL)
        assert report.failed == ()
        assert report.finished == landed
        assert set(held(home)) == {alpha.id for alpha in alphas}
        steps, kills = steps + 4, kills + 1
    assert kills >= 6


def test_kill_of_a_refetch_loses_no_alpha_and_the_next_run_cleans_up(
    server: BrainServer, tmp_path: Path, survived: Fetch
) -> None:
    first = alphas_of(90)
    server.add_alphas(EMAIL, first)
    fetched(server, tmp_path, now=UNTIL - dt.timedelta(hours=30))
    fetched(server, tmp_path, now=UNTIL)
    steps = 0
    while not survived(server.url, tmp_path, steps, True):
        assert {alpha.id for alpha in first} <= set(held(tmp_path))
        steps += 4
        if steps == 4:
            server.add_alphas(EMAIL, alphas_of(60, first=1000))
            server.add_alphas(EMAIL, [make(7, first[7].created, modified=NOVEMBER.end)])
    assert steps > 20
    found = held(tmp_path)
    assert len(found) == 150
    assert all(len(versions) == 1 for versions in found.values())
    assert len(slices.of_month(tmp_path / "alphas", "lk", "regular", MONTH)) == 4
