"""Invented alphas in the API's shape, and archives of them in the old tool's layouts, for demo, tests and benchmarks.

Nothing here comes from an account: expressions are operators and fields put together at random, figures are drawn.
Equal arguments give equal alphas and equal files.
"""

import datetime as dt
import hashlib
import json
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.layout import Kind, Window, month_window
from marketdata_assets.alphas.raw_files import BRAIN_TIME, instant

Document = dict[str, Any]

UNIVERSES = {
    "USA": ("TOP3000", "TOP1000", "TOP500"),
    "EUR": ("TOP2500", "TOP1200"),
    "ASI": ("MINVOL1M",),
    "CHN": ("TOP2000U",),
    "GLB": ("TOP3000", "MINVOL1M"),
}
NEUTRALIZATIONS = ("SUBINDUSTRY", "INDUSTRY", "SECTOR", "MARKET", "NONE")
FIELDS = ("close", "open", "high", "low", "volume", "vwap", "returns", "cap", "adv20", "sales", "assets", "cashflow")
SERIES = ("ts_mean", "ts_rank", "ts_delta", "ts_std_dev", "ts_zscore", "ts_decay_linear", "ts_sum", "ts_delay")
CROSS = ("rank", "zscore", "scale", "normalize", "sign", "abs", "inverse")
GROUPS = ("subindustry", "industry", "sector", "market")
TAGS = ("momentum", "reversal", "value", "to review", "批次一", "high turnover")
LETTERS = string.ascii_letters + string.digits
BAD_ELEMENT = {"detail": "Not found."}
"""What an archive of real life has among its alphas now and then: an answer of the API that is none."""


def alphas(account: str, kind: Kind, month: str, count: int, seed: int = 7) -> Iterator[Document]:
    """`count` alphas of about 4 KB with dateCreated in the UTC month, the oldest first."""
    random = Random(f"{seed}/{account}/{kind}/{month}")
    window = month_window(month)
    seconds = int(window.length.total_seconds())
    author = f"EX{random.randrange(10_000, 100_000)}"
    ids: set[str] = set()
    for offset in sorted(random.sample(range(seconds), count)):
        while (name := "".join(random.choices(LETTERS, k=random.choice((7, 8))))) in ids:
            pass
        ids.add(name)
        yield _alpha(random, kind, name, author, window.start + dt.timedelta(seconds=offset))


def modified(alpha: Document, random: Random) -> Document:
    """A newer version: something of it was edited hours later."""
    moment = instant(alpha["dateModified"])
    assert moment
    later = _brain_time(moment + dt.timedelta(minutes=random.randrange(60, 6000)))
    edits: tuple[Document, ...] = (
        {"name": f"idea {random.randrange(1000)}", "favorite": True},
        {"color": random.choice(("RED", "YELLOW", "GREEN", "BLUE", "PURPLE"))},
        {"tags": sorted({*alpha["tags"], "checked again"})},
    )
    return {**alpha, **random.choice(edits), "dateModified": later}


@dataclass(frozen=True)
class Archive:
    """What `write_archive` put on disk."""

    alphas: int  # different ids
    again: int  # elements that repeat an alpha, some of them newer
    rejects: int  # elements that are no alpha
    files: int


def write_archive(
    root: Path,
    account: str,
    months: Sequence[str] = ("2024-10", "2024-11", "2024-12"),
    regular: int = 40,
    superalphas: int = 8,
    seed: int = 7,
    hours: int = 24,
) -> Archive:
    """Write an account's archive: the first of `months` a file an alpha, the others slices of `hours` each.

    The last ten days of a month in slices are there once more in one slice, in which every third alpha is newer; that
    of the last month has a bad element. Files that are there with the same bytes are left alone.
    """
    found = repeats = rejects = files = 0
    for kind, count in (("regular", regular), ("super", superalphas)):
        assert kind in layout.KINDS
        for month in months:
            documents = list(alphas(account, kind, month, count, seed))
            found += len(documents)
            if month == months[0]:
                files += sum(_write_single(root, account, kind, month, document) for document in documents)
                continue
            bad = [BAD_ELEMENT] if month == months[-1] and kind == "regular" else []
            rejects += len(bad)
            files += _write_slices(root, account, kind, month, documents, hours)
            late = _last_days(month)
            again = _fetched_again(documents, late.start, Random(f"{seed}/{account}/{kind}/{month}"))
            repeats += len(again)
            files += _write(layout.slice_path(root, account, kind, late), again + bad, None)
    return Archive(found, repeats, rejects, files)


