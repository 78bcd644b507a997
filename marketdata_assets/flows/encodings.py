"""Which encoding a text is in that is not UTF-8: what each makes of it, judged by characters that texts seldom have.

Candidates are the usual encodings of market data and the guess of charset-normalizer. A few bytes fit many encodings,
so the others are named with what they make of the file.
"""

import re
from dataclasses import dataclass
from functools import cache

from charset_normalizer import from_bytes

USUAL = ("gb18030", "big5", "cp1252", "cp932", "euc_kr", "cp1251", "cp1250", "latin-1")
"""The first of those that do equally well is taken."""
COMMON: dict[str, tuple[str, int, int]] = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "big5": ("big5", 0xA4, 0xC6),
    "cp932": ("shift_jis", 0x82, 0x97),
    "euc_kr": ("euc_kr", 0xB0, 0xC8),
}
"""Where an encoding has its common characters: the encoding that has these, the first and last lead byte of them."""
WESTERN = "\xa0ÄÖÜäöüßÀÂÇÉÈÊËÎÏÔÙÛàâçéèêëîïôùûœÁÍÓÚÑáíóúñ¿¡ÃÕãõÅØÆåøæ€£°·«»’–"
OTHERS = {"cp1250": WESTERN + "ĄĆĘŁŃŚŹŻąćęłńśźżČĎĚŇŘŠŤŮÝŽčďěňřšťůýžŐőŰűĂăȘșȚțŞşŢţ", "cp1251": ""}
SAMPLE_BYTES = 16 * 1024
SHOWN, LONGEST, MANY = 3, 24, 12


@dataclass(frozen=True)
class Reading:
    """What an encoding makes of some lines, and the share of its characters that are rare, from 0 to 1."""

    encoding: str
    rare: float
    example: str

    def __str__(self) -> str:
        return f'{self.encoding} ("{self.example}")'


def readings(raw: bytes) -> list[Reading]:
    """What the encodings make of `raw`, the most likely first; bytes that are no character are rare."""
    lines = b"\n".join(line for line in raw.split(b"\n") if not line.isascii())[:SAMPLE_BYTES]
    lines = lines[: lines.rfind(b"\n")] if len(lines) == SAMPLE_BYTES else lines
    detected = from_bytes(lines).best()
    names = dict.fromkeys([*USUAL, *([detected.encoding] if detected and "utf" not in detected.encoding else [])])
    found: list[Reading] = []
    for encoding in names:
        text = lines.decode(encoding, "replace")
        example = re.search(r"\w*[^\x00-\x7f\ufffd]+\w*", text)
        found.append(Reading(encoding, _rare(text, encoding), example[0][:LONGEST] if example else ""))
    return sorted(found, key=lambda reading: reading.rare)


def remark(found: list[Reading]) -> str:
    """What to say of an encoding that was taken for the first of `found`."""
    others = {one.example: one for one in reversed(found[1:]) if one.example not in ("", found[0].example)}
    also = ", ".join(map(str, [*others.values()][::-1][:SHOWN]))
    either = f", not as {also}; if one of these is right, write --encoding" if also else ""
    return f"the bytes are no UTF-8; they are read as {found[0]}{either}"


def _rare(text: str, encoding: str) -> float:
    foreign = [character for character in text if ord(character) > 0x7F]
    if encoding in COMMON:
        rare = sum(character not in _common(encoding) for character in foreign)
    elif encoding == "cp1251":
        words = re.findall(r"[^\x00-\x7f]+", text)
        rare = sum(len(word) for word in words if not re.fullmatch(r"[А-ЯЁ]?[а-яё]+|[А-ЯЁ]+|[№«»–—]", word))
    else:
        usual = OTHERS.get(encoding, WESTERN)
        runs = re.findall(r"[^\x00-\x7f]+", text)
        rare = sum(len(run) if _mixed(run) else sum(letter not in usual for letter in run) for run in runs)
        rare += sum(map(len, re.findall(r"(?<=[a-z])[À-ÖØ-Þ](?=[a-z])", text)))
    if encoding == "euc_kr" and not rare and len({*foreign}) >= MANY:
        return -0.01  # its hangul are common hanzi of GB 2312 as well, but hardly all of many hanzi are hangul
    return rare / max(1, len(foreign)) if encoding in (*COMMON, *OTHERS, "cp1252") else 0.2 + rare


def _mixed(run: str) -> bool:
    """Whether letters beyond ASCII follow each other as they do not in a word of a Latin script."""
    return len(run) > 2 or (len(run) == 2 and not (run.islower() or run.isupper()))


@cache
def _common(encoding: str) -> frozenset[str]:
    """The characters that texts in the encoding are mostly made of, with the marks of its first rows."""
    name, first, last = COMMON[encoding]
    leads = (*range(0xA1, 0xA4), *range(first, last + 1))
    characters = {bytes((lead, trail)).decode(name, "replace") for lead in leads for trail in range(0x40, 0xFF)}
    return frozenset(one for one in characters if len(one) == 1) - {"\ufffd"}
