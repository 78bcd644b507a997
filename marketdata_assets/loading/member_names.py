"""Names of files and of members of archives: which are data, and how they read, whatever their encoding."""

import os
import zipfile
from fnmatch import fnmatchcase

NOT_DATA = ("__macosx", "thumbs.db", "desktop.ini")
"""Folders and files that operating systems add, in lower case."""
DOCUMENTATION = (
    *("readme*", "license*", "licence*", "changelog*", "说明*", "使用说明*", "免责声明*"),
    *("*.md", "*.pdf", "*.htm", "*.html", "*.doc", "*.docx", "*.url", "*.md5", "*.sha256", "*.sig", "*.asc"),
)
"""Names, in lower case, of what vendors put into an archive beside the data."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
UTF8_FLAG = 0x800


def is_hidden(name: str) -> bool:
    """Whether a relative name is no data: a part of it begins with a dot, or is what other programs add.

    Office keeps `~$prices.xlsx` beside a workbook that is open. Zips of a folder may have `./a.csv` and `../a.csv`.
    """
    parts = [part for part in name.split("/") if part not in (".", "..")]
    return any(part.startswith((".", "~$")) or part.lower() in NOT_DATA for part in parts)


def is_documentation(name: str) -> bool:
    """Whether a member of an archive is about the data: a README, a licence, a page, a checksum."""
    base = name.rpartition("/")[2].lower()
    return any(fnmatchcase(base, pattern) for pattern in DOCUMENTATION)


def readable(name: str) -> str:
    """A file name as text that every store takes: one that is not UTF-8 is read as GBK, else its bytes are escaped."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        raw = os.fsencode(name)
        return _chinese(raw) or raw.decode("utf-8", "backslashreplace")


def member_name(info: zipfile.ZipInfo) -> str:
    """The name of a zip's member. Without the UTF-8 flag it may still be UTF-8 or GBK, otherwise it is cp437."""
    if info.flag_bits & UTF8_FLAG or info.filename.isascii():
        return info.filename
    raw = info.filename.encode("cp437")
    utf8 = _decoded(raw, "utf-8")
    if utf8 and _ideographs(utf8):
        return utf8
    return _chinese(raw) or utf8 or info.filename  # the GBK of many names is valid UTF-8, as Latin or Greek


def _chinese(raw: bytes) -> str | None:
    """The name as GBK; None when it is not, or when so few characters would be ideographs that it is by chance."""
    wide = _decoded(raw, "gb18030")
    return _decoded(raw, "gb2312") or (wide if wide and _ideographs(wide) > 1 else None)


def _ideographs(text: str) -> int:
    return sum("\u4e00" <= character <= "\u9fff" for character in text)


def _decoded(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def problem(info: zipfile.ZipInfo, times: int) -> str:
    """Why a zip's member, of which there are so many `times`, cannot be opened; empty when it can."""
    if times > 1:
        return f"the zip has {times} members of this name, so which one counts is unknown"
    if info.flag_bits & 1:
        return "the member is encrypted"
    if info.compress_type not in _METHODS:
        return f"the member is compressed by method {info.compress_type}, which cannot be read"
    return ""
