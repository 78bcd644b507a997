"""Which files are new or changed since the last scan, and finished: the common part of sensors and scheduled runs.

A file is finished when two scans at least `quiet_seconds` apart, by the scanner's own clock, saw it in the same state.
Modification times are compared with each other only, never with a clock, so those of another machine may be wrong.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from time import sleep
from typing import Any

State = Any
"""What shows a change of a file or group, as JSON: such as its size and time, or a fingerprint of all its files."""


@dataclass(frozen=True)
class Scan:
    """One scan compared with a cursor, by key (a file, or a group of files that is handled as one).

    `finished` keys are new or changed and complete; `unfinished` ones may still be written. `states` are those of now,
    `handled` those that earlier scans handed out.
    `number` grows with each scan that hands something out, so that a state that returns counts as another one.
    """

    finished: tuple[str, ...]
    unfinished: tuple[str, ...]
    states: Mapping[str, State]
    handled: Mapping[str, State]
    number: int
    _observed: Mapping[str, tuple[State, int]] = field(repr=False)

    def cursor(self, taken: Iterable[str]) -> str:
        """The cursor to keep once the keys `taken` are handled; all others are handed out again by the next scan."""
        done = set(taken)
        kept_states = {key: state for key, state in self.handled.items() if key in self.states}
        handled = kept_states | {key: state for key, state in self.states.items() if key in done}
        observed = {key: seen for key, seen in self._observed.items() if key not in done}
        content = {"handled": handled, "observed": observed, "number": self.number + bool(done)}
        return json.dumps(content, sort_keys=True, ensure_ascii=False)

    def fingerprint(self, taken: Iterable[str]) -> str:
        """A short text, the same while these keys in these states are not handed out: for the key of a run."""
        return fingerprint(self.number, json.dumps({key: self.states[key] for key in taken}, sort_keys=True))


def compare(cursor: str | None, states: Mapping[str, State], *, now_ns: int, quiet_seconds: float) -> Scan:
    """Compare the present `states` with `cursor`, that of the scan before (None at first).

    `now_ns` is the scanner's clock. With `quiet_seconds` 0 one observation is enough.
    """
    content = json.loads(cursor) if cursor else {"handled": {}, "observed": {}}
    handled, before = content["handled"], content["observed"]
    states = {key: json.loads(json.dumps(state)) for key, state in states.items()}
    observed: dict[str, tuple[State, int]] = {}
    finished: list[str] = []
    unfinished: list[str] = []
    for key, state in sorted(states.items()):
        if key in handled and handled[key] == state:
            continue
        seen, since = before.get(key, (None, now_ns))
        if seen != state or since > now_ns:
            since = now_ns
        observed[key] = (state, since)
        (finished if now_ns - since >= quiet_seconds * 1e9 else unfinished).append(key)
    number = content.get("number", now_ns)  # of a cursor that is lost, no number of one before
    return Scan(tuple(finished), tuple(unfinished), states, handled, number, observed)


def still_changing(scan: Callable[[], Mapping[str, State]], quiet_seconds: float) -> set[str]:
    """The keys of files that are new or changed after a wait of `quiet_seconds`; for runs that no sensor requested."""
    before = scan()
    if not before:
        return set()
    sleep(quiet_seconds)
    return {key for key, state in scan().items() if before.get(key) != state}


def fingerprint(*parts: object) -> str:
    """Twelve hexadecimal digits of a hash of `parts`, such as a name, a size and a modification time."""
    return blake2b(" ".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
