"""Which alphas: by status, region, universe, delay, type, date of submission and figures.

The same filters choose alphas of the API's list and of MongoDB. The API takes an operator as part of a parameter's name
and several values with the unit separator between them:

    &status=ACTIVE%1FDECOMMISSIONED&settings.region=USA&settings.delay=1&dateSubmitted%3E=2024-11-01T00:00:00.000Z
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from marketdata_assets.alphas.errors import BadOptions
from marketdata_assets.alphas.layout import KINDS, Kind, stamp

_SEPARATOR = "%1F"
POWER_POOL = "POWER_POOL:POWER_POOL_ELIGIBLE"
"""The classification of alphas of the power pool."""
_LISTS = {"status": "status", "region": "settings.region", "universe": "settings.universe", "delay": "settings.delay"}
_OF_DOCUMENTS = _LISTS | {"classification": "classifications.id"}
_BOUNDS = {
    "min_sharpe": ("is.sharpe", ">="),
    "min_fitness": ("is.fitness", ">="),
    "max_turnover": ("is.turnover", "<="),
}
_SIGNS = {">=": "$gte", "<=": "$lte", "<": "$lt"}


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All conditions must hold; an empty one always does. Days are UTC, the last one is included."""

    type: tuple[Kind, ...] = ()
    status: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    universe: tuple[str, ...] = ()
    delay: tuple[int, ...] = ()
    classification: tuple[str, ...] = ()
    submitted_from: dt.date | None = None
    submitted_to: dt.date | None = None
    min_sharpe: float | None = None
    min_fitness: float | None = None
    max_turnover: float | None = None

    def __post_init__(self) -> None:
        if self.submitted_from and self.submitted_to and self.submitted_to < self.submitted_from:
            raise BadOptions(f"submitted_to {self.submitted_to} is before submitted_from {self.submitted_from}")
        for name in ("status", "region", "universe"):
            for value in getattr(self, name):
                if not value.replace("_", "").replace("-", "").isalnum():
                    raise BadOptions(f"{name} {value!r}: use letters, digits, _ and -")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return self.type or KINDS

    def condition(self) -> dict[str, Any]:
        """The condition for documents of MongoDB, but for the kind, which is a database."""
        found: dict[str, Any] = {
            path: {"$in": list(values)} for name, path in _OF_DOCUMENTS.items() if (values := getattr(self, name))
        }
        for path, sign, value in self._bounds():
            found.setdefault(path, {})[_SIGNS[sign]] = value
        return found

    def query(self) -> str:
        """The parameters for the API's list, each with a leading `&`, but for the type. Raises BadOptions."""
        if self.classification:
            raise BadOptions("classification: BRAIN's list has no such filter; it chooses alphas of MongoDB only")
        parts = [
            f"{path}={_SEPARATOR.join(map(str, values))}"
            for name, path in _LISTS.items()
            if (values := getattr(self, name))
        ]
        for path, sign, value in self._bounds():
            text = stamp(value) if isinstance(value, dt.datetime) else f"{value!r}"
            parts.append(f"{path}{sign.replace('>', '%3E').replace('<', '%3C')}{text}")
        return "".join(f"&{part}" for part in parts)

    def _bounds(self) -> list[tuple[str, str, Any]]:
        found: list[tuple[str, str, Any]] = []
        if self.submitted_from:
            found.append(("dateSubmitted", ">=", _midnight(self.submitted_from)))
        if self.submitted_to:
            found.append(("dateSubmitted", "<", _midnight(self.submitted_to) + dt.timedelta(days=1)))
        bounds = ((path, sign, getattr(self, name)) for name, (path, sign) in _BOUNDS.items())
        return found + [bound for bound in bounds if bound[2] is not None]


EVERY = Filters()
SUBMITTED = Filters(status=("ACTIVE",))
POWER_POOL_ALPHAS = Filters(status=("ACTIVE",), classification=(POWER_POOL,))


def parse(options: Mapping[str, Any]) -> Filters:
    """The filters of a setting or of run config. Raises BadOptions."""
    try:
        return msgspec.convert(options, Filters)
    except msgspec.ValidationError as error:
        known = ", ".join(Filters.__struct_fields__)
        raise BadOptions(f"filters of alphas {options}: {error}; there are {known}") from error


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
