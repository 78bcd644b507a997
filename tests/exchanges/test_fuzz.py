"""Some thousand wrong inputs for every parser, and that the harness would notice a parser that fails."""

import os
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random

import pytest

from bench.fuzz_mutations import LONGEST, mutated
from bench.fuzzing import Answers, Socket, Target, Wrong, check, examples, fuzz, recorded, targets
from marketdata_assets.exchanges import deribit, venues
from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import DeadLetter, Trade

ROUNDS = 60
SEED = 20260101


@pytest.fixture(scope="module")
def recordings() -> Path | None:
    """Recorded payloads are more to begin with, and not needed."""
    folder = Path(os.environ.get("MARKETDATA_FIXTURES") or Path(__file__).parents[2] / "../shared/fixtures").resolve()
    return folder if folder.is_dir() else None


@pytest.mark.parametrize("with_recordings", [pytest.param(False, marks=pytest.mark.slow), True])
def test_whatever_goes_in_outcomes_come_out(recordings: Path | None, tmp_path: Path, with_recordings: bool) -> None:
    if with_recordings and recordings is None:
        pytest.skip("no recorded payloads; point MARKETDATA_FIXTURES at them")
    found = targets(recordings if with_recordings else None, tmp_path)
    tried = fuzz(found, SEED, lambda inputs: inputs < ROUNDS * len(found))
    assert [f"{name}: {raw[:200]!r}\n{story}" for name, raw, story in tried.failures] == []
    assert tried.by_target == {target.name: ROUNDS for target in found}


def test_every_venue_has_examples_and_they_are_messages(tmp_path: Path) -> None:
    names = {target.name.split()[0] for target in targets(None, tmp_path)}
    assert names == {*venues.names(), "capture", "cursor"}
    for name in venues.names():
        assert len(examples(import_module(f"marketdata_assets.exchanges.{name}"))) >= 10, name


def test_recordings_of_all_kinds_are_taken(recordings: Path | None) -> None:
    if recordings is None:
        pytest.skip("no recorded payloads; point MARKETDATA_FIXTURES at them")
    found = recorded(recordings, ["deribit"])
    assert any(b"book.ETH-9APR21-1950-C.raw" in raw for raw in found)
    assert any(b"2.0e3" in raw for raw in found)
    assert not any(raw.startswith(b'{"recv"') for raw in found)


def _bare(raw: bytes, _: Random) -> None:
    assert b"7" not in raw, "seven"


def test_a_parser_that_fails_is_found_and_its_input_kept(tmp_path: Path) -> None:
    target = Target("bare parser", _bare, [b'{"a":1}'])
    tried = fuzz([target], 1, lambda inputs: inputs < 2000, failures=3)
    assert len(tried.failures) == 3
    kept = tried.keep(tmp_path / "kept")
    for path, (_, raw, _) in zip(kept, tried.failures, strict=True):
        assert path.read_bytes() == raw
        assert "seven" in path.with_suffix(".txt").read_text()
    allowed = Target("bare parser", _bare, [b'{"a":1}'], (AssertionError,))
    assert fuzz([allowed], 1, lambda inputs: inputs < 2000).failures == []


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def seen(seed: int) -> list[bytes]:
        found: list[bytes] = []
        fuzz([Target("x", lambda raw, _: found.append(raw), examples(deribit))], seed, lambda inputs: inputs < 500)
        return found

    assert seen(1) == seen(1) != seen(2)
    assert len(set(seen(1))) > 300
    assert max(map(len, seen(1))) <= LONGEST


def test_changes_are_of_many_kinds() -> None:
    random, raw = Random(0), b'{"price":100.5,"side":"buy","levels":[["1","2"]]}'
    changed = [mutated(raw, random, [raw, b'{"other":null}']) for _ in range(3000)]
    assert Counter(one == raw for one in changed)[True] < 300
    for sign in (b"1e999", b"null", b"\xff", b"[" * 200, b"other", b"\\ud800", b"99999999999"):
        assert any(sign in one for one in changed), sign


def test_outcomes_that_are_wrong_are_told() -> None:
    raw = b"{}"
    check(raw, [DeadLetter(raw, "cause", 0)], {})
    for made in ([DeadLetter(b"", "cause", 0)], [DeadLetter(raw, "", 0)], ["text"]):
        with pytest.raises(Wrong):
            check(raw, made, {})  # type: ignore[arg-type]
    bad = Trade("deribit", "inverse", "ABC-USD", "ABC-PERPETUAL", 0, 0, "1", 1.5, None, None, "buy")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="price"):
        check(raw, [bad], {})


def test_a_crossed_book_that_is_live_is_told() -> None:
    feed = DeribitFeed(None, Instruments("deribit"), strict=False)
    raw = next(one for one in examples(deribit) if b'"trades.' in one)
    Socket(lambda _: feed)(raw, Random(0))
    Answers(lambda _: feed, ["x"])(raw, Random(0))
    book = b'{"method":"subscription","params":{"channel":"book.ABC-PERPETUAL.raw","data":{"type":"snapshot",'
    book += b'"instrument_name":"ABC-PERPETUAL","timestamp":1,"change_id":1,"bids":[["new",1.0,1.0]],"asks":[]}}}'
    made = feed.push(book, 0)
    check(book, made, feed.books)
    (state,) = feed.books.values()
    state.book.apply((("3.0", "1.0"),), (("2.0", "1.0"),))
    with pytest.raises(Wrong, match="crossed"):
        check(book, made, feed.books)
