"""Laws of packages. An input is a slice, or single files, of alphas whose ids, dates and versions clash on purpose."""

import datetime as dt
import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.alphas.packaging import Deduplicator, Origin
from marketdata_assets.alphas.raw_files import Alpha
from tests.alphas.archives import on_disk, pack, packed, put, put_single

DATES = st.sampled_from(
    ["2024-11-02T21:30:00-04:00", "2024-11-03T01:30:00Z", "2024-11-03T01:10:00-05:00", "2024-11-04", "none", None]
)
ALPHAS = st.fixed_dictionaries(
    {"id": st.sampled_from("abcd"), "dateCreated": DATES, "dateModified": DATES, "v": st.integers(0, 2)}
)
INPUTS = st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.lists(ALPHAS, max_size=4)), min_size=1, max_size=5)


def deliver(root: Path, inputs: list[tuple[int, tuple[bool, int, list[Any]]]]) -> None:
    for number, (single, mtime, documents) in inputs:
        if single:
            for index, document in enumerate(documents):
                put_single(root, f"2024-11-0{number + 1}", f"{number}{index}", document, mtime=mtime)
        else:
            put(root, f"2024-11-0{number + 1}T00:00", documents, hours=24, mtime=mtime)


@given(inputs=INPUTS, shuffler=st.randoms())
def test_packaging_is_idempotent_and_order_does_not_matter(inputs: Any, shuffler: random.Random) -> None:
    numbered = list(enumerate(inputs))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        deliver(Path(one), numbered)
        report = pack(Path(one))
        at_once = on_disk(Path(one))
        assert pack(Path(one)).written == []
        assert on_disk(Path(one)) == at_once
        kept = [document["id"] for documents in packed(Path(one)).values() for document in documents]
        assert sorted(kept) == sorted({document["id"] for _, _, documents in inputs for document in documents})
        assert report.documents == len(kept)
        for path in Path(one).rglob("*.json"):
            path.unlink()
        assert pack(Path(one)).written == [], "without its raw files a package stays as it is"
        assert on_disk(Path(one)) == at_once
        shuffler.shuffle(numbered)
        for part in numbered:
            deliver(Path(other), [part])
            pack(Path(other))
        assert on_disk(Path(other)) == at_once


OFFERS = st.tuples(
    *(st.sampled_from("ab"), st.sampled_from([b'{"id":1}', b'{"id":2}']), st.integers(1, 2), st.booleans()),
    *(st.integers(1, 2), st.integers(1, 2)),
)


@given(offers=st.lists(OFFERS, max_size=6), shuffler=st.randoms())
def test_the_newest_is_the_same_in_whatever_order_versions_are_offered(offers: Any, shuffler: random.Random) -> None:
    def kept() -> list[tuple[dt.date, str, bytes]]:
        with tempfile.TemporaryFile() as spool:
            newest = Deduplicator(spool)
            for name, raw, modified, is_raw, mtime, day in offers:
                moment = dt.datetime(2024, 11, modified, tzinfo=dt.UTC)
                alpha = Alpha(name, None, moment, dt.date(2024, 11, day), raw)
                newest.offer(alpha, Origin(True, mtime, "file", is_raw))
            return [(day, v.id, newest.line(v)) for day, versions in newest.by_day().items() for v in versions]

    before = kept()
    shuffler.shuffle(offers)
    assert kept() == before
