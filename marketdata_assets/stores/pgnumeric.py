"""One number in the wire format of Postgres' `numeric`, of any size. Columns of small ones are in `pgcopy`."""

BASE = 10_000
NEGATIVE = 0x4000


def numeric_bytes(units: int, scale: int) -> bytes:
    """`units` of the last of `scale` decimals. Source of the format: `numeric_send` of PostgreSQL."""
    behind = -(-scale // 4)
    rest = abs(units) * 10 ** (4 * behind - scale)
    digits: list[int] = []
    while rest:
        rest, digit = divmod(rest, BASE)
        digits.append(digit)
    weight = len(digits) - 1 - behind
    sign = NEGATIVE if units < 0 else 0
    head = (len(digits), weight & 0xFFFF if digits else 0, sign, scale)
    return b"".join(number.to_bytes(2) for number in (*head, *reversed(digits)))
