"""Inserts records into their tables as JSON, parsed by ClickHouse; rows that do not fit are rejected with the reason.

Inserts are idempotent: the key of a table deduplicates rows, however often and in whichever batch they are sent. Once
a call returns, a stream may be acked.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from typing import Any

import msgspec

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.errors import too_many_unreadable
from marketdata_assets.exchanges.records import AnyRecord, Control, DeadLetter, Gap, Outcome, Trade, VenueError
from marketdata_assets.exchanges.tables.gaps import CLOCKS_DIFFER_NS
from marketdata_assets.exchanges.tables.json_validator import validator_of
from marketdata_assets.exchanges.tables.schema import REJECTS, TRADES, Table, sql, table_of
from marketdata_assets.stores.clickhouse import INSERT_SETTINGS, naming_failures, quoted, read
from marketdata_assets.stores.clients import Client

SETTINGS: Mapping[str, Any] = {
    **INSERT_SETTINGS,
    "input_format_skip_unknown_fields": 1,
    "input_format_json_named_tuples_as_objects": 0,  # levels are pairs in the JSON
    "max_partitions_per_insert_block": 10_000,  # years of candles of a history
    "optimize_on_insert": 0,  # copies within a batch are rare, and looking for them costs a quarter of an insert
}
ROWS_PER_INSERT = 200_000
BYTES_PER_INSERT = 128 << 20  # a whole book may have megabytes

DATA_CODES = (6, 20, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 306, 321, 349, 407, 467, 469, 636)
"""Codes of a server that cannot read a row; with any other one it is not the row's fault."""

_REASON = re.compile(r"DB::Exception: (?:Code: \d+\. DB::Exception: )?(.*?)(?:: \(at row|: \(while|\. \(|$)", re.DOTALL)


@dataclass(frozen=True)
class Reject:
    """One record that does not fit into its table."""

    reason: str
    raw: bytes


@dataclass(frozen=True)
class Inserted:
    """The result of a batch: `rows` were inserted, or existed already."""

    rows: int = 0
    rejects: tuple[Reject, ...] = ()


def insert_json(client: Client, type_name: str, payloads: Sequence[bytes], *, source: str = "") -> Inserted:
    """Insert records of one type, each as JSON, into its table, and those that do not fit into `exchange_rejects`.

    The rows are on the server's disk when this returns; the server skips a batch that it has just taken. `source` says
    in the rejects who brought them.
    Raises ExchangesError, and StoreAway or StoreFull; then any part of the batch may have been written.
    """
    table = table_of(type_name)
    rows = 0
    rejects: list[Reject] = []
    for part in _parts(payloads):
        rejected = _insert(client, table, part)
        rows += len(part) - len(rejected)
        rejects += rejected
    quarantine(client, type_name, rejects, source)
    return Inserted(rows, tuple(rejects))


def insert_records(client: Client, records: Iterable[AnyRecord | Gap], *, source: str = "") -> dict[str, Inserted]:
    """Insert records of any types into their tables; the result by type. Raises as insert_json does."""
    payloads: dict[str, list[bytes]] = {}
    encode = msgspec.json.Encoder().encode
    for record in records:
        payloads.setdefault(str(record.__struct_config__.tag), []).append(encode(record))
    return {name: insert_json(client, name, batch, source=source) for name, batch in payloads.items()}


def quarantine(client: Client, type_name: str, rejects: Sequence[Reject], source: str) -> None:
    """Store rejected records whole in the quarantine; idempotent."""
    if not rejects:
        return
    about = {"type": type_name, "source": source}
    texts = ((reject.reason, reject.raw.decode(errors="backslashreplace")) for reject in rejects)
    lines = [about | {"reason": reason, "raw": raw} for reason, raw in texts]
    _send(client, REJECTS, ("type", "reason", "raw", "source"), msgspec.json.encode(lines), {})


def _insert(client: Client, table: Table, payloads: Sequence[bytes]) -> list[Reject]:
    array = _array(payloads)
    faults = validator_of(table).faults(payloads, array)
    rejects = [Reject(fault, payloads[number]) for number, fault in faults.items()]
    if faults:
        payloads = [payload for number, payload in enumerate(payloads) if number not in faults]
        array = _array(payloads)
    if table is TRADES and any(f'"exchange":"{name}'.encode() in array for name in _other_times()):
        payloads = _without_stored(client, payloads, array)
        array = _array(payloads)
    return rejects + _halved(client, table, payloads, array, sha1(array, usedforsecurity=False).hexdigest())


@cache
def _other_times() -> frozenset[str]:
    """The venues whose history has other times than their stream."""
    return frozenset(venue.name for venue in venues.every() if venue.trades == "other_times")


_trades = msgspec.json.Decoder(list[Trade]).decode


def _without_stored(client: Client, payloads: Sequence[bytes], array: bytes) -> list[bytes]:
    """The trades without those that are stored with another time, which is part of the key: the history of a venue and
    its stream, in either order."""
    trades = [(one, one.ts_recv if one.ts_event is None else one.ts_event) for one in _trades(array)]
    some = [(one, at) for one, at in trades if venues.main_of(one.exchange) in _other_times()]
    times = [at for _, at in some]
    span = {"first": min(times, default=0) - CLOCKS_DIFFER_NS, "end": max(times, default=0) + CLOCKS_DIFFER_NS}
    about = {"exchanges": [*{one.exchange for one, _ in some}], "instruments": [*{one.instrument for one, _ in some}]}
    stored: dict[tuple[str, ...], set[int]] = {}
    for *trade, at in read(client, sql("trade_times"), {**span, **about}).iter_rows():
        stored.setdefault(tuple(trade), set()).add(at)
    return [
        payload
        for payload, (one, at) in zip(payloads, trades, strict=True)
        if at in stored.get((one.exchange, one.market_type, one.instrument, one.trade_id), {at})
    ]


