"""Records of one source, such as a file, in batches on their way into the tables; unreadable messages are kept too."""

from collections import Counter

import msgspec

from marketdata_assets.exchanges.records import Control, DeadLetter, Outcome, VenueError
from marketdata_assets.exchanges.tables.rows import Reject, insert_json, quarantine
from marketdata_assets.stores.clients import Client

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
        self._client, self._source = client, source
        self._batches: dict[str, list[bytes]] = {}
        self._letters: list[Reject] = []
        self._count = self._bytes = 0
        self._encode = msgspec.json.Encoder().encode

    def add(self, outcome: Outcome) -> None:
        """Take a record, a gap or a dead letter; other outcomes are ignored."""
        if isinstance(outcome, DeadLetter):
            self.dead_letters += 1
            self.first_reason = self.first_reason or outcome.cause
            if self.dead_letters <= KEPT_LETTERS:
                self._letters.append(Reject(outcome.cause, outcome.raw))
        elif not isinstance(outcome, Control | VenueError):
            payload = self._encode(outcome)
            self._batches.setdefault(str(outcome.__struct_config__.tag), []).append(payload)
            self._count += 1
            self._bytes += len(payload)
            if self._count >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
                self.flush()

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
