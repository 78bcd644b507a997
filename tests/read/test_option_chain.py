"""Option chains at an instant against a merge in plain Python."""

import datetime as dt
import json
import random
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from marketdata_assets import read
from marketdata_assets.cli import app
from marketdata_assets.exchanges.records import OpenInterest, Ticker
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.exchanges.tables.schema import TABLES
from marketdata_assets.read.errors import UnknownName

NS = 1_000_000_000
AT = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
NOW = int(AT.timestamp()) * NS
NAMES = ["BTC-260109-90000-C", "BTC-260109-90000-P", "BTC-260327-100000-C", "BTC-260109-2.5-P", "ETH-260109-3000-C"]
FIELDS: dict[str, tuple[str, ...]] = {
    "quote": ("bid", "bid_size", "ask", "ask_size"),
    "last": ("last",),
    "mark": ("mark_price",),
    "index": ("index_price",),
    "underlying": ("underlying_price",),
    "volatility": ("bid_iv", "ask_iv", "mark_iv"),
    "greeks": ("delta", "gamma", "vega", "theta", "rho"),
}
"""By part; of an optional field a record has a value or none."""


@pytest.fixture
def client(made_tables: Client) -> Client:
    for kind in ("ticker", "open_interest"):
        made_tables.command(f"TRUNCATE TABLE {TABLES[kind].name}")
    return made_tables


def head(name: str, quote: str = "USD", exchange: str = "okx") -> tuple[Any, ...]:
    base, _, rest = name.partition("-")
    return exchange, "option", f"{base}-{quote}-{rest}", name


def ticker(name: str, at: int, **values: str | None) -> Ticker:
    return Ticker(*head(name), at, at + 5, **values)


def chain(client: Client, at: Any = AT, underlying: str = "BTC", **options: Any) -> pl.DataFrame:
    return read.option_chain("okx", underlying, at, connection=client, **options)


def test_each_part_is_that_of_the_newest_record_that_says_it(client: Client) -> None:
    rng = random.Random(11)
    told: list[Ticker] = []
    for _ in range(600):
        part = rng.choice([*FIELDS])
        some = [name for name in FIELDS[part] if rng.random() < 0.7]
        leading = FIELDS[part][0]
        values: dict[str, Any] = {name: f"{rng.randrange(1, 9999)}.25" for name in {leading, *some}}
        told.append(ticker(rng.choice(NAMES), NOW - rng.randrange(-3600, 86_400) * NS - rng.randrange(NS), **values))
    insert_records(client, told)
    found = {row["instrument"]: row for row in chain(client).iter_rows(named=True)}
    assert set(found) == {one.instrument for one in told if one.ts_event and one.ts_event <= NOW} - {NAMES[4]}
    for name, row in found.items():
        own = [one for one in told if one.instrument == name and one.ts_event and one.ts_event <= NOW]
        for part, names in FIELDS.items():
            saying = [
                one for one in own if any(getattr(one, field) is not None for field in names if "size" not in field)
            ]
            newest = max(saying, key=lambda one: one.ts_event or 0) if saying else None
            for field in names:
                text = getattr(newest, field) if newest else None
                assert row[field] == (None if text is None else Decimal(text)), (name, field)
            moment = row[f"{part}_time"]
            assert (None if moment is None else moment.timestamp()) == (
                pytest.approx((newest.ts_event or 0) / NS, abs=1e-3) if newest else None
            )


def test_an_option_is_described_and_ordered_by_expiry_strike_and_kind(client: Client) -> None:
    insert_records(client, [ticker(name, NOW - NS, mark_price="1") for name in reversed(NAMES)])
    assert chain(client).select("expiry", "strike", "kind", "instrument").rows() == [
        (dt.date(2026, 1, 9), Decimal("2.5"), "put", NAMES[3]),
        (dt.date(2026, 1, 9), Decimal(90000), "call", NAMES[0]),
        (dt.date(2026, 1, 9), Decimal(90000), "put", NAMES[1]),
        (dt.date(2026, 3, 27), Decimal(100000), "call", NAMES[2]),
    ]
    assert chain(client, underlying="ETH-USD")["instrument"].to_list() == [NAMES[4]]


