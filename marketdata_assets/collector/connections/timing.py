"""How long is long: all seconds that connections go by. What a venue itself demands stands with its speaker."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Timing:
    """Seconds. None takes what the venue's speaker says."""

    connect: float = 10.0  # for a socket to be there, handshake included
    backoff: float = 0.5  # the first pause is a random part of it, and it doubles
    longest_backoff: float = 60.0
    settled: float = 30.0  # a socket that lived so long begins with short pauses again
    connects_per_second: float | None = None
    ping_after: float | None = None  # of silence
    pong_within: float = 10.0  # then the socket is dead
    confirm: float = 10.0  # for a subscription to be confirmed
    age: float | None = None  # of a socket, when it is replaced
    overlap: float = 30.0  # the longest, of the old socket and the new one
    repeats: float = 5.0  # so long before and after an overlap repeats are looked for
    silence: Mapping[str, float] = field(default_factory=dict)  # by type of record, how long is normal
    longest_silence: float = 3600.0  # a subscription that is silent by nature is looked at so often
    resubscribe: float = 10.0  # between two subscriptions for the sake of one book
    snapshot: float = 30.0  # between two snapshots of one book
    before_snapshot: float = 0.5  # from the first diff; a younger snapshot is more likely to fit
    hole: float = 5.0  # for the first message of a stream to come, once it is confirmed
    polls: Mapping[str, float] = field(default_factory=lambda: {"open_interest": 30.0, "funding_rate": 30.0})
    listing: float = 86_400.0  # between two lists of instruments
    tick: float = 0.5  # between two looks at all of this
    goodbye: float = 2.0  # for the venue to close a socket that we left
    rest: float = 10.0  # for an answer over REST
