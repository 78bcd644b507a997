"""The vendor's CSV columns, how its header line is read, and the names our table gives them.

Column names only; what a value may be is in `rules`.
"""

from difflib import get_close_matches

from marketdata_assets.bars.errors import BadHeader

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


def read_header(place: str, line: bytes) -> tuple[str, ...]:
    """Our names of a file's columns, in the file's order.

    Raises BadHeader when the line is not UTF-8 or does not name exactly the eleven columns.
    """
    try:
        text = line.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        if "时间" in line.decode("gb18030", errors="replace"):
            cause, remedy = "the file is GBK, not UTF-8", "Convert it: iconv -f GB18030 -t UTF-8 OLD > NEW"
        else:
            cause, remedy = f"the header is not UTF-8 (byte {line[error.start]:#04x})", "Deliver the file as UTF-8."
        raise BadHeader(place, cause, remedy) from error
    names = [name.strip().strip('"').strip() for name in text.rstrip("\r\n").split(",")]
    missing = [name for name in HEADER if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if missing or unknown or doubled:
        raise BadHeader(place, _what_is_wrong(missing, unknown, doubled), f"Expected {','.join(HEADER)} in any order.")
    return tuple(COLUMNS[name] for name in names)


def _what_is_wrong(missing: list[str], unknown: list[str], doubled: list[str]) -> str:
    parts = []
    if missing:
        parts.append(f"column {', '.join(missing)} is missing")
    for name in unknown:
        near = get_close_matches(name, missing or HEADER, n=1, cutoff=0.3)
        parts.append(f"column {name!r} is not known" + (f" (nearest: {near[0]})" if near else ""))
    if doubled:
        parts.append(f"column {', '.join(doubled)} appears twice")
    return "; ".join(parts)
