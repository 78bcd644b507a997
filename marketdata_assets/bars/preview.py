"""What a load would make of a file of minute bars: its profile, its first rows as they would be stored, and what its
values say of units and labels. Nothing is written.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from marketdata_assets.bars import layout
from marketdata_assets.bars.layout import PRICES, is_table, year_of_unit
from marketdata_assets.bars.profiles import Shapes
from marketdata_assets.bars.rules import DAY, SCALE, Array, Bars, judge, remedy
from marketdata_assets.bars.sources import Source, opened
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import Delivered, Opener, Unit
from marketdata_assets.loading.rejects import Rejects

NEWEST = 2000  # bars that judge the units: prices adjusted forward are then nearest to the traded ones
MUCH_BELOW = 0.05  # of the price, is amount by volume in other units, whatever the adjustment
REASONS = 5  # listed


def of_file(file: Delivered, shapes: Shapes, rows: int) -> list[dict[str, Any]]:
    """JSON documents of a file, or of one member of each kind that a zip has: `files` are so many alike.

    `problems` say why nothing of it is loaded; `first` are the first `rows`.
    """
    if reason := layout.why_not_taken(file):
        return [{"files": 1, "place": file.name, "problems": [f"not taken: {reason}"]}]
    kinds: dict[str, list[Unit]] = {}
    with Opener() as opener:
        for unit in layout.units(file):
            try:
                with opened(opener, unit, shapes, any_kind=True) as source:
                    kind = source.match.name
            except LoadError as error:
                kind = str(error).replace(unit.place, "")
            kinds.setdefault(kind, []).append(unit)
        return [{"files": len(units), **_of(opener, units[0], shapes, rows)} for units in kinds.values()]


def _of(opener: Opener, unit: Unit, shapes: Shapes, rows: int) -> dict[str, Any]:
    rejects, bars = Rejects(), list[Bars]()
    try:
        with opened(opener, unit, shapes, any_kind=True) as source:
            for block in source.blocks(rejects):
                bars.append(source.labels.by_end(judge(block, rejects, year_of_unit(unit))))
    except LoadError as error:
        return {"place": unit.place, "problems": [str(error)]}
    problems = [source.problem] if source.problem else []
    year = year_of_unit(unit)
    for check in (lambda place: rejects.check_limit(place, remedy(rejects, year)), source.labels.check):
        try:
            check(unit.place)
        except LoadError as error:
            problems.append(str(error))
    return _facts(source, bars, rejects) | {"first": _first(bars, rows), "problems": problems}


def _facts(source: Source, bars: Sequence[Bars], rejects: Rejects) -> dict[str, Any]:
    match, labels = source.match, source.labels
    table, profile = match.table, match.profile
    times = np.concatenate([np.empty(0, np.int64), *(one.time for one in bars)]).astype("datetime64[us]")
    used, by_days = match.positions.values(), ", as its days say" if labels.found == labels.declared else ""
    return {
        "place": source.unit.place,
        "profile": match.name,
        "about": profile.about,
        "columns": {ours: table.header[place] or f"column {place + 1}" for ours, place in match.positions.items()},
        "not_read": [name for number, name in enumerate(table.header) if number not in used and name],
        "text": "" if is_table(source.unit.name) else f"{table.encoding}, cells between {table.delimiter!r}",
        "code": "its column" if "code" in match.positions else f"{source.code}, from its name",
        "codes": sorted({one.codes[code] for one in bars for code in np.unique(one.code).tolist()}),
        "units": f"volume in {profile.volume}, amount in {profile.amount}: {_units(bars, match.name)}",
        "label": f"{labels.declared} of the minute{by_days}",
        "adjustment": f"{match.adjustment}, as {match.said.get('adjustment', f'its profile {match.name} says')}",
        "months": [str(month) for month in np.unique(times.astype("datetime64[M]"))],
        "read": rejects.rows,
        "rejected": len(rejects),
        "reasons": [f"line {line}: {why}" for line, why in sorted(rejects.reasons.items())[:REASONS]],
    }


def _first(bars: Sequence[Bars], rows: int) -> list[dict[str, Any]]:
    """The first bars as the table would have them."""
    found: list[dict[str, Any]] = []
    for one in bars:
        for row in range(min(len(one), rows - len(found))):
            code = one.codes[one.code if isinstance(one.code, int) else one.code[row]]
            values = {name: one.scaled[name][row] / SCALE for name in PRICES}
            values |= {"volume": int(one.volume[row]), "amount": one.scaled["amount"][row] / SCALE}
            values |= {name: None for name, null in one.null.items() if name in values and null[row]}
            found.append({"time": str(one.time[row].astype("datetime64[us]"))[:19], "code": code} | values)
    return found


def _units(bars: Sequence[Bars], profile: str) -> str:
    """What amount by volume says of the units."""
    priced = np.hstack([np.empty((5, 0)), *map(_priced, bars)])
    low, high, price, off, time = priced[:, np.argsort(priced[4])[-NEWEST:]]
    if not len(price):
        return "no bar says whether they are"
    inside = float(np.mean((price + off >= low) & (price - off <= high)))
    ratios = price / ((low + high) / 2)
    ratio, day = float(np.median(ratios)), time // DAY
    by_day = [float(np.median(ratios[day == one])) for one in np.unique(day)]
    if 0 < sum(wrong := [one <= MUCH_BELOW for one in by_day]) < len(by_day):
        return f"amount by volume is no price on {sum(wrong)} of the newest {len(by_day)} days: convert these alone"
    if inside > 0.5:
        return f"amount by volume is within low and high in {inside:.0%} of the newest bars"
    seems = "as of bars that were adjusted for dividends since"
    if ratio <= MUCH_BELOW:
        remedy = "volume: shares" if ratio >= 0.005 else "amount: thousands"
        seems = f"so the unit seems to be another one; write {profile}: {{{remedy}}}"
    elif ratio >= 50:
        seems = f"so volume seems to be in lots; write {profile}: {{volume: lots}}"
    return f"amount by volume is {ratio:.4g} times the price, {seems}"


def _priced(bars: Bars) -> Array:
    """Low, high, average price, how far it may be off as volume is in whole lots, and time, of bars with trades."""
    traded = (bars.volume > 0) & (bars.scaled["amount"] > 0) & (bars.scaled["low"] > 0)
    low, high, amount = (bars.scaled[name][traded] / SCALE for name in ("low", "high", "amount"))
    price = amount / bars.volume[traded] / 100
    return np.stack([low, high, price, price * 0.5 / bars.volume[traded] + 0.01, bars.time[traded]])
