"""Generated alphas as the API sends them, about 4 KB each, their dates in US-Eastern time."""

import datetime as dt
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from marketdata_assets.alphas.layout import Kind

EASTERN = ZoneInfo("America/New_York")
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CHECKS = {
    "LOW_SHARPE": 1.25,
    "LOW_FITNESS": 1.0,
    "LOW_TURNOVER": 0.01,
    "HIGH_TURNOVER": 0.7,
    "LOW_SUB_UNIVERSE_SHARPE": 0.5,
    "LOW_2Y_SHARPE": 1.58,
}


@dataclass(frozen=True)
class Alpha:
    """One alpha in the server's store; `body` is what goes over the wire."""

    id: str
    kind: Kind
    created: dt.datetime
    body: bytes


def make(
    number: int, created: dt.datetime, kind: Kind = "regular", *, modified: dt.datetime | None = None, **fields: Any
) -> Alpha:
    """The alpha of this number; the same arguments give the same bytes. `fields` replace top-level ones."""
    chance = random.Random(f"{kind} {number}")
    name = alpha_id(number, kind)
    document = _document(name, created, modified or created + dt.timedelta(seconds=1), kind, chance) | fields
    return Alpha(name, kind, created, json.dumps(document, ensure_ascii=False).encode())


def spread(
    start: dt.datetime, end: dt.datetime, count: int, kind: Kind = "regular", *, first: int = 0
) -> Iterator[Alpha]:
    """`count` alphas numbered from `first`, evenly over [start, end), on whole seconds."""
    step = (end - start) / max(count, 1)
    for number in range(count):
        moment = (start + step * number).replace(microsecond=0)
        yield make(first + number, moment, kind)


def alpha_id(number: int, kind: Kind) -> str:
    """7 or 8 characters, as the API has both."""
    length = 7 + number % 2
    value = number * 2 + (kind == "super")
    text = ""
    for _ in range(length - 1):
        value, digit = divmod(value, len(LETTERS))
        text = LETTERS[digit] + text
    return "Ax"[number % 2] + text


def _document(
    name: str, created: dt.datetime, modified: dt.datetime, kind: Kind, chance: random.Random
) -> dict[str, Any]:
    sharpe = round(chance.uniform(-2, 4), 2)
    stated = _expressions(kind, chance)
    return {
        "id": name,
        "type": kind.upper(),
        "author": "XX00001",
        "settings": _settings(kind, chance),
        **stated,
        "dateCreated": created.astimezone(EASTERN).isoformat(),
        "dateSubmitted": None,
        "dateModified": modified.astimezone(EASTERN).isoformat(),
        "name": None,
        "favorite": False,
        "hidden": False,
        "color": chance.choice([None, "RED", "BLUE"]),
        "category": None,
        "tags": chance.sample(["value", "反转", "momentum", "test"], chance.randrange(3)),
        "classifications": [{"id": "DATA_USAGE:SINGLE_DATA_SET", "name": "Single Data Set Alpha"}],
        "grade": chance.choice(["INFERIOR", "AVERAGE", "GOOD"]) if kind == "regular" else None,
        "stage": "IS",
        "status": "UNSUBMITTED",
        "is": _statistics(sharpe, chance) | {"startDate": "2018-01-20", "checks": _checks(chance)},
        "os": None,
        "train": _statistics(sharpe, chance) | {"startDate": "2018-01-20"},
        "test": _statistics(sharpe, chance) | {"startDate": "2022-01-20"},
        "prod": None,
        "competitions": None,
        "themes": None,
        "pyramids": None,
        "pyramidThemes": None,
        "team": None,
    }


def _settings(kind: Kind, chance: random.Random) -> dict[str, Any]:
    more = {"selectionHandling": "POSITIVE", "selectionLimit": 100, "componentActivation": "IS"}
    return {
        "instrumentType": "EQUITY",
        "region": chance.choice(["USA", "EUR", "ASI", "CHN"]),
        "universe": "TOP3000",
        "delay": chance.randrange(2),
        "decay": chance.randrange(20),
        "neutralization": chance.choice(["SUBINDUSTRY", "MARKET"]),
        "truncation": 0.08,
        "pasteurization": "ON",
        "unitHandling": "VERIFY",
        "nanHandling": "ON",
        "maxTrade": "OFF",
        "language": "FASTEXPR",
        "visualization": False,
        "testPeriod": "P1Y",
        **(more if kind == "super" else {}),
    }


def _expressions(kind: Kind, chance: random.Random) -> dict[str, Any]:
    window = chance.randrange(2, 250)
    if kind == "super":
        return {
            "combo": {"code": "combo_a(alpha)", "description": None, "operatorCount": None},
            "selection": {"code": f"turnover>0.{window}", "description": None, "operatorCount": None},
        }
    parts = [f"ts_rank(rank(field_{chance.randrange(900)}/cap), {window})" for _ in range(chance.randrange(1, 20))]
    return {"regular": {"code": " + ".join(parts), "description": "说明", "operatorCount": 2 * len(parts)}}


def _statistics(sharpe: float, chance: random.Random) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "pnl": chance.randrange(-(10**7), 10**7),
        "bookSize": 20000000,
        "longCount": chance.randrange(2000),
        "shortCount": chance.randrange(2000),
        "turnover": round(chance.random(), 4),
        "returns": round(chance.uniform(-0.2, 0.4), 4),
        "drawdown": round(chance.random() / 2, 4),
        "margin": round(chance.random() / 1000, 6),
        "sharpe": sharpe,
        "fitness": round(sharpe / 2, 2),
    }
    return figures | {"investabilityConstrained": dict(figures), "riskNeutralized": dict(figures)}


def _checks(chance: random.Random) -> list[dict[str, Any]]:
    simple = [
        {
            "name": name,
            "result": chance.choice(["PASS", "FAIL"]),
            "limit": limit,
            "value": round(chance.uniform(0, 3), 2),
        }
        for name, limit in CHECKS.items()
    ]
    ladder = {"year": 2, "startDate": "2023-01-20", "endDate": "2021-01-21", "limit": 2.02, "value": 6.6}
    return [
        *simple,
        {"name": "CONCENTRATED_WEIGHT", "result": "PASS"},
        {"name": "SELF_CORRELATION", "result": "PENDING"},
        {"name": "IS_LADDER_SHARPE", "result": "PASS", **ladder},
        {"name": "MATCHES_COMPETITION", "result": "PASS", "competitions": [{"id": "challenge", "name": "Challenge"}]},
    ]
