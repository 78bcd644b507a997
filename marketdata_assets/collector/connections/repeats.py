"""Records that come twice because two sockets overlap: the second is passed over.

Outside of overlaps nothing is looked up, as what goes on is deduplicated by the same ids further down.
"""

from marketdata_assets.collector.items import message_id
from marketdata_assets.exchanges.records import AnyRecord

NS = 1_000_000_000


class Repeats:
    """The ids of the last seconds, while somebody looks for repeats. Bounded by two generations of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.dropped = 0
        self._span = int(seconds * NS)
        self._until = 0
        self._turned = 0
        self._new: set[str] = set()
        self._old: set[str] = set()

    def watch(self, now: int, until: int) -> None:
        """Look for repeats until then; ns."""
        if now > self._until:
            self._turned = now
        self._until = max(self._until, until)

    def watching(self, now: int) -> bool:
        """Whether records have to be asked about."""
        if now <= self._until:
            return True
        if self._new or self._old:
            self._new, self._old = set(), set()
        return False

    def has(self, record: AnyRecord) -> bool:
        """Whether the record came already; from now on it did."""
        if record.ts_recv - self._turned > self._span:
            self._old, self._new, self._turned = self._new, set(), record.ts_recv
        name = message_id(record)
        if name in self._new or name in self._old:
            self.dropped += 1
            return True
        self._new.add(name)
        return False
