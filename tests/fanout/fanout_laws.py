"""What every fan-out keeps to, wherever its workers are: each law takes one and an empty folder."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from marketdata_assets.fanout import Fanout, WorkerDied
from marketdata_assets.loading.errors import TooManyRejects
from marketdata_assets.stores.errors import StoreAway, StoreFull

Law = Callable[[Fanout, Path], None]


def square(number: int) -> int:
    return number * number


def answers_are_those_of_map(fanout: Fanout, folder: Path) -> None:
    for count in (0, 1, 2, 25):
        done = list(fanout.map(square, range(count)))
        assert sorted((d.item, d.answer) for d in done) == [(n, n * n) for n in range(count)]
        assert [d.error for d in done] == [None] * count


def refuse_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def an_exception_stands_for_its_item_only(fanout: Fanout, folder: Path) -> None:
    done = {d.item: d for d in fanout.map(refuse_three, range(8))}
    assert {n: d.answer for n, d in done.items() if n != 3} == {n: n for n in range(8) if n != 3}
    assert type(done[3].error) is ValueError
    assert str(done[3].error) == "three"


class Picky(Exception):
    """An error that pickles and cannot be unpickled."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}")


def named_error(number: int) -> int:
    errors = [
        StoreAway("Postgres", "gone"),
        StoreFull("Postgres", "full"),
        TooManyRejects("a.csv", 2, 3, "1 %", ["line 2"]),
    ]
    if number < len(errors):
        raise errors[number]
    raise Picky("a.csv", "broken")


def errors_arrive_as_they_were_raised(fanout: Fanout, folder: Path) -> None:
    done = {d.item: d.error for d in fanout.map(named_error, range(4))}
    assert [type(done[n]) for n in range(3)] == [StoreAway, StoreFull, TooManyRejects]
    assert isinstance(done[0], StoreAway)
    assert (done[0].store, done[0].cause, str(done[0])) == ("Postgres", "gone", str(StoreAway("Postgres", "gone")))
    assert "in named_error" in "".join(done[0].__notes__), "where it was raised"
    assert not isinstance(done[3], WorkerDied)
    assert "a.csv: broken" in str(done[3])


def unsendable(number: int) -> object:
    return (lambda: number) if number == 1 else number


def an_answer_that_cannot_be_sent_fails_alone(fanout: Fanout, folder: Path) -> None:
    done = {d.item: d for d in fanout.map(unsendable, range(3))}
    assert {n: done[n].answer for n in (0, 2)} == {0: 0, 2: 2}
    assert done[1].error is not None


def die_once(mark: str) -> str:
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return mark
    if mark.endswith("a"):
        os.kill(os.getpid(), signal.SIGKILL)
    return mark


def an_item_is_tried_again_when_its_worker_is_killed(fanout: Fanout, folder: Path) -> None:
    marks = [str(folder / name) for name in "abcd"]
    done = list(fanout.map(die_once, marks))
    assert sorted(d.answer or "" for d in done) == marks


def die_on_nought(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number


def an_item_that_kills_every_worker_fails_alone(fanout: Fanout, folder: Path) -> None:
    done = {d.item: d for d in fanout.map(die_on_nought, range(12))}
    assert isinstance(done[0].error, WorkerDied)
    assert "MARKETDATA_WORKERS" in str(done[0].error)
    assert {n: done[n].answer for n in range(1, 12)} == {n: n for n in range(1, 12)}


def leave_mark(path: str) -> str:
    Path(path).touch()
    return path


def stopping_early_begins_no_more_items(fanout: Fanout, folder: Path) -> None:
    answers = fanout.map(leave_mark, [str(folder / f"{n:03}") for n in range(60)])
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    begun = len(list(folder.iterdir()))
    assert begun <= 1 + 2 * fanout.width
    time.sleep(0.1)
    assert len(list(folder.iterdir())) == begun, "something was under way still"


def memory_settings(_: int) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("MALLOC_", "POLARS_", "OPENBLAS_"))}


def workers_have_the_environment_of_workers(fanout: Fanout, folder: Path) -> None:
    for done in fanout.map(memory_settings, range(2)):
        assert done.answer is not None
        assert done.answer["MALLOC_TRIM_THRESHOLD_"] == "67108864"
        assert {done.answer["POLARS_MAX_THREADS"], done.answer["OPENBLAS_NUM_THREADS"]} == {"1"}


LAWS: tuple[Law, ...] = (
    answers_are_those_of_map,
    an_exception_stands_for_its_item_only,
    stopping_early_begins_no_more_items,
)
"""These hold without workers as well."""

LAWS_OF_WORKERS: tuple[Law, ...] = (
    errors_arrive_as_they_were_raised,
    an_item_is_tried_again_when_its_worker_is_killed,
    an_item_that_kills_every_worker_fails_alone,
    workers_have_the_environment_of_workers,
)
