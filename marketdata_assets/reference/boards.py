"""The board of a stock, by the range that its code is from, and the least number of shares of an order there."""

from typing import Literal

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
