"""Changes to messages: of single bytes, of numbers and words, of the JSON they are. Same randomness, same change."""

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

LONGEST = 200_000
"""Longer results are cut."""

_NUMBERS = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS = re.compile(rb'"[^"\\]*"')

ODD_NUMBERS = (
    *(b"0", b"-0", b"-1", b"1e999", b"1E-999", b"1e99", b"0.0", b"-0.0e0", b"1.", b".5", b"01", b"+1", b"0x1f", b"1_0"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"1" * 400, b"0." + b"0" * 400 + b"1"),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e", b"1e+", b"9007199254740993", b"123456789.123456789123456789"),
)
ODD_VALUES = (
    *(
        b"null",
        b"true",
        b"false",
        b"{}",
        b"[]",
        b'""',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\xff"',
        b'"0"',
        b'"1e999"',
        b'"NaN"',
    ),
    *(
        b'" 1"',
        b'"1 "',
        b'"-1"',
        b'"+1"',
        b'"1_0"',
        b'"\xd9\xa1"',
        b'"\xc2\xb2"',
        b"[[]]",
        b'{"a":{}}',
        b'"' + b"9" * 400 + b'"',
    ),
)
ODD_JSON: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**63, 2**64, 10**30, -(2**63), 1e308, "", "0", "-1", "1e999", "NaN", "x" * 2000),
    *([], {}, [[]], [None], {"": None}, "\u0000", "\u0661", "1" * 300, ["0", "0"], [["1", "1"]], [["new", 1, 1]]),
)


def mutated(raw: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """The message after one to four changes."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        raw = random.choice(_WAYS)(raw, random, others)
    return raw[:LONGEST]


def _flip(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    if not raw:
        return bytes([random.randrange(256)])
    at = random.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << random.randrange(8)]) + raw[at + 1 :]


def _replace_byte(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(raw) + 1)
    return (
        raw[:at]
        + random.choice((b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\x00", b"\xff", b" "))
        + raw[at + 1 :]
    )


def _cut(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    return raw[: random.randrange(len(raw) + 1)]


def _drop(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    first, last = _span(raw, random)
    return raw[:first] + raw[last:]


def _repeat(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    first, last = _span(raw, random)
    return raw[:last] + raw[first:last] * random.choice((1, 1, 2, 50)) + raw[last:]


def _splice(raw: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    other = random.choice(others)
    return raw[: random.randrange(len(raw) + 1)] + other[random.randrange(len(other) + 1) :]


def _noise(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(raw) + 1)
    return raw[:at] + random.randbytes(random.randrange(1, 20)) + raw[at:]


def _odd_number(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    return _instead(raw, _NUMBERS, random.choice(ODD_NUMBERS), random)


def _odd_word(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    return _instead(raw, _WORDS, random.choice(ODD_VALUES), random)


def _near_number(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Another number of the same kind: ids that do not follow, prices that cross."""
    found = [*_NUMBERS.finditer(raw)]
    if not found:
        return raw
    one = random.choice(found)
    digits = bytearray(one[0])
    at = random.randrange(len(digits))
    if digits[at : at + 1].isdigit():
        digits[at] = ord(random.choice("0123456789"))
    return raw[: one.start()] + bytes(digits) + raw[one.end() :]


def _another_key(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """A word of the message in the place of another one: keys that come twice, channels of other instruments."""
    words = [one[0] for one in _WORDS.finditer(raw)]
    return _instead(raw, _WORDS, random.choice(words), random) if words else raw


def _nested(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    deep = random.choice((10, 200, 1_500, 20_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"data":', b"}"), (b'{"arg":', b"}")))
    return opening * deep + raw + closing * deep


def _around(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    before, behind = random.choice(
        ((b" \n\t", b"\r\n"), (b"\xef\xbb\xbf", b""), (b"", b"\x00"), (b"", raw), (b"[", b"]"))
    )
    return before + raw + behind


def _in_json(raw: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """One value anywhere in it becomes another one, goes, or comes twice; sometimes with the spaces of a person."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    places = _places(value)
    if not places:
        return json.dumps(random.choice(ODD_JSON)).encode()
    holder, key = random.choice(places)
    what = random.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, list):
        holder.insert(random.randrange(len(holder) + 1), holder[key])
    elif what == 2:
        holder[key] = random.choice(places)[0]
    else:
        holder[key] = random.choice(ODD_JSON)
    try:
        return json.dumps(value, separators=random.choice(((",", ":"), (", ", ": "))), ensure_ascii=False).encode(
            "utf-8", "replace"
        )
    except (ValueError, RecursionError):  # it holds itself now
        return raw


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every value that stands in something, as that and the key."""
    found: list[tuple[Any, Any]] = []
    rest = [value]
    while rest:
        one = rest.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            rest.append(one[key])
    return found


def _instead(raw: bytes, what: re.Pattern[bytes], put: bytes, random: Random) -> bytes:
    found = [*what.finditer(raw)]
    if not found:
        return raw
    one = random.choice(found)
    return raw[: one.start()] + put + raw[one.end() :]


def _span(raw: bytes, random: Random) -> tuple[int, int]:
    first = random.randrange(len(raw) + 1)
    return first, min(len(raw), first + random.choice((1, 2, 5, 20, 200)))


_WAYS: tuple[Callable[[bytes, Random, Sequence[bytes]], bytes], ...] = (
    *(_flip, _replace_byte, _cut, _drop, _repeat, _splice, _noise, _odd_number, _odd_word, _near_number, _near_number),
    *(_another_key, _nested, _around, _in_json, _in_json, _in_json),
)
