"""The spool: order, what survives a death, and what a full disk does."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marketdata_assets.collector.errors import CollectorError, SpoolFull
from marketdata_assets.collector.jetstream.spool import DAMAGED, Frame, Spool, StoredMessage

MB = 1 << 20


def messages(first: int, count: int, size: int = 10) -> list[StoredMessage]:
    return [
        StoredMessage(f"market.trade.x.y.{number}", f"id-ä-{number}", os.urandom(size), number)
        for number in range(first, first + count)
    ]


def read_all(spool: Spool) -> list[Frame]:
    frames = []
    while (frame := spool.read()) is not None:
        frames.append(frame)
    return frames


def numbers(frames: list[Frame]) -> list[int]:
    return [one.ts for frame in frames for one in frame.messages]


def filled(folder: Path, *firsts: int, **options: int) -> Spool:
    """A spool with a frame of ten messages from each of these numbers on."""
    spool = Spool(folder, MB, **options)
    for first in firsts:
        spool.append(messages(first, 10))
    return spool


def kept(folder: Path) -> list[int]:
    """What the next process reads."""
    spool = Spool(folder, MB)
    try:
        return numbers(read_all(spool))
    finally:
        spool.close()


def test_messages_are_read_back_in_order(tmp_path: Path) -> None:
    put = messages(0, 50)
    spool = Spool(tmp_path, MB)
    spool.append(put[:20])
    spool.append(put[20:])
    assert [one for frame in read_all(spool) for one in frame.messages] == put
    assert (len(spool), spool.oldest_ns, spool.unread) == (50, 0, False)
    spool.close()


def test_the_next_process_continues_after_consumed_messages(tmp_path: Path) -> None:
    spool = filled(tmp_path, *range(0, 100, 10), segment_bytes=500)
    frames = read_all(spool)
    assert len({frame.segment for frame in frames}) > 2
    spool.consume(frames[4])
    spool.close()
    again = Spool(tmp_path, MB)
    assert (len(again), again.oldest_ns) == (50, 50)
    assert numbers(read_all(again)) == list(range(50, 100))
    again.close()


def test_consumed_segments_are_deleted_and_their_numbers_not_reused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    for first in range(3):
        spool.append(messages(first, 1))
        frame = spool.read()
        assert frame is not None
        spool.consume(frame)
        assert (len(spool), spool.bytes) == (0, 0)
    spool.append(messages(9, 1))
    spool.close()
    assert kept(tmp_path) == [9]


def test_prepended_messages_are_read_first_by_the_next_process_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    for first in (10, 20, 30):
        spool.append(messages(first, 2))
    frames = read_all(spool)
    spool.consume(frames[0])
    spool.prepend(messages(0, 2))
    assert numbers(read_all(spool)) == [0, 1, 20, 21, 30, 31]
    spool.close()
    assert kept(tmp_path) == [0, 1, 20, 21, 30, 31]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("prepend"), st.integers(1, 5)),
        st.tuples(st.just("consume"), st.integers(1, 4)),
        st.tuples(st.just("reopen"), st.just(0)),
        st.tuples(st.just("rewind"), st.just(0)),
    ),
    max_size=25,
)


@given(steps=STEPS)
@example(steps=[("append", 1), ("append", 1), ("consume", 1), ("prepend", 1), ("reopen", 0), ("reopen", 0)])
@example(
    steps=[
        *[("append", 1), ("append", 1), ("consume", 1), ("prepend", 1), ("consume", 1), ("prepend", 1)],
        *[("reopen", 0), ("consume", 1), ("prepend", 1), ("reopen", 0)],
    ]
)
def test_spool_is_a_persistent_list(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool, model, number = Spool(folder, MB, segment_bytes=200), [], 0
    for step, count in steps:
        if step in ("append", "prepend"):
            made = messages(number, count)
            number += count
            if step == "append":
                spool.append(made)
                model.append([one.ts for one in made])
            else:
                spool.prepend(made)
                model.insert(0, [one.ts for one in made])
        elif step == "consume":
            spool.rewind()
            for frame in read_all(spool)[:count]:
                spool.consume(frame)
            model = model[count:]
        elif step == "reopen":
            spool.close()
            spool = Spool(folder, MB, segment_bytes=200)
        else:
            spool.rewind()
    spool.rewind()
    assert len(spool) == sum(len(one) for one in model)
    assert [[one.ts for one in frame.messages] for frame in read_all(spool)] == model
    spool.close()


WRITER = """
import sys, time
from pathlib import Path
from marketdata_assets.collector.jetstream.spool import StoredMessage, Spool
spool = Spool(Path(sys.argv[1]), 1 << 30)
number = 0
while True:
    spool.append([StoredMessage("s", str(number + at), b"x" * 200, number + at) for at in range(100)])
    number += 100
    print(number, flush=True)
