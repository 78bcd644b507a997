"""Whatever records go in: out come the same decimals, times and levels, or the record is kept aside and not in."""

import re
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any, get_args

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.decimals import is_decimal
from marketdata_assets.exchanges.records import TradeFlag
from marketdata_assets.exchanges.tables import rows, schema
from marketdata_assets.exchanges.tables.schema import Table
from tests.examples import FEW

LAST = 2**63 - 1
names = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ids = st.integers(-(2**63), LAST)
times = st.integers(0, 2**62)
DAY = 86_400 * 10**9
of_two_days = st.integers(0, 2 * DAY - 1).map(lambda ns: 20_000 * DAY + ns)
PARTED = {"ts_event", "ts_recv", "open_time", "ts_from"}


@st.composite
def fitting(draw: st.DrawFn) -> str:
    """Decimals that fit, in all spellings that venues have."""
    digits = draw(st.text("0123456789", min_size=1, max_size=20))
    behind = draw(st.text("0123456789", max_size=18))
    sign = draw(st.sampled_from(["", "-"]))
    text = f"{sign}{digits}.{behind}" if behind else f"{sign}{digits}"
    if draw(st.booleans()) or len(digits) + len(behind) > 15:
        return text
    return f"{sign}{digits[:3]}{draw(st.sampled_from('eE'))}{draw(st.integers(-15, 17))}"


anything = st.one_of(
    fitting(),
    st.text("0123456789.eE+-", max_size=45),
    st.sampled_from(["", "nan", "Infinity", " 1", "1 ", "1_0", "0x1", "１", "1e99999", "0." + "0" * 30, "1" * 38]),
)


def field(name: str, kind: Any, decimals: st.SearchStrategy[str], table: Table) -> st.SearchStrategy[Any]:
    if name in table.decimals:
        return decimals | st.none() if type(None) in get_args(kind) else decimals
    if name == "exchange":
        return st.sampled_from(venues.names())
    if name == "flags":
        return st.lists(st.sampled_from(get_args(TradeFlag)), max_size=2).map(tuple)
    if name in ("bids", "asks"):
        return st.lists(st.tuples(decimals, decimals), max_size=4).map(tuple)
    if type(None) in get_args(kind):
        return st.none() | field(name, next(one for one in get_args(kind) if one is not type(None)), decimals, table)
    if kind is int:
        if name in PARTED:
            return of_two_days
        return times if re.search(r"^ts_|_time$|_at$", name) else ids
    if kind is bool:
        return st.booleans()
    return st.sampled_from(get_args(kind)) if get_args(kind) else names


def records(table: Table, decimals: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    made = {
        one.encode_name: field(one.encode_name, one.type, decimals, table)
        for one in msgspec.structs.fields(table.record)
    }
    return st.builds(table.record, **made)


def fits(text: str) -> bool:
    """Whether a column has exactly this number."""
    if not is_decimal(text):
        return False
    number = Decimal(text)
    return abs(number) < 10**20 and (number * 10**18) % 1 == 0


def above_0(table: Table, record: Any) -> bool:
    return all(text is None or Decimal(text) > 0 for text in (getattr(record, name) for name in table.positive))


def texts(table: Table, record: Any) -> Iterator[str]:
    for name in table.decimals:
        if getattr(record, name) is not None:
            yield getattr(record, name)
    for name in ("bids", "asks"):
        for level in getattr(record, name, ()):
            yield from level


def exact(table: Table, name: str, value: Any) -> Any:
    if name in table.decimals:
        return None if value is None else Decimal(value)
    if name in ("bids", "asks"):
        return [[Decimal(text) for text in level] for level in value]
    return list(value) if name == "flags" else value


def stored(client: Client, table: Table) -> dict[str, dict[str, Any]]:
    """Rows by instrument, numbers exactly as they stand there."""
    quoting = {"output_format_json_quote_decimals": 1, "output_format_json_quote_64bit_integers": 0}
    sql = f"SELECT {', '.join(table.columns)} FROM {table.name} FINAL"
    pairs = {"output_format_json_named_tuples_as_objects": 0, **schema.FINAL_SETTINGS}
    found = client.raw_query(sql, fmt="JSONEachRow", settings=quoting | pairs)
    return {row["instrument"]: row for row in map(msgspec.json.decode, found.splitlines())}


@pytest.mark.parametrize("table", schema.TABLES.values(), ids=lambda table: table.type)
@FEW
@given(data=st.data())
def test_what_goes_in_comes_out_or_is_kept_aside(client: Client, table: Table, data: st.DataObject) -> None:
    made = data.draw(st.lists(records(table, fitting()) | records(table, anything), min_size=1, max_size=12))
    made = [msgspec.structs.replace(one, instrument=str(number)) for number, one in enumerate(made)]
    client.command(f"TRUNCATE TABLE {table.name}")
    client.command(f"TRUNCATE TABLE {schema.REJECTS}")
    payloads = [msgspec.json.encode(one) for one in made]
    inserted = rows.insert_json(client, table.type, payloads)
    there = stored(client, table)
    with localcontext(prec=100, Emax=10**6, Emin=-(10**6)):
        whole = [one for one in made if all(map(fits, texts(table, one))) and above_0(table, one)]
        assert sorted(there) == sorted(one.instrument for one in whole)
        for one in whole:
            row = there[one.instrument]
            for name in table.columns:
                assert exact(table, name, row[name]) == exact(table, name, msgspec.to_builtins(getattr(one, name)))
    refused = sorted(payload for one, payload in zip(made, payloads, strict=True) if one not in whole)
    assert sorted(one.raw for one in inserted.rejects) == refused
    kept = client.query(f"SELECT raw FROM {schema.REJECTS} FINAL").result_rows
    assert sorted(raw.encode() for (raw,) in kept) == refused
