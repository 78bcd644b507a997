"""The vendor's files: which there are, what their names say, their header line, and the names our table has.

What a value may be is in `rules`.
"""

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from marketdata_assets.loading.archives import is_archive
from marketdata_assets.loading.errors import BadFile, LoadError
from marketdata_assets.loading.file_ledger import other_suffix
from marketdata_assets.loading.files import Delivered, Unit, everything, file_hash, members
from marketdata_assets.loading.member_names import is_documentation

FEATHER = (".feather", ".arrow")
TABLES = (".parquet", *FEATHER)
TEXTS = (".txt", ".txt.gz")  # without digits in their names they are documents, and so are readmes
MEMBERS = (".csv", ".csv.gz", *TEXTS, *TABLES)
SUFFIXES = (".zip", *MEMBERS)
PACKED = (".7z", ".rar")
DOCUMENTS = (".md", ".pdf", ".url", ".doc", ".docx")
DATED = re.compile(r"\d{4}")
UNPACK = "unpack it, and deliver the files or a zip of them"
UNDATED = "a text without a code or a day in its name"

# 时间,代码,名称,开盘价,收盘价,最高价,最低价,成交量,成交额,涨幅,振幅
# 2000-06-09 09:30:00,sh600000,浦发银行,-2.01,-2.01,-2.01,-2.01,129,309600,0.0,-0.0
COLUMNS = {
    "时间": "time",  # exchange wall clock, Asia/Shanghai
    "代码": "code",
    "名称": "name",
    "开盘价": "open",  # yuan, adjusted forward: negative is legal
    "收盘价": "close",
    "最高价": "high",
    "最低价": "low",
    "成交量": "volume",  # lots of 100 shares
    "成交额": "amount",  # yuan
    "涨幅": "change_pct",
    "振幅": "amplitude",
}
HEADER = tuple(COLUMNS)
PRICES = ("open", "high", "low", "close")
DECIMALS = (*PRICES, "amount", "change_pct", "amplitude")
NUMBERS = (*DECIMALS, "volume")
TABLE_COLUMNS = ("time", "code", "name", *PRICES, "volume", "amount", "change_pct", "amplitude")

BOM = b"\xef\xbb\xbf"

_YEAR = re.compile(r"(?:^|[^0-9])((?:19|20)\d\d)(?=_1min|\.csv|\.txt|\.parquet|\.feather|\.arrow|$)")


def scan(folder: Path) -> list[Delivered]:
    """What of `folder` and below is loaded as bars, by name; what cannot be read too, with its problem, and fails."""
    return [one for one in everything(folder) if not why_not_taken(one)]


def why_not_taken(found: Delivered) -> str:
    """Why no load reads an entry of the folder, and what to do; empty where a load does, or says why it cannot."""
    if found.is_folder:
        return ""
    if found.name.lower().endswith(PACKED):
        return f"archives of 7-Zip and RAR are not read: {UNPACK}"
    if _is_document(found.name) or _is_undated(found.name):
        return f"{UNDATED} is a document; else convert or rename it, as SH600000.txt"
    return other_suffix(found.name, SUFFIXES, "minute bars")


def _is_document(name: str) -> bool:
    """Whether a text, or a member of a zip, is about the data."""
    base = name.rpartition("/")[2].lower()
    return base.endswith(DOCUMENTS) or (base.endswith(TEXTS) and is_documentation(base))


def _is_undated(name: str) -> bool:
    base = name.rpartition("/")[2].lower()
    return base.endswith(TEXTS) and not DATED.search(base)


def is_table(name: str) -> bool:
    """Whether a file of this name has typed columns, and no lines."""
    return name.lower().endswith(TABLES)


def units(file: Delivered) -> list[Unit]:
    """The units of a file, each with a checksum of its content, or with the problem for which it cannot be loaded.

    A zip is known by its directory alone: CRC-32 and size of each member. One without members is a unit itself.
    """
    if file.problem:
        return [_unread(Unit(file), file.problem)]
    try:
        if not file.is_zip:
            return [Unit(file, size=file.size, checksum=file_hash(file))]
        found = [unit for unit in members(file) if not _is_document(unit.member)]
    except BadFile as error:
        return [Unit(file, problem=error.cause)]
    bars = [unit if unit.problem else _unread(unit, _why_not_read(unit.member)) for unit in found]
    return list({unit.member: unit for unit in bars}.values()) or [Unit(file, problem="the zip holds no CSV file")]


def _unread(unit: Unit, why: str) -> Unit:
    """The unit with a cause and a remedy, if any, for which it cannot be loaded: `not read: convert it`."""
    cause, _, remedy = why.partition(": ")
    return replace(unit, problem=cause, remedy=remedy)


def _why_not_read(member: str) -> str:
    """Why a member of a zip is no bars, and what to do; empty when it may be."""
    if _is_undated(member):
        return f"{UNDATED}: name it as SH600000.txt, or leave it out"
    if is_archive(member) or member.lower().endswith(PACKED):
        return f"an archive within a zip is not read: {UNPACK}"
    why = other_suffix(member, MEMBERS, "minute bars")
    return why and f"{why}, or leave it out of the zip"


@lru_cache(maxsize=65536)
def year_of(name: str) -> int | None:
    """The year a file's name announces: `2000_1min.zip`, `sh600000_2000.csv`; None when it announces none."""
    stem = name.lower().removesuffix(".gz").removesuffix(".zip")
    match = _YEAR.search(stem)
    return int(match[1]) if match else None


def year_of_unit(unit: Unit) -> int | None:
    """The year that the name of a unit's file announces, or else that of the member."""
    return year_of(unit.file.path.name) or year_of(unit.member)


def first_header(place: str, line: bytes) -> tuple[str, ...] | None:
    """Our names of a file's columns, in its order, when the line has just those of COLUMNS, in UTF-8; else None.

    Raises LoadError for a file without lines.
    """
    if not line:
        raise LoadError(f"{place}:1: the file is empty. Deliver the file again.")
    if b"\r" in line.rstrip(b"\r\n") and b"\0" not in line:
        raise LoadError(f"{place}:1: lines end with CR alone. Save the file with LF or CRLF at the end of lines.")
    names = [name.strip().strip('"').strip() for name in line.removeprefix(BOM).decode("utf-8", "replace").split(",")]
    return tuple(COLUMNS[name] for name in names) if sorted(names) == sorted(HEADER) else None
