"""What alphas are made of: operators, and data sets and fields by region, delay and universe, as BRAIN lists them.

    GET /operators
    [{"name": "ts_rank", "category": "Time Series", "scope": ["REGULAR"], "definition": "ts_rank(x, d)", ...}, ...]
    GET /data-fields?instrumentType=EQUITY&region=USA&delay=1&universe=TOP3000&dataset.id=pv1&limit=50&offset=0
    {"count": 24, "results": [{"id": "close", "type": "MATRIX", "dataset": {"id": "pv1", ...}, ...}, ...]}

Fetching is in `fetch_catalogues`.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

CODE_VERSION = "catalogues-1"
PAGE = 50
"""The most entries that the API puts on one page."""
MARKET = ("instrumentType", "region", "delay", "universe")
EVERYWHERE = "all"

Name = Literal["operators", "data_sets", "data_fields"]
NAMES: tuple[Name, ...] = get_args(Name)
Document = dict[str, Any]


@dataclass(frozen=True)
class Catalogue:
    """Where a catalogue is listed, and the field that names an entry; `per` data set where that is a parameter."""

    path: str
    key: str = "id"
    by_market: bool = True
    per: str = ""


CATALOGUES: dict[Name, Catalogue] = {
    "operators": Catalogue("/operators", "name", by_market=False),
    "data_sets": Catalogue("/data-sets"),
    "data_fields": Catalogue("/data-fields", per="dataset.id"),
}


def asset_name(name: Name) -> str:
    """The asset of a catalogue, and its database where MARKETDATA_MONGO_DATABASES has no other name."""
    return f"brain_{name}"


def unit_of(market: Document) -> str:
    """The unit of the ledger: EQUITY/USA/1/TOP3000, or `all` for a catalogue without markets."""
    return "/".join(str(market[name]) for name in MARKET) if market else EVERYWHERE