def _last_days(month: str) -> Window:
    end = month_window(month).end
    return Window(end - dt.timedelta(days=10), end)


def _fetched_again(documents: list[Document], start: dt.datetime, random: Random) -> list[Document]:
    late = [document for document in documents if _created(document) >= start]
    return [document if n % 3 else modified(document, random) for n, document in enumerate(late)]


def _write_slices(root: Path, account: str, kind: Kind, month: str, documents: list[Document], hours: int) -> int:
    window, step = month_window(month), dt.timedelta(hours=hours)
    count = -(-window.length // step)
    slices: list[list[Document]] = [[] for _ in range(count)]
    for document in documents:
        slices[(_created(document) - window.start) // step].append(document)
    for number, part in enumerate(slices):
        start = window.start + number * step
        _write(layout.slice_path(root, account, kind, Window(start, min(start + step, window.end))), part, None)
    return count


def _write_single(root: Path, account: str, kind: Kind, month: str, document: Document) -> int:
    created = _created(document)
    hour = created.replace(minute=0, second=0)
    span = layout.slice_path(root, account, kind, Window(hour, hour + dt.timedelta(hours=1))).name
    digest = hashlib.md5(document["id"].encode(), usedforsecurity=False).hexdigest()[:12]
    name = span.replace(f"_all_{kind}_alphas.json", f"_{kind}_alpha_{document['author']}_{document['id']}_{digest}")
    day = layout.singles_folder(root, account, kind, month) / f"{account}_{created:%Y-%m-%d}_all_{kind}_alphas"
    return _write(day / f"{name}.json", document, 2)


def _write(path: Path, content: Any, indent: int | None) -> int:
    data = json.dumps(content, ensure_ascii=False, indent=indent).encode()
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(data)
        partial.replace(path)
    return 1


def _alpha(random: Random, kind: Kind, name: str, author: str, created: dt.datetime) -> Document:
    region = random.choice(list(UNIVERSES))
    submitted = created + dt.timedelta(days=random.randrange(1, 9)) if random.random() < 0.1 else None
    touched = submitted or created + dt.timedelta(seconds=random.randrange(1, 90))
    stats = _stats(random)
    return {
        "id": name,
        "type": kind.upper(),
        "author": author,
        "settings": _settings(random, kind, region),
        **_code(random, kind),
        "dateCreated": _brain_time(created),
        "dateSubmitted": submitted and _brain_time(submitted),
        "dateModified": _brain_time(touched),
        "name": random.choice((None, None, f"idea {random.randrange(1000)}")),
        "favorite": random.random() < 0.1,
        "hidden": False,
        "color": random.choice((None, None, None, "RED", "GREEN")),
        "category": random.choice((None, None, "PRICE_REVERSION", "FUNDAMENTAL")),
        "tags": random.sample(TAGS, random.choice((0, 0, 1, 2))),
        "classifications": random.choice(
            ([], [{"id": "DATA_USAGE:SINGLE_DATA_SET", "name": "Single Data Set Alpha"}]),
        ),
        "grade": random.choice((None, "INFERIOR", "AVERAGE", "GOOD", "EXCELLENT")),
        "stage": "OS" if submitted else "IS",
        "status": "ACTIVE" if submitted else "UNSUBMITTED",
        "is": {**stats, "startDate": "2019-01-20", "checks": _checks(random, kind, stats)},
        "os": {"startDate": f"{submitted:%Y-%m-%d}", "sharpe": None, "checks": []} if submitted else None,
        "train": None,
        "test": None,
        "prod": None,
        "competitions": [{"id": "example-cup", "name": "Example Cup"}] if submitted else None,
        "themes": random.choice((None, None, [{"id": "TH1", "name": f"{region} example theme", "multiplier": 2.0}])),
        "pyramids": random.choice((None, [{"name": f"{region}/D1/PV", "multiplier": 1.2}])),
        "pyramidThemes": None,
        "team": None,
    }


def _settings(random: Random, kind: Kind, region: str) -> Document:
    settings: Document = {
        "instrumentType": "EQUITY",
        "region": region,
        "universe": random.choice(UNIVERSES[region]),
        "delay": random.choice((0, 1, 1, 1)),
        "decay": random.randrange(0, 21),
        "neutralization": random.choice(NEUTRALIZATIONS),
        "truncation": random.choice((0.01, 0.05, 0.08)),
        "pasteurization": "ON",
        "unitHandling": "VERIFY",
        "nanHandling": random.choice(("ON", "OFF")),
    }
    if kind == "super":
        settings |= {"selectionHandling": "POSITIVE", "selectionLimit": random.choice((10, 50, 100))}
    return settings | {"maxTrade": "OFF", "language": "FASTEXPR", "visualization": False}


def _code(random: Random, kind: Kind) -> Document:
    lines = [f"part_{n} = {_expression(random)};" for n in range(random.randrange(20, 34))]
    last = " + ".join(f"part_{n}" for n in range(len(lines)))
    code = "\n".join([*lines, f"group_neutralize({last}, {random.choice(GROUPS)})"])
    if kind == "regular":
        return {"regular": {"code": code, "description": None, "operatorCount": code.count("(")}}
    limits = f"turnover < {random.uniform(0.1, 0.6):.2f} && long_count > {random.randrange(100, 900)}"
    return {
        "combo": {"code": code.replace("volume", "alpha"), "description": None, "operatorCount": None},
        "selection": {"code": f"({limits})", "description": None, "operatorCount": None},
    }


def _expression(random: Random) -> str:
    inner = f"{random.choice(FIELDS)} / {random.choice(FIELDS)}"
    series = f"{random.choice(SERIES)}({inner}, {random.choice((5, 10, 20, 60, 120, 250))})"
    weight = f"{random.uniform(-1, 1):.3f}"
    return f"{weight} * {random.choice(CROSS)}(group_rank({series}, {random.choice(GROUPS)}))"


def _stats(random: Random) -> Document:
    sharpe, turnover = random.gauss(1.0, 0.8), random.betavariate(2, 5)
    returns = sharpe * random.uniform(0.03, 0.09)
    return {
        "pnl": round(returns * 50_000_000),
        "bookSize": 20_000_000,
        "longCount": random.randrange(200, 1700),
        "shortCount": random.randrange(200, 1700),
        "turnover": round(turnover, 4),
        "returns": round(returns, 4),
        "drawdown": round(random.betavariate(2, 12), 4),
        "margin": round(returns / max(turnover, 0.01) / 250, 6),
        "sharpe": round(sharpe, 2),
        "fitness": round(sharpe * (abs(returns) / max(turnover, 0.125)) ** 0.5, 2),
    }


def _checks(random: Random, kind: Kind, stats: Document) -> list[Document]:
    sub = round(stats["sharpe"] * random.uniform(0.2, 0.9), 2)
    checks: list[Document] = [
        _check("LOW_SHARPE", 1.25, stats["sharpe"], stats["sharpe"] >= 1.25),
        _check("LOW_FITNESS", 1.0, stats["fitness"], stats["fitness"] >= 1.0),
        _check("LOW_TURNOVER", 0.01, stats["turnover"], stats["turnover"] >= 0.01),
        _check("HIGH_TURNOVER", 0.7, stats["turnover"], stats["turnover"] <= 0.7),
        {"name": "CONCENTRATED_WEIGHT", "result": random.choice(("PASS", "PASS", "WARNING"))},
        _check("LOW_SUB_UNIVERSE_SHARPE", 0.5, sub, sub >= 0.5),
        {"name": "SELF_CORRELATION", "result": "PENDING"},
    ]
    if kind == "super":
        ladder = {"year": 2, "startDate": "2023-01-20", "endDate": "2021-01-21"}
        result = "PASS" if sub >= 2.02 else "FAIL"
        checks.append({"name": "IS_LADDER_SHARPE", "result": result, **ladder, "limit": 2.02, "value": sub})
    cups = [{"id": "example-cup", "name": "Example Cup"}, {"id": "example-league", "name": "Example League"}]
    checks.append({"name": "MATCHES_COMPETITION", "result": "PASS", "competitions": cups[: random.randrange(1, 3)]})
    return checks


def _check(name: str, limit: float, value: float, passed: bool) -> Document:
    return {"name": name, "result": "PASS" if passed else "FAIL", "limit": limit, "value": value}


def _created(document: Document) -> dt.datetime:
    created = instant(document["dateCreated"])
    assert created
    return created


def _brain_time(moment: dt.datetime) -> str:
    return moment.astimezone(BRAIN_TIME).isoformat(timespec="seconds")
