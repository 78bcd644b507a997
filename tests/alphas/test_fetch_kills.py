"""SIGKILL of a fetching process before any of its steps: each slice is whole or absent, and the next run completes."""

import asyncio
import datetime as dt
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dying
import pytest
from brain_clients import EMAIL, HASTY, MONTH, NOVEMBER, PASSWORD, client, fetched
from dying import Load

from marketdata_assets.alphas import slices
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.fetch import fetch_month
from marketdata_demo.servers.brain import Alpha, BrainServer, make, spread

UNTIL = NOVEMBER.start + dt.timedelta(days=4, minutes=1)


STEPS = (*((os, name) for name in ("replace", "fsync", "unlink", "pwrite")), (BrainClient, "page"))
"""A page, or a change of any file."""


def doomed(url: str, home: str, refetch: bool) -> None:
    async def main() -> None:
        async with client(SimpleNamespace(url=url), Path(home), policy=HASTY) as one:  # type: ignore[arg-type]
            root = Path(home) / "alphas"
            report = await fetch_month(one, root, "lk", MONTH, kinds=["regular"], now=UNTIL, refetch=refetch)
        assert report.failed == ()

    asyncio.run(main())


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with dying.server(Path(__file__)) as load:
        yield load


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
    server: BrainServer, tmp_path: Path, survived: Load
) -> None:
    alphas = alphas_of(1200)
    server.add_alphas(EMAIL, alphas)
    steps, kills = 0, 0
    while not survived(server.url, tmp_path / str(steps), False, steps):
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
    server: BrainServer, tmp_path: Path, survived: Load
) -> None:
    first = alphas_of(1100)
    server.add_alphas(EMAIL, first)
    fetched(server, tmp_path, now=UNTIL - dt.timedelta(hours=30))
    fetched(server, tmp_path, now=UNTIL)
    steps = 0
    while not survived(server.url, tmp_path, True, steps):
        assert {alpha.id for alpha in first} <= set(held(tmp_path))
        steps += 4
        if steps == 4:
            server.add_alphas(EMAIL, alphas_of(60, first=2000))
            server.add_alphas(EMAIL, [make(7, first[7].created, modified=NOVEMBER.end)])
    assert steps > 20
    found = held(tmp_path)
    assert len(found) == 1160
    assert all(len(versions) == 1 for versions in found.values())
    assert len(slices.of_month(tmp_path / "alphas", "lk", "regular", MONTH)) == 3
