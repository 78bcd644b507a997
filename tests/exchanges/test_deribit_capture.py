"""The recorded session of ten options replays whole, and every line that is taken out, repeated or moved is noticed."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from marketdata_assets.exchanges.decimals import plain
from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.deribit.session import Session
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import Control, Gap

NAME = "deribit/capture/2021-04-05_10options_119s.ndjson"


class Line(msgspec.Struct):
    recv: str
    dir: str
    data: msgspec.Raw = msgspec.Raw(b"null")


def lines(fixtures: Path, direction: str = "in") -> list[tuple[bytes, int]]:
    decode = msgspec.json.Decoder(Line).decode
    with (fixtures / NAME).open("rb") as file:
        read = [decode(text) for text in file]
    return [(bytes(one.data), int(Decimal(one.recv) * 10**9)) for one in read if one.dir == direction]


def replay(messages: list[tuple[bytes, int]]) -> tuple[DeribitFeed, Counter[str], list[Gap]]:
    feed = DeribitFeed("option", Instruments("deribit"), strict=False)
    kinds: Counter[str] = Counter()
    gaps = []
    for raw, ts_recv in messages:
        for one in feed.push(raw, ts_recv):
            kinds[type(one).__name__] += 1
            if isinstance(one, Gap):
                gaps.append(one)
    return feed, kinds, gaps


def expected(fixtures: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((fixtures / "EXPECTED_captures.json").read_text())[NAME]
    return found


def short(levels: list[tuple[str, str]]) -> list[list[str]]:
    return [[plain(Decimal(price)), plain(Decimal(size))] for price, size in levels]


def test_counts_chains_and_final_books_are_as_expected(fixtures: Path) -> None:
    feed, kinds, gaps = replay(lines(fixtures))
    told = expected(fixtures)
    counts = told["message_counts"]
    assert kinds == {
        "Ticker": counts["deribit ticker "],
        "OpenInterest": counts["deribit ticker "],
        "OrderBook": counts["deribit book snapshot"] + counts["deribit book change"],
        "Control": 1,
    }
    assert gaps == []
    assert feed.resync_requests == {}
    assert len(feed.books) == len(told["books"]) == 10
    for channel, book in told["books"].items():
        _, instrument, interval = channel.split(".")
        state = feed.books[f"book.{interval}:{instrument}"]
        assert (state.status, state.gaps, state.dropped) == ("live", 0, 0)
        assert state.applied == book.get("chain_ok", 0)
        assert state.last_id == book["last_change_id"]
        bids, asks = state.book.levels()
        final = book["final"]
        assert (len(bids), len(asks)) == (final["n_bids"], final["n_asks"])
        assert (short(bids[:5]), short(asks[:5])) == (final["top5_bids"], final["top5_asks"])
        assert state.book.sha256_all_levels() == final["sha256_all_levels"]
    assert sum(state.applied for state in feed.books.values()) == 177


def test_streams_and_the_answer_to_the_subscription(fixtures: Path) -> None:
    feed = DeribitFeed("option", Instruments("deribit"), strict=False)
    messages = lines(fixtures)
    assert Counter(feed.stream_of(raw) for raw, _ in messages) == {"ticker.raw": 273, "book.raw": 187, "answer": 1}
    ((request, _),) = lines(fixtures, "out")
    asked = json.loads(request)
    session = Session({asked["id"]: tuple(asked["params"]["channels"])})
    acks = [raw for raw, ts in messages if any(isinstance(one, Control) for one in feed.push(raw, ts))]
    assert [session.check(raw) for raw in acks] == [[]]
    assert session.asked == {}


@pytest.mark.parametrize("seed", range(12))
def test_dropped_repeated_and_moved_changes_are_noticed(fixtures: Path, seed: int) -> None:
    messages = lines(fixtures)
    random = Random(seed)
    changes = [at for at, (raw, _) in enumerate(messages) if b'"type":"change"' in raw]
    of = {at: json.loads(messages[at][0])["params"] for at in changes}
    followed = [
        at for at in changes if any(of[at]["channel"] == of[after]["channel"] for after in changes if after > at)
    ]
    at = random.choice(followed)
    after = next(one for one in changes if one > at and of[one]["channel"] == of[at]["channel"])
    fault = ("drop", "repeat", "move")[seed % 3]
    if fault == "drop":
        faulty = messages[:at] + messages[at + 1 :]
    elif fault == "repeat":
        faulty = [*messages[: at + 1], *messages[at:]]
    else:
        faulty = [*messages[:at], *messages[at + 1 : after + 1], messages[at], *messages[after + 1 :]]
    feed, _, gaps = replay(faulty)
    instrument = of[at]["data"]["instrument_name"]
    assert [gap.instrument for gap in gaps] == [instrument]
    (gap,) = gaps
    if fault == "repeat":
        assert (gap.cause, gap.next_id) == ("repeat", of[at]["data"]["change_id"])
        assert gap.healed_at
        assert feed.resync_requests == {}
    else:
        assert (gap.cause, gap.last_id) == ("sequence", of[at]["data"]["prev_change_id"])
        assert gap.next_id == of[after]["data"]["change_id"]
        assert [want.instrument for want in feed.resync_requests.values()] == [instrument]
    others = [state for state in feed.books.values() if state.instrument.name != instrument]
    assert {state.status for state in others} == {"live"}
    assert len(others) == 9


def test_one_wrong_price_in_a_snapshot_is_noticed_when_the_level_changes(fixtures: Path) -> None:
    messages = lines(fixtures)
    at = next(at for at, (raw, _) in enumerate(messages) if b'"snapshot"' in raw and b'["new",0.0795,4.0]' in raw)
    raw, ts_recv = messages[at]
    wrong = [*messages[:at], (raw.replace(b'["new",0.0795,4.0]', b'["new",0.0796,4.0]'), ts_recv), *messages[at + 1 :]]
    _, _, gaps = replay(wrong)
    assert [gap.cause for gap in gaps] == ["actions"]
