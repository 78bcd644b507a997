"""What a load would make of a file of minute bars: its profile, its first rows as they would be stored, and what its
values say of units and labels. Nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marketdata_assets.bars.layout import PRICES, is_table, year_of_unit
from marketdata_assets.bars.profiles import Shapes
from marketdata_assets.bars.rules import SCALE, Array, Bars, judge
from marketdata_assets.bars.sources import Source, opened
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.rejects import Rejects

NEWEST = 2000
"""So many of the newest bars judge the units: prices adjusted forward are then nearest to the traded ones."""
LISTED = 5


@dataclass(frozen=True)
class Preview:
    """One file, or member of a zip. `problems` say why nothing of it is loaded; then other fields may be empty."""

    place: str
    profile: str = ""
    about: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    not_read: Sequence[str] = ()
    code: str = ""
    """Where codes come from."""
    text: str = ""
    """Encoding and delimiter."""
    label: str = ""
    units: str = ""
    adjustment: str = ""
    rows: int = 0
    rejected: int = 0
    reasons: Sequence[str] = ()
    months: Sequence[str] = ()
    codes: Sequence[str] = ()
    first: Sequence[Mapping[str, Any]] = ()
    problems: Sequence[str] = ()


def kinds(opener: Opener, units: Sequence[Unit], shapes: Shapes) -> dict[str, list[Unit]]:
    """The units by the name of their profile, or by why none fits: those of a zip are few kinds."""
    found: dict[str, list[Unit]] = {}
    for unit in units:
        try:
            with opened(opener, unit, shapes, any_kind=True) as source:
                kind = source.match.name
        except LoadError as error:
            kind = str(error).replace(unit.place, "")
        found.setdefault(kind, []).append(unit)
    return found


def of(opener: Opener, unit: Unit, shapes: Shapes, rows: int) -> Preview:
    """The preview of a unit with its first `rows`, for which all of it is read."""
    rejects, bars = Rejects(), list[Bars]()
    try:
        with opened(opener, unit, shapes, any_kind=True) as source:
            for block in source.blocks(rejects):
                bars.append(source.labels.by_end(judge(block, rejects, year_of_unit(unit))))
        problems = [text for text in (source.problem, _raised(rejects.check_limit, unit.place)) if text]
        problems += [text for text in (_raised(source.labels.check, unit.place),) if text]
    except LoadError as error:
        return Preview(unit.place, problems=(str(error),))
    return _preview(source, bars, rejects, rows, problems)


def _preview(source: Source, bars: Sequence[Bars], rejects: Rejects, rows: int, problems: Sequence[str]) -> Preview:
    match, profile = source.match, source.match.profile
    times = np.concatenate([np.empty(0, np.int64), *(one.time for one in bars)])
    months = np.unique(times.astype("datetime64[us]").astype("datetime64[M]"))
    codes = sorted({one.codes[code] for one in bars for code in np.unique(one.code).tolist()})
    said = source.labels.found
    by_days = f", as its days {'say' if said == source.labels.declared else 'do not say'}" if said else ""
    return Preview(
        place=source.unit.place,
        profile=match.name,
        about=profile.about,
        columns={ours: match.header[place] or f"column {place + 1}" for ours, place in match.positions.items()},
        not_read=match.not_read,
        code="its column" if "code" in match.positions else f"{source.code}, from its name",
        text="typed columns" if is_table(source.unit.name) else f"{match.encoding}, cells between {match.delimiter!r}",
        label=f"{source.labels.declared} of the minute{by_days}",
        units=f"volume in {profile.volume}, amount in {profile.amount}: {_units(bars, match.name)}",
        adjustment=f"{match.adjustment}, as {match.said.get('adjustment', 'its profile says')}",
        rows=rejects.rows,
        rejected=len(rejects),
        reasons=[f"line {line}: {reason}" for line, reason in sorted(rejects.reasons.items())[:LISTED]],
        months=[str(month) for month in months],
        codes=codes,
        first=_first(bars, rows),
        problems=problems,
    )


def _raised(check: Any, place: str) -> str:
    try:
        check(place)
    except LoadError as error:
        return str(error)
    return ""


def _first(bars: Sequence[Bars], rows: int) -> list[dict[str, Any]]:
    """The first bars as the table would have them."""
    found: list[dict[str, Any]] = []
    for block in bars:
        one = block.take(np.arange(min(len(block), rows - len(found))))
        for row in range(len(one)):
            values = {name: one.scaled[name][row] / SCALE for name in (*PRICES, "amount")} | {
                "volume": int(one.volume[row])
            }
            code = one.code if isinstance(one.code, int) else int(one.code[row])
            shown = {
                name: None if name in one.null and one.null[name][row] else value for name, value in values.items()
            }
            found.append(
                {
                    "time": str(one.time[row].astype("datetime64[us]").astype("datetime64[s]")),
                    "code": one.codes[code],
                    **shown,
                }
            )
    return found


def _units(bars: Sequence[Bars], profile: str) -> str:
    """What amount by volume says of the units."""
    low, high, price, off, time = (
        np.concatenate([np.empty(0), *parts]) for parts in zip(*map(_priced, bars), strict=True)
    )
    newest = np.argsort(time)[-NEWEST:]
    if not len(newest):
        return "no bar says whether they are"
    low, high, price, off = low[newest], high[newest], price[newest], off[newest]
    inside = float(np.mean((price + off >= low) & (price - off <= high)))
    ratio = float(np.median(price / ((low + high) / 2)))
    if inside > 0.5:
        return f"amount by volume is within low and high in {inside:.0%} of the newest bars"
    what = f"amount by volume is {ratio:.4g} times the price"
    if 0.005 <= ratio <= 0.05:
        return f"{what}: volume seems to be in shares; write {profile}: {{volume: shares}}"
    if ratio < 0.005:
        return f"{what}: amount seems to be in thousands of yuan; write {profile}: {{amount: thousands}}"
    if ratio >= 50:
        return f"{what}: volume seems to be in lots; write {profile}: {{volume: lots}}"
    return f"{what}, as of bars that were adjusted for dividends since"


def _priced(bars: Bars) -> tuple[Array, Array, Array, Array, Array]:
    """Low, high, average price, how far it may be off as volume is in whole lots, and time, of bars with trades."""
    traded = (bars.volume > 0) & (bars.scaled["amount"] > 0) & (bars.scaled["low"] > 0)
    low, high, amount = (bars.scaled[name][traded] / SCALE for name in ("low", "high", "amount"))
    price = amount / bars.volume[traded] / 100
    return low, high, price, price * 0.5 / bars.volume[traded] + 0.01, bars.time[traded]
