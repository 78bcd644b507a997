"""What a file sensor hands out: new and changed files, once two scans have seen them in the same state."""

import json

from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.loading import watch

SECOND = 1_000_000_000
QUIET = 30.0


def scan(cursor: str | None, states: dict[str, object], second: float) -> watch.Scan:
    return watch.compare(cursor, states, now_ns=int(second * SECOND), quiet_seconds=QUIET)


def test_a_file_is_finished_when_two_scans_apart_saw_the_same_state() -> None:
    first = scan(None, {"a": [5, 1]}, 0)
    assert (first.finished, first.unfinished) == ((), ("a",))
    early = scan(first.cursor(()), {"a": [5, 1]}, 29)
    assert early.unfinished == ("a",)
    grown = scan(early.cursor(()), {"a": [6, 2]}, 40)
    assert grown.unfinished == ("a",)
    done = scan(grown.cursor(()), {"a": [6, 2]}, 70)
    assert done.finished == ("a",)
    assert scan(done.cursor(("a",)), {"a": [6, 2]}, 71).finished == ()
    assert scan(done.cursor(()), {"a": [6, 2]}, 71).finished == ("a",)


def test_a_state_that_returns_has_another_fingerprint() -> None:
    seen, cursor = set[str](), None
    for number, size in enumerate([1, 2, 1, 2, 1]):
        first = scan(cursor, {"a": [size, size]}, number * 100)
        found = scan(first.cursor(()), {"a": [size, size]}, number * 100 + 50)
        assert found.finished == ("a",)
        again = scan(first.cursor(()), {"a": [size, size]}, number * 100 + 51)
        assert found.fingerprint(["a"]) == again.fingerprint(["a"])
        seen.add(found.fingerprint(["a"]))
        cursor = found.cursor(["a"])
    lost = scan(scan(None, {"a": [1, 1]}, 900).cursor(()), {"a": [1, 1]}, 950)
    assert len({*seen, lost.fingerprint(["a"])}) == 6


def test_modification_times_of_another_clock_delay_nothing() -> None:
    """A file whose time is eight hours ahead, as from a machine in another time zone, is not waited for longer."""
    ahead = {"a": [5, 8 * 3600 * SECOND]}
    assert scan(scan(None, ahead, 0).cursor(()), ahead, 30).finished == ("a",)


def test_a_scanner_whose_clock_is_set_back_starts_the_observation_again() -> None:
    cursor = scan(None, {"a": 1}, 1000).cursor(())
    back = scan(cursor, {"a": 1}, 10)
    assert back.unfinished == ("a",)
    assert scan(back.cursor(()), {"a": 1}, 40).finished == ("a",)


def test_without_quiet_seconds_one_observation_is_enough() -> None:
    assert watch.compare(None, {"a": 1}, now_ns=0, quiet_seconds=0).finished == ("a",)


def test_a_changed_file_is_handed_out_again_and_a_deleted_one_is_forgotten() -> None:
    cursor = scan(None, {"a": 1, "b": 1}, 0).cursor(("a", "b"))
    changed = scan(cursor, {"a": 2}, 100)
    assert changed.unfinished == ("a",)
    content = json.loads(scan(changed.cursor(()), {"a": 2}, 130).cursor(("a",)))
    assert content == {"handled": {"a": 2}, "observed": {}, "number": 2}


def test_the_fingerprint_is_that_of_the_states_taken() -> None:
    cursor = scan(None, {}, 0).cursor(())
    one, two = scan(cursor, {"a": 1, "b": 1}, 0), scan(cursor, {"a": 1, "b": 2}, 50)
    assert one.fingerprint(["a"]) == two.fingerprint(["a"])
    assert one.fingerprint(["a", "b"]) != two.fingerprint(["a", "b"])


@given(st.lists(st.tuples(st.integers(0, 40), st.dictionaries(st.sampled_from("abc"), st.integers(0, 2))), max_size=25))
def test_whatever_happens_a_file_is_handed_out_once_for_each_state_that_lasts(
    steps: list[tuple[int, dict[str, int]]],
) -> None:
    cursor, now = None, 0
    last_taken: dict[str, object] = {}
    same_since: dict[str, tuple[object, int]] = {}
    for wait, states in steps:
        now += wait
        same_since = {k: same_since[k] if same_since.get(k, (None,))[0] == v else (v, now) for k, v in states.items()}
        last_taken = {k: v for k, v in last_taken.items() if k in states}
        seen = scan(cursor, dict(states), now)
        for key, state in states.items():
            due = last_taken.get(key) != state
            assert (key in seen.finished) == (due and now - same_since[key][1] >= QUIET)
        last_taken |= {key: states[key] for key in seen.finished}
        cursor = seen.cursor(seen.finished)
