"""Stock codes: the spellings of vendors and the field's `600000.SH`, the exchange of a bare code, and its board.

Sources: the exchanges' numbering rules; 92xxxx replaced 4xxxxx and 8xxxxx at the Beijing exchange.
"""

import re
from typing import Literal

_PREFIXED = re.compile(r"(sh|sz|bj)\.?(\d{6})", re.IGNORECASE | re.ASCII)  # sh600000, and sh.600000 of baostock
_SUFFIXED = re.compile(r"(\d{6})\.([a-z]{2,4})", re.IGNORECASE | re.ASCII)
_SUFFIXES = {
    **{name: name for name in ("SH", "SZ", "BJ")},
    "SS": "SH",
    "XSHG": "SH",
    "XSHE": "SZ",
    "XBSE": "BJ",
    "SHSE": "SH",
    "SZSE": "SZ",
    "BJSE": "BJ",
}
"""Of Tushare; of Yahoo, JQData and RiceQuant, and others by the name of the exchange."""


def canonical(code: str) -> str | None:
    """`sh600000`, `sh.600000`, `600000.XSHG` or `600000.SS`, in any case, as `600000.SH`.

    None when no exchange is named: six digits alone may be a stock of one and an index of another.
    """
    text = code.strip()
    if match := _PREFIXED.fullmatch(text):
        return f"{match[2]}.{match[1].upper()}"
    match = _SUFFIXED.fullmatch(text)
    exchange = _SUFFIXES.get(match[2].upper()) if match else None
    return f"{match[1]}.{exchange}" if match and exchange else None


def misspelt(symbol: str) -> bool:
    """Whether it is no symbol although it names a mainland exchange: `1.SZ`, or with wide digits."""
    return symbol.rpartition(".")[2] in ("SH", "SZ", "BJ") and canonical(symbol) is None


def advice(code: str) -> str:
    """What to write instead of a code that names no exchange, or has no six digits."""
    match = re.fullmatch(r"(\d{1,6})(?:\.(SH|SZ|BJ))?", code.strip().upper(), re.ASCII)
    found = exchange(match[1].zfill(6)) if match else None
    if match and found and match[2] in (None, found):
        return f"write {match[1].zfill(6)}.{found}" + ("" if len(match[1]) == 6 else ": its leading zeros are lost")
    return "write it as 600000.SH"


def mentioned(name: str) -> str | None:
    """The code in a file's name: `sh600000_2000.csv` gives `600000.SH`; None when there is none."""
    match = _PREFIXED.search(name)
    return canonical(match[0]) if match else None


def exchange(digits: str) -> str | None:
    """The exchange of a bare six-digit code: SH, SZ or BJ; None when no rule covers it."""
    if not re.fullmatch(r"\d{6}", digits, re.ASCII):
        return None
    if digits.startswith(("4", "8", "92")):
        return "BJ"
    if digits.startswith(("6", "900")):
        return "SH"
    return "SZ" if digits.startswith(("0", "2", "3")) else None


def contradiction(symbol: str) -> str:
    """Why `600000.SZ` is nothing of the exchange that it names; empty where it may be, as the index `000300.SH`."""
    digits, _, named = symbol.partition(".")
    found = exchange(digits)
    known = found in (None, named) or (named == "SH" and digits.startswith("000"))
    return "" if known else f"{digits} is a number of stocks of {found}, not of {named}"


Board = Literal["main", "chinext", "star", "beijing", "other"]

_PREFIXES: tuple[tuple[str, str, Board], ...] = (
    ("SH", "688", "star"),
    ("SH", "689", "star"),
    ("SH", "6", "main"),
    ("SZ", "30", "chinext"),
    ("SZ", "0", "main"),
    ("BJ", "", "beijing"),
)
_LOTS: dict[Board, int] = {"star": 200}


def board_of(symbol: str) -> Board:
    """The board of `600000.SH`; `other` for B shares, funds and everything else."""
    code, _, exchange = symbol.partition(".")
    for suffix, prefix, board in _PREFIXES:
        if exchange == suffix and code.startswith(prefix):
            return board
    return "other"


def lot_of(board: Board) -> int:
    """The least number of shares of an order to buy: 200 on the STAR market, 100 elsewhere."""
    return _LOTS.get(board, 100)
