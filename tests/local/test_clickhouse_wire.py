"""What the ClickHouse front reads in a request: encodings, chunks, inserts, forms."""

import gzip
import io
import zlib
from collections.abc import Iterable

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.local import clickhouse_wire as wire

FRAMES = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor(write_content_size=False).compress,
}


@pytest.mark.parametrize("encoding", FRAMES)
@given(blocks=st.lists(st.binary(max_size=200), min_size=1, max_size=5), cut=st.integers(1, 50))
def test_every_frame_of_a_body_is_read_however_it_is_cut(encoding: str, blocks: list[bytes], cut: int) -> None:
    sent = b"".join(FRAMES[encoding](block) for block in blocks)
    pieces = [sent[start : start + cut] for start in range(0, len(sent), cut)]
    assert b"".join(wire.decoded(pieces, encoding)) == b"".join(blocks)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4"])
def test_a_body_cut_inside_a_frame_is_refused(encoding: str) -> None:
    with pytest.raises(wire.RequestError, match="inside a frame"):
        b"".join(wire.decoded([FRAMES[encoding](b"rows" * 50)[:-6]], encoding))


def test_unknown_encoding_is_named() -> None:
    with pytest.raises(wire.RequestError, match="br is not known"):
        wire.decoded([], "br")


@pytest.mark.parametrize("method", FRAMES)
def test_result_is_encoded_by_the_first_known_method(method: str) -> None:
    data, used = wire.encoded(b"rows" * 100, f"br, {method};q=0.9, gzip")
    assert used == method
    assert b"".join(wire.decoded([data], used)) == b"rows" * 100


def test_chunked_body_ends_at_its_last_chunk() -> None:
    stream = io.BytesIO(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\nNEXT")
    assert b"".join(wire.raw_body(stream, None, chunked=True)) == b"abcde"
    assert stream.read() == b"NEXT"


@pytest.mark.parametrize(("stream", "chunked"), [(b"3\r\nab", True), (b"3\r\nabc\r\n", True), (b"ab", False)])
def test_body_that_breaks_off_is_refused(stream: bytes, chunked: bool) -> None:
    with pytest.raises(wire.RequestError):
        b"".join(wire.raw_body(io.BytesIO(stream), "3", chunked))


@pytest.mark.parametrize(
    ("start", "into", "settings", "name", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t", "", "CSV", b"1,2\n"),
        (
            b"insert into `a b`.t (`x(`, y)\n format Native\n\x00\n",
            "insert into `a b`.t (`x(`, y)",
            "",
            "Native",
            b"\x00\n",
        ),
        (
            b"INSERT INTO d.t (x) SETTINGS a=1 FORMAT Parquet \nPAR1",
            "INSERT INTO d.t (x)",
            "SETTINGS a=1",
            "Parquet",
            b"PAR1",
        ),
        (b"/* FORMAT */ -- x\nINSERT INTO TABLE t(x) FORMAT TSV;\n", "INSERT INTO TABLE t(x)", "", "TSV", b""),
    ],
)
def test_insert_with_data_is_split(start: bytes, into: str, settings: str, name: str, data: bytes) -> None:
    reading_file, first = wire.split_insert(start) or pytest.fail("is no insert")
    assert (reading_file("f"), first) == (f"{into} FROM INFILE 'f' {settings} FORMAT {name}", data)


@pytest.mark.parametrize(
    "statement",
    [
        b"INSERT INTO t VALUES ('a FORMAT CSV')",
        b"INSERT INTO t (a) SELECT 1 FORMAT CSV",
        b"SELECT 'INSERT INTO t FORMAT CSV'",
        b"INSERT INTO t (s) VALUES (' FORMAT CSV\n')",
    ],
)
def test_other_statements_stay_whole(statement: bytes) -> None:
    assert wire.split_insert(statement) is None


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (b"SELECT 1", "TSV"),
        (b"SELECT 1 FORMAT Native", "Native"),
        (b"SELECT 1\nformat Arrow ;\n", "Arrow"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads=1", "JSON"),
        (b"SELECT ' FORMAT CSV'", "TSV"),
    ],
)
def test_output_format(statement: bytes, name: str) -> None:
    assert wire.output_format(statement, "TSV") == name


def form(*parts: str) -> Iterable[bytes]:
    return ["".join(f"--B\r\nContent-Disposition: form-data; {part}\r\n" for part in parts).encode() + b"--B--\r\n"]


def test_form_fields_join_the_url_keys() -> None:
    body = form('name="query"\r\n\r\nSELECT {x:String}', 'name="param_x"\r\n\r\né')
    request = wire.read_request("max_threads=1&session_id=s", "multipart/form-data; boundary=B", body)
    assert request.statement == b"SELECT {x:String}"
    assert request.settings == {"max_threads": "1", "param_x": "é"}


def test_external_tables_are_refused_with_the_remedy() -> None:
    body = form('name="ext"; filename="ext"\r\n\r\n1,2')
    with pytest.raises(wire.RequestError, match="MARKETDATA_CLICKHOUSE_URL"):
        wire.read_request("", "multipart/form-data; boundary=B", body)