def test_a_side_that_is_empty_now_is_null_and_nothing_after_the_instant_counts(client: Client) -> None:
    name = NAMES[0]
    told = [
        ticker(name, NOW - 9 * NS, bid="5", bid_size="1", ask="6", ask_size="2", unit="contracts", mark_price="5.5"),
        ticker(name, NOW, ask="7", ask_size="3", unit="contracts"),
        ticker(name, NOW + 1, bid="8", bid_size="3", unit="contracts"),
    ]
    insert_records(client, told)
    columns = ("bid", "ask", "ask_size", "unit", "mark_price")
    assert chain(client).select(columns).row(0) == (None, Decimal(7), Decimal(3), "contracts", Decimal("5.5"))
    assert chain(client, NOW - 1).select(columns).row(0) == (
        Decimal(5),
        Decimal(6),
        Decimal(2),
        "contracts",
        Decimal("5.5"),
    )
    insert_records(client, [ticker(name, NOW + 5, unit="contracts"), ticker(name, NOW + 6, last="3", unit="contracts")])
    assert chain(client, NOW + 9).select("bid", "ask", "last", "mark_price").row(0) == (None, None, 3, Decimal("5.5"))
    quoted = ticker(name, NOW + 20, bid="5", bid_size="1", ask="6", ask_size="2", unit="contracts", mark_price="5.5")
    empty = {"bid_size": "0", "ask_size": "0", "unit": "contracts", "last": "3", "mark_price": "5.6"}
    insert_records(
        client, [quoted, ticker(name, NOW + 21, **empty), ticker(name, NOW + 22, last="4", unit="contracts")]
    )
    found = chain(client, NOW + 30).select("bid", "bid_size", "ask", "last", "mark_price").row(0)
    assert found == (None, 0, None, 4, Decimal("5.6")), "a message with sizes of 0 says that nobody quotes"


def test_open_interest_is_joined_with_its_time(client: Client) -> None:
    interest = [
        OpenInterest(*head(NAMES[0]), NOW - 60 * NS, NOW, "10", "0.1", None, "9000"),
        OpenInterest(*head(NAMES[0]), NOW - 30 * NS, NOW, "11", "0.11", None, "9900"),
        OpenInterest(*head(NAMES[1]), NOW - 30 * NS, NOW, "7", "0.07", None, None),
    ]
    insert_records(client, [ticker(NAMES[0], NOW - NS, delta="0.5"), *interest])
    found = chain(client).select("instrument", "contracts", "size", "value_usd", "open_interest_time", "delta")
    assert found.rows() == [
        (NAMES[0], Decimal(11), Decimal("0.11"), Decimal(9900), AT - dt.timedelta(seconds=30), Decimal("0.5")),
        (NAMES[1], Decimal(7), Decimal("0.07"), None, AT - dt.timedelta(seconds=30), None),
    ]


@pytest.mark.parametrize(("at", "there"), [("2026-01-09T07:59:59Z", True), ("2026-01-09T08:00:00Z", False)])
def test_an_option_is_in_the_chain_until_it_expires(client: Client, at: str, there: bool) -> None:
    moment = int(dt.datetime.fromisoformat(at).timestamp()) * NS
    insert_records(client, [ticker(NAMES[0], moment - NS, mark_price="1")])
    assert chain(client, at).height == there


def test_what_is_older_than_wanted_is_left_out(client: Client) -> None:
    insert_records(client, [ticker(NAMES[0], NOW - 90 * NS, mark_price="1"), ticker(NAMES[0], NOW, last="2")])
    assert chain(client, within=dt.timedelta(seconds=60)).select("mark_price", "last").row(0) == (None, Decimal(2))
    assert chain(client, "2026-01-07").is_empty()


def test_an_underlying_that_nothing_has_is_an_error_with_the_nearest(client: Client) -> None:
    insert_records(client, [ticker(NAMES[0], NOW, mark_price="1")])
    with pytest.raises(UnknownName, match="'BCT' is no underlying of options of okx; did you mean 'BTC'"):
        chain(client, underlying="BCT")
    with pytest.raises(UnknownName, match="no exchange"):
        read.option_chain("okex", "BTC", AT, connection=client)


def test_the_command_prints_the_chain(client: Client, clickhouse_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    insert_records(client, [ticker(NAMES[0], NOW - NS, mark_price="0.0250", mark_iv="61.5"), ticker(NAMES[4], NOW)])
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", f"{clickhouse_server}/{client.database}")
    command = ["option-chain", "okx", "BTC", "--at", "2026-01-05T12:00:00Z"]
    run = CliRunner().invoke(app, [*command, "--json"])
    assert run.exit_code == 0, run.output
    [option] = json.loads(run.stdout)["options"]
    assert (option["instrument"], option["strike"], option["kind"]) == (NAMES[0], "90000", "call")
    assert (option["mark_price"], option["mark_iv"], option["bid"]) == ("0.025", "61.5", None)
    assert option["mark_time"] == "2026-01-05T11:59:59.000000000Z"
    assert "90000" in CliRunner().invoke(app, command).stdout
    for wrong, cause in ((["okx", "BTX"], "BTX"), (["okx", "BTC", "--at", "2026-01-05T12:00:00"], "zone")):
        run = CliRunner().invoke(app, ["option-chain", *wrong])
        assert run.exit_code == 2, run.output
        assert cause in run.output
