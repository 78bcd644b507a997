"""A claim has one owner, and is free when its owner ends, however."""

import asyncio
import re
import signal
import sys

import pytest

from marketdata_assets.collector.errors import Claimed
from marketdata_assets.collector.jetstream.claim import claim, owner_of
from marketdata_assets.collector.jetstream.stream import connected
from tests.collector.in_loop import in_loop

HOLDS = """
import asyncio, sys
from marketdata_assets.collector.jetstream.claim import claim
from marketdata_assets.collector.jetstream.stream import connected

async def main():
    async with connected(sys.argv[1]) as client, claim(client, "work", "the other one"):
        print("held", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


@in_loop
async def test_second_owner_is_told_of_the_first_and_follows_after_it(nats_url: str) -> None:
    async with connected(nats_url) as one, connected(nats_url) as two:
        assert await owner_of(two, "work") is None
        async with claim(one, "work", "the first"):
            with pytest.raises(Claimed, match=re.escape("work: in progress by the first (")):
                async with claim(two, "work", "the second"):
                    pass
            assert str(await owner_of(two, "work")).startswith("the first (")
            async with claim(two, "other-work", "the second"):
                pass
        async with claim(two, "work", "the second"):
            assert str(await owner_of(one, "work")).startswith("the second (")
        assert await owner_of(one, "work") is None


@in_loop
async def test_claim_of_a_killed_process_is_free_at_once(nats_url: str) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDS, nats_url, stdout=pipe)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    async with connected(nats_url) as client:
        with pytest.raises(Claimed, match="the other one"):
            async with claim(client, "work", "we"):
                pass
        process.send_signal(signal.SIGKILL)
        await process.wait()
        async with claim(client, "work", "we"):
            assert str(await owner_of(client, "work")).startswith("we (")


@in_loop
async def test_of_many_that_start_at_once_one_is_the_owner(nats_url: str) -> None:
    owners = 0

    async def try_once() -> None:
        nonlocal owners
        async with connected(nats_url) as client:
            try:
                async with claim(client, "work", "one of many"):
                    owners += 1
                    assert owners == 1
                    await everyone.wait()
            except Claimed:
                pass

    everyone = asyncio.Event()
    tasks = [asyncio.create_task(try_once()) for _ in range(8)]
    while sum(task.done() for task in tasks) < 7:
        await asyncio.sleep(0.01)
    everyone.set()
    await asyncio.gather(*tasks)
    assert owners == 1
