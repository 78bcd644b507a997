"""Stock codes: the vendor's `sh600000` to the field's `600000.SH`, and the exchange of a bare code.

Sources: the exchanges' numbering rules; 92xxxx replaced 4xxxxx and 8xxxxx at the Beijing exchange.
"""

import re

_PREFIXED = re.compile(r"(sh|sz|bj)(\d{6})", re.IGNORECASE | re.ASCII)


def canonical(code: str) -> str | None:
    """`sh600000`, in any case, as `600000.SH`; None when the prefix is missing or is not an exchange's."""
    match = _PREFIXED.fullmatch(code.strip())
    return f"{match[2]}.{match[1].upper()}" if match else None


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
