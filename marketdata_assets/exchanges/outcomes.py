"""What becomes of a message: records, a control outcome, or a dead letter. Nothing else, whatever the bytes.

Which bytes become what is the business of each venue's modules.
"""

from dataclasses import dataclass
from typing import Literal

from marketdata_assets.exchanges.records import AnyRecord, Gap

ControlKind = Literal["ack", "pong", "heartbeat", "test_request", "notice", "login", "ignored"]
"""`ignored` is a message that is as documented and that we have no record for, as an index price."""


@dataclass(frozen=True)
class Control:
    """A message that carries no record. `detail` says which subscription, or what the venue said."""

    kind: ControlKind
    detail: str = ""


@dataclass(frozen=True)
class VenueError:
    """The venue says that something is wrong: a code of its own and its words.

    `rate_limited` asks for a pause, which ends at `until_ms` of the venue's clock where it says so.
    """

    code: int | str
    message: str
    rate_limited: bool = False
    until_ms: int | None = None


@dataclass(frozen=True)
class DeadLetter:
    """A message that is not as documented, kept whole, and why."""

    raw: bytes
    cause: str
    ts_recv: int


Outcome = AnyRecord | Gap | Control | VenueError | DeadLetter