"""


def test_appended_messages_survive_a_kill(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 2000:
        pass
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split("\n")
    process.wait()
    process.stdout.close()
    appended = max([2000, *(int(line) for line in rest[:-1] if line)])
    spool = Spool(tmp_path, MB)
    found = numbers(read_all(spool))
    assert len(found) >= appended
    assert found == list(range(len(found)))
    spool.close()


@pytest.mark.parametrize("cut", [1, 25, 60])
def test_an_incomplete_frame_is_ignored(tmp_path: Path, cut: int) -> None:
    filled(tmp_path, 0, 10).close()
    [segment] = tmp_path.glob("*.spool")
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - cut)
    again = Spool(tmp_path, MB)
    again.append(messages(10, 5))
    assert numbers(read_all(again)) == list(range(15))
    assert again.damaged == 0
    again.close()


def test_damage_sets_only_the_rest_of_its_segment_aside(tmp_path: Path) -> None:
    spool = filled(tmp_path, 0, 10, 20, segment_bytes=1)
    spool.close()
    second = sorted(tmp_path.glob("*.spool"))[1]
    raw = bytearray(second.read_bytes())
    raw[-1] ^= 1
    second.write_bytes(raw)
    again = Spool(tmp_path, MB)
    assert numbers(read_all(again)) == [*range(10), *range(20, 30)]
    assert again.damaged == 1
    assert again.damage is not None
    assert str(tmp_path) in again.damage
    assert [one.read_bytes() for one in tmp_path.glob(f"*{DAMAGED}")] == [bytes(raw)]
    again.close()


@pytest.mark.parametrize("cursor", [b"", b"x" * 7, b"\xff" * 20])
def test_a_damaged_cursor_repeats_and_loses_nothing(tmp_path: Path, cursor: bytes) -> None:
    spool = filled(tmp_path, 0, 10)
    frame = spool.read()
    assert frame is not None
    spool.consume(frame)
    spool.close()
    (tmp_path / "cursor").write_bytes(cursor)
    assert kept(tmp_path) == list(range(20))


def test_a_missing_segment_is_reported_and_skipped(tmp_path: Path) -> None:
    spool = filled(tmp_path, 0, 10, 20, segment_bytes=1)
    sorted(tmp_path.glob("*.spool"))[1].unlink()
    assert numbers(read_all(spool)) == [*range(10), *range(20, 30)]
    assert (spool.damaged, len(spool)) == (1, 20)
    spool.close()


def test_the_limit_rejects_frames_until_some_are_consumed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 5000, segment_bytes=1000)
    with pytest.raises(SpoolFull, match="5000 bytes"):
        for first in range(1000):
            spool.append(messages(first, 1, size=400))
    count = len(spool)
    assert 5 < count < 20
    frames = read_all(spool)
    assert numbers(frames) == list(range(count))
    spool.consume(frames[5])
    spool.append(messages(count, 1, size=400))
    assert numbers(read_all(spool)) == [count]
    spool.close()


def test_a_full_disk_removes_the_incomplete_frame(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    spool.append(messages(0, 10))
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.bytes + 100, usual[1]))
    try:
        with pytest.raises(SpoolFull, match=str(tmp_path)):
            spool.append(messages(10, 10, size=500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    spool.append(messages(20, 10))
    assert numbers(read_all(spool)) == [*range(10), *range(20, 30)]
    spool.close()


def test_folder_has_one_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    with pytest.raises(CollectorError, match=str(tmp_path)):
        Spool(tmp_path, MB)
    spool.close()
    Spool(tmp_path, MB).close()


def test_an_adopted_spool_continues_after_its_consumed_messages(tmp_path: Path) -> None:
    other = filled(tmp_path / "other", 0, 10, 20)
    first = other.read()
    assert first is not None
    other.consume(first)
    spool = filled(tmp_path / "own", 100)
    with pytest.raises(CollectorError, match="other"):
        spool.adopt(tmp_path / "other")
    other.close()
    assert spool.adopt(tmp_path / "other") == 20
    spool.append(messages(200, 10))
    expected = [*range(100, 110), *range(10, 30), *range(200, 210)]
    assert (len(spool), spool.oldest_ns) == (40, 10)
    assert numbers(read_all(spool)) == expected
    spool.close()
    assert kept(tmp_path / "own") == expected
    assert kept(tmp_path / "other") == []
