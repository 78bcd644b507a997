"""Pieces of bytes read as a stream are what a file of the same bytes is."""

import io

from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.loading.archives import Pieces


@given(st.lists(st.binary(max_size=9)), st.lists(st.integers(-1, 12), max_size=20))
def test_any_reads_give_the_bytes_of_a_file(pieces: list[bytes], sizes: list[int]) -> None:
    stream, file = Pieces(iter(pieces)), io.BytesIO(b"".join(pieces))
    assert [stream.read(size) for size in sizes] == [file.read(size) for size in sizes]
    assert stream.read() == file.read()
