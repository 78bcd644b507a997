"""How many requests are under way: it grows with good answers, halves when a provider chokes, and never goes over."""

import asyncio

import pytest
from tick_clients import JUNE, SYMBOL, Clients, tushare_config

from marketdata_assets.ticks.gate import Gate
from marketdata_assets.ticks.providers_file import Network
from marketdata_demo.servers.tushare import TushareServer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def good(gate: Gate, clock: Clock, times: int) -> None:
    for _ in range(times):
        gate.heard(clock.now, choked=False)


def test_one_more_after_each_round_of_good_answers(clock: Clock) -> None:
    gate = Gate(4, clock=clock)
    seen = []
    for _ in range(12):
        good(gate, clock, 1)
        seen.append(gate.allowed)
    assert seen == [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]


def test_choking_halves_down_to_one_and_the_round_begins_anew(clock: Clock) -> None:
    gate = Gate(20, clock=clock)
    good(gate, clock, sum(range(1, 10)) + 9)
    assert gate.allowed == 10
    seen = []
    for _ in range(5):
        clock.now += 1
        gate.heard(clock.now, choked=True)
        seen.append(gate.allowed)
    assert seen == [5, 2, 1, 1, 1]
    good(gate, clock, 1)
    assert gate.allowed == 2


def test_requests_that_were_under_way_when_it_halved_do_not_halve_it_again(clock: Clock) -> None:
    gate = Gate(20, clock=clock)
    good(gate, clock, sum(range(1, 8)))
    assert gate.allowed == 8
    clock.now = 5.0
    for sent in (1.0, 2.0, 3.0):
        gate.heard(sent, choked=True)
    assert (gate.allowed, gate.halvings) == (4, 1)
    for sent in (4.0,) * 4:
        gate.heard(sent, choked=False)
    assert gate.allowed == 4
    gate.heard(6.0, choked=True)
    assert gate.allowed == 2


def test_no_more_pass_than_are_allowed_and_all_pass_in_the_end() -> None:
    gate = Gate(3)
    most = passed = 0

    async def one(number: int) -> None:
        nonlocal most, passed
        async with gate.place():
            most = max(most, gate.busy)
            assert gate.busy <= gate.allowed
            await asyncio.sleep(0)
            passed += 1
            gate.heard(gate.clock(), choked=number % 7 == 6)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(60)))

    asyncio.run(main())
    assert (passed, gate.busy) == (60, 0)
    assert 2 <= most <= 3


def test_one_who_gives_up_waiting_leaves_the_place_to_the_next() -> None:
    async def main() -> list[str]:
        gate = Gate(1)
        passed: list[str] = []

        async def wait(name: str) -> None:
            async with gate.place():
                passed.append(name)

        async with gate.place():
            first, second = (asyncio.create_task(wait(name)) for name in ("first", "second"))
            await asyncio.sleep(0)
        first.cancel()  # called already, and gone before it came
        await asyncio.gather(first, second, return_exceptions=True)
        return passed

    assert asyncio.run(asyncio.wait_for(main(), 60)) == ["second"]


def test_a_gate_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="most must be 1 or more, was 0"):
        Gate(0)


def test_a_client_tells_its_gate_of_rates_and_timeouts_but_not_of_errors(
    clients: Clients, tushare_server: TushareServer
) -> None:
    config = tushare_config(network=Network(timeout=3.0, max_retries=3, backoff=0.01))
    seen = []

    async def main() -> None:
        async with clients.tushare(tushare_server, config=config) as client:
            gate = Gate(8)
            client.through(gate)
            for fault in (
                lambda: tushare_server.fail(502, 2),
                lambda: tushare_server.fail(429, 1, retry="0"),
                lambda: tushare_server.stall(60.0, 1),
            ):
                fault()
                await client.bars(SYMBOL, JUNE)
                seen.append((gate.halvings, gate.allowed))

    asyncio.run(main())
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert tushare_server.requests == 7