def _halved(client: Client, table: Table, payloads: Sequence[bytes], array: bytes, token: str) -> list[Reject]:
    """Insert the rows; when the server cannot parse one, bisect down to that row."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    if not payloads:
        return []
    try:
        _send(client, table.name, table.columns, array, {"insert_deduplication_token": token})
    except DatabaseError as error:
        if error.code not in DATA_CODES:
            raise
        if len(payloads) == 1:
            reason = _REASON.search(str(error))
            return [Reject(reason[1].strip() if reason else str(error), payloads[0])]
        middle = len(payloads) // 2
        halves = (payloads[:middle], f"{token}/0"), (payloads[middle:], f"{token}/1")
        return [reject for half, name in halves for reject in _halved(client, table, half, _array(half), name)]
    return []


def _send(client: Client, table: str, columns: Sequence[str], block: bytes, settings: Mapping[str, Any]) -> None:
    with naming_failures():
        client.raw_insert(
            quoted(table),
            column_names=list(columns),
            insert_block=block,
            settings={**SETTINGS, **settings},
            fmt="JSONEachRow",
        )


def _parts(payloads: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    if len(payloads) <= ROWS_PER_INSERT and sum(map(len, payloads)) <= BYTES_PER_INSERT:
        yield payloads
        return
    begin = size = 0
    for at, payload in enumerate(payloads):
        if at > begin and (at - begin >= ROWS_PER_INSERT or size + len(payload) > BYTES_PER_INSERT):
            yield payloads[begin:at]
            begin, size = at, 0
        size += len(payload)
    if begin < len(payloads):
        yield payloads[begin:]


def _array(payloads: Sequence[bytes]) -> bytes:
    return b"[" + b",\n".join(payloads) + b"]"


BATCH_ROWS = 100_000
BATCH_BYTES = 64 << 20  # records are inserted in batches of so many rows, or so many bytes of JSON

KEPT_LETTERS = 1000
"""So many unreadable messages of a source are kept whole in the quarantine; all are counted, and stay in the file."""


class RecordBatches:
    """Batches the records of one source. `rows` are those inserted so far, by record type."""

    def __init__(self, client: Client, source: str) -> None:
        self.rows: Counter[str] = Counter()
        self.rejected = self.dead_letters = 0
        self.first_reason = ""  # why the first of those is there
        self.venue_errors = 0
        self.first_venue_error = ""
        self._client, self._source = client, source
        self._batches: dict[str, list[bytes]] = {}
        self._letters: list[Reject] = []
        self._count = self._bytes = 0
        self._encode = msgspec.json.Encoder().encode

    def add(self, outcome: Outcome, raw: bytes = b"") -> None:
        """Take a record, a gap, a dead letter, or what the message `raw` of the venue says is wrong, and no control."""
        if isinstance(outcome, DeadLetter):
            self.dead_letters += 1
            self.first_reason = self.first_reason or outcome.cause
            self._keep(self.dead_letters, outcome.cause, outcome.raw)
        elif isinstance(outcome, VenueError):
            self.venue_errors += 1
            cause = f"{outcome.code}: {outcome.message}"
            self.first_venue_error = self.first_venue_error or cause
            self._keep(self.venue_errors, f"error of the venue, {cause}", raw or cause.encode())
        elif not isinstance(outcome, Control):
            payload = self._encode(outcome)
            self._batches.setdefault(str(outcome.__struct_config__.tag), []).append(payload)
            self._count += 1
            self._bytes += len(payload)
            if self._count >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
                self.flush()

    def _keep(self, count: int, reason: str, raw: bytes) -> None:
        if count <= KEPT_LETTERS:
            self._letters.append(Reject(reason, raw))

    def rejections(self) -> str:
        """What the venue rejected, as a subscription; empty where it rejected nothing."""
        if not self.venue_errors:
            return ""
        return f"{self.venue_errors} errors of the venue, the first one: {self.first_venue_error}"

    def fault(self) -> str:
        """Why the source counts as unreadable; empty where all but a few of what was added gave rows."""
        rows, refused = sum(self.rows.values()), self.rejected + self.dead_letters
        if not too_many_unreadable(refused, rows + refused):
            return ""
        what = (
            f"{refused} of its {rows + refused} messages gave no row"
            if rows
            else f"none of its {refused} messages gave a row"
        )
        return (
            f"{what}, the first one: {self.first_reason}"
            f" (`marketdata quarantine show exchanges` has them{'; the other rows are loaded' if rows else ''})"
        )

    def flush(self) -> None:
        """Insert what has been added so far."""
        for name, payloads in self._batches.items():
            inserted = insert_json(self._client, name, payloads, source=self._source)
            self.rows[name] += inserted.rows
            self.rejected += len(inserted.rejects)
            self.first_reason = self.first_reason or next((reject.reason for reject in inserted.rejects), "")
        quarantine(self._client, "message", self._letters, self._source)
        self._batches, self._letters = {}, []
        self._count = self._bytes = 0
