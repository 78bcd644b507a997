"""What a feed asks of whoever has the network: a new start for one book. Nothing is fetched here."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Want:
    """One book that cannot go on by itself. It stays wanted until the book is live."""

    instrument: str  # the venue's own name
    stream: str  # the channel or stream that the book hangs on, as it was subscribed to
    how: Literal["snapshot", "subscription"]  # a snapshot over REST, or the channel subscribed to anew
    since: int  # ns, when that was seen
