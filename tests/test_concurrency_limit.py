"""The adaptive limit of concurrent requests: how it grows, halves, and what it has learned."""

import asyncio

import pytest

from marketdata_assets.concurrency_limit import ConcurrencyLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def good(limit: ConcurrencyLimit, clock: Clock, times: int) -> None:
    for _ in range(times):
        limit.record(clock.now, overloaded=False)


def test_one_more_after_each_round_of_good_answers(clock: Clock) -> None:
    limit = ConcurrencyLimit(4, clock=clock)
    seen = []
    for _ in range(12):
        good(limit, clock, 1)
        seen.append(limit.allowed)
    assert seen == [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]


def test_choking_halves_down_to_one_and_the_round_begins_anew(clock: Clock) -> None:
    limit = ConcurrencyLimit(20, clock=clock)
    good(limit, clock, sum(range(1, 10)) + 9)
    assert limit.allowed == 10
    seen = []
    for _ in range(5):
        clock.now += 1
        limit.record(clock.now, overloaded=True)
        seen.append(limit.allowed)
    assert seen == [5, 2, 1, 1, 1]
    good(limit, clock, 1)
    assert limit.allowed == 2


def test_requests_that_were_under_way_when_it_halved_do_not_halve_it_again(clock: Clock) -> None:
    limit = ConcurrencyLimit(20, clock=clock)
    good(limit, clock, sum(range(1, 8)))
    assert limit.allowed == 8
    clock.now = 5.0
    for sent in (1.0, 2.0, 3.0):
        limit.record(sent, overloaded=True)
    assert (limit.allowed, limit.halvings) == (4, 1)
    for sent in (4.0,) * 4:
        limit.record(sent, overloaded=False)
    assert limit.allowed == 4
    limit.record(6.0, overloaded=True)
    assert limit.allowed == 2


def test_no_more_pass_than_are_allowed_and_all_pass_in_the_end() -> None:
    limit = ConcurrencyLimit(3)
    most = passed = 0

    async def one(number: int) -> None:
        nonlocal most, passed
        async with limit.slot():
            most = max(most, limit.in_flight)
            assert limit.in_flight <= limit.allowed
            await asyncio.sleep(0)
            passed += 1
            limit.record(limit.clock(), overloaded=number % 7 == 6)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(60)))

    asyncio.run(main())
    assert (passed, limit.in_flight) == (60, 0)
    assert 2 <= most <= 3


def test_one_who_gives_up_waiting_leaves_the_place_to_the_next() -> None:
    async def main() -> list[str]:
        limit = ConcurrencyLimit(1)
        passed: list[str] = []

        async def wait(name: str) -> None:
            async with limit.slot():
                passed.append(name)

        async with limit.slot():
            first, second = (asyncio.create_task(wait(name)) for name in ("first", "second"))
            await asyncio.sleep(0)
        first.cancel()  # called already, and gone before it came
        await asyncio.gather(first, second, return_exceptions=True)
        return passed

    assert asyncio.run(asyncio.wait_for(main(), 60)) == ["second"]


def test_a_limit_of_0_is_rejected() -> None:
    with pytest.raises(ValueError, match="maximum must be 1 or more, was 0"):
        ConcurrencyLimit(0)


def test_what_was_too_many_is_tried_again_after_many_successes(clock: Clock) -> None:
    limit = ConcurrencyLimit(5, patience=10, clock=clock)
    good(limit, clock, 3)
    assert limit.allowed == 3
    clock.now += 1
    limit.record(clock.now, overloaded=True)
    seen = []
    for successes in (1, 19, 1, 2, 1):
        good(limit, clock, successes)
        seen.append(limit.allowed)
    assert seen == [2, 2, 3, 3, 4]


def test_it_does_not_grow_while_an_earlier_request_is_left() -> None:
    async def main() -> list[int]:
        limit = ConcurrencyLimit(8)
        seen = []
        async with limit.slot():
            limit.record(limit.clock(), overloaded=False)
            seen.append(limit.allowed)
            for _ in range(9):
                async with limit.slot():
                    pass
                limit.record(limit.clock(), overloaded=False)
            seen.append(limit.allowed)
        limit.record(limit.clock(), overloaded=False)
        return [*seen, limit.allowed]

    assert asyncio.run(main()) == [2, 2, 3]
