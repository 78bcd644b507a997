"""Captures: whatever happens to a folder, each file has a state, and each trade the copy that was received first."""

import gzip
import json
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha512
from pathlib import Path
from struct import pack

import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from marketdata_assets.exchanges.tables import captures, schema
from marketdata_assets.loading.file_ledger import FileEntry
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from tests.deliveries import EVENTS, Folder, Row, Rows, Step, assert_lawful
from tests.dying import Load, server
from tests.examples import FEW

SECOND = 10**9
START = 1_762_000_000 * SECOND
URL = "wss://stream.binance.com:9443/stream?streams=btcusdt@trade"
STEPS = ((HttpClient, "command"), (HttpClient, "raw_query"), (HttpClient, "raw_insert"))
UNREADABLE = b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1,"p":"1.0.0"}}'
SPREAD, SECONDS = 389, 1009
PADDING = "".join(sha512(bytes([number])).hexdigest() for number in range(100))
"""Before the trades of a file, so that none of them is in its first third, however it is packed."""


def doomed(url: str, folder: str) -> None:
    """Load all that is there, as a run does."""
    with clickhouse.connect(url) as client:
        files = captures.captures_in(Path(folder))
        captures.load_captures(client, files, exchange="binance", market_type="spot")


@pytest.fixture(scope="module")
def dying() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def second_of(value: int) -> int:
    """Some second for each value, so that what is delivered later was not received later."""
    return value * SPREAD % SECONDS


def trade(key: int) -> bytes:
    """The message of a trade; it has the venue's time, so copies differ in the time of receipt only."""
    ms = (START + key * SECOND) // 10**6
    event = {"e": "trade", "E": ms, "T": ms, "s": "BTCUSDT", "t": key, "p": "100.5", "q": "0.1", "m": True}
    return json.dumps({"stream": "btcusdt@trade", "data": event}).encode()


def native(messages: list[tuple[int, bytes]]) -> bytes:
    """A capture as our collector writes it: a header, an address, a socket that opens, and messages, in frames."""

    def entry(ts: int, kind: int, raw: bytes, address: int) -> bytes:
        return pack("<qBIII", ts, kind, 1, address, len(raw)) + raw

    header = b'{"capture":1,"exchange":"binance","market_type":"spot","begins":"run"}\n'
    opened = entry(START, 0, URL.encode(), 1) + entry(START, 3, b"", 1)
    said = entry(START, 2, PADDING.encode(), 1) + b"".join(entry(ts, 1, raw, 1) for ts, raw in messages)
    return b"".join(map(zstandard.compress, (header, opened + said)))


def json_lines(messages: list[tuple[int, bytes]]) -> bytes:
    first = {"recv": f"{START // SECOND}.0", "dir": "open", "url": f"{URL}#{PADDING}"}
    lines = [json.dumps(first).encode()]
    lines += [b'{"recv":"%d.%09d","dir":"in","data":%s}' % (*divmod(ts, SECOND), raw) for ts, raw in messages]
    return b"\n".join([*lines, b""])


def timed_lines(messages: list[tuple[int, bytes]]) -> bytes:
    first = b'{"result":null,"id":"' + PADDING.encode() + b'"}'
    return gzip.compress(b"".join(b"%d %s\n" % one for one in [(START, first), *messages]), mtime=0)


class Captures:
    """A folder of captures of one market; a key is a trade, a value the second of its receipt."""

    names = (
        "binance-spot-20251101T120000.capture.zst",
        "binance-spot-20251101T130000.Capture.ZST",
        "trades.ndjson",
        "later/trades.ndjson",
        "btcusdt_20251101.TXT.gz",
    )
    rows_leave = old_rows_yield = by_age = is_staged = forgets = stays_forgotten = follows_deleted = False
    extra_rows = 1

    def __init__(self, client: Client, url: str, folder: Path, dying: Load) -> None:
        self.client, self.url, self.folder, self.dying = client, url, folder, dying

    def content(self, name: str, rows: Mapping[int, int]) -> bytes:
        """The file of a slot, of the format that its name says; one with trades has an unreadable message, too."""
        messages = [(START + second_of(value) * SECOND, trade(key)) for key, value in sorted(rows.items())]
        if rows:
            messages.insert(1, (START, UNREADABLE))
        form = {"zst": native, "son": json_lines, ".gz": timed_lines}[name.lower()[-3:]]
        return form(messages)

    def load(self) -> None:
        doomed(self.url, str(self.folder))

    def kill(self, steps: int) -> None:
        self.dying(self.url, str(self.folder), 2 * steps)

    def forget(self, name: str) -> None:
        raise AssertionError(f"{name}: trades that were received are never taken back")

    def entries(self) -> list[FileEntry]:
        return captures.entries(self.client, self.folder)

    def table(self) -> Rows:
        sql = "SELECT trade_id, ts_recv FROM exchange_trades FINAL"
        rows = clickhouse.read(self.client, sql).iter_rows()
        return {int(key): (ts - START) // SECOND * pow(SPREAD, -1, SECONDS) % SECONDS for key, ts in rows}


class Received(Folder):
    """Files are recordings of the same events: each that has a trade has it loaded, and what was loaded stays."""

    def load(self) -> None:
        self.domain.load()
        for key, row in self._offered():
            self.held[key] = min(row, self.held.get(key, row), key=received)
        assert self.domain.table() == self.table()

    def own(self, name: str) -> set[int]:
        return set(self.files[name].rows or {})

    def has_loaded(self, entry: FileEntry, own: set[int], rows: Collection[int]) -> bool:
        """Its trades, and gaps: of numbers that it lacks, and of the time since the file before it."""
        return len(own) <= entry.loaded <= 2 * len(own)

    def _offered(self) -> list[tuple[int, Row]]:
        present = self._present()
        return [(key, self._row(name, value)) for name in present for key, value in present[name].items()]

    def _kill(self, steps: int) -> None:
        """Each trade is that of before, or one of a file that was received earlier."""
        self.domain.kill(steps)
        table = self.domain.table()
        assert self.held.keys() <= table.keys()
        for key, value in table.items():
            before = self.held.get(key)
            if before is None or before.value != value:
                [row] = [row for other, row in self._offered() if (other, row.value) == (key, value)]
                assert before is None or received(row) < received(before)
                self.held[key] = row


def received(row: Row) -> int:
    return second_of(row.value)


@settings(FEW, phases=[Phase.generate])
@given(steps=st.lists(EVENTS, min_size=2, max_size=8))
def test_every_file_has_a_state_and_every_row_one_fate(
    clickhouse_client: Client,
    clickhouse_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    dying: Load,
    steps: list[Step],
) -> None:
    schema.ensure(clickhouse_client)
    clickhouse_ledger.ensure(clickhouse_client)
    for table in ("exchange_trades", clickhouse_ledger.LEDGER):
        clickhouse_client.command(f"TRUNCATE TABLE {table}")
    folder = tmp_path_factory.mktemp("captures") / "delivered"
    folder.mkdir()
    domain = Captures(clickhouse_client, clickhouse_url, folder, dying)
    assert_lawful(domain, steps, Received)
    assert all(entry.rejected == 1 for entry in domain.entries() if entry.loaded)
