"""Instruments of every venue: what a name alone says, and lists with odd entries, which cost no others."""

from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.errors import BadInstruments, UnknownInstrument
from marketdata_assets.exchanges.records import Control, DeadLetter, Liquidation, MarketType
from marketdata_assets.exchanges.replay import feed_of

BINANCE = {"symbol": "ABCUSDT", "status": "TRADING", "baseAsset": "ABC", "quoteAsset": "USDT"}
OKX = {"instType": "SWAP", "instId": "ABC-USDT-SWAP", "uly": "ABC-USDT", "ctType": "linear", "ctVal": "0.1"}
OKX |= {"ctMult": "1", "ctValCcy": "ABC"}
DERIBIT = {"instrument_name": "ABC-PERPETUAL", "kind": "future", "base_currency": "ABC", "quote_currency": "USD"}
DERIBIT |= {"counter_currency": "USD", "instrument_type": "reversed", "contract_size": 10.0}
BYBIT = {"symbol": "ABCUSDT", "baseCoin": "ABC", "quoteCoin": "USDT", "contractType": "LinearPerpetual"}

NAMES: dict[tuple[str, MarketType], dict[str, str]] = {  # their symbols; "" of those that say too little
    ("binance", "spot"): {"BTCUSDT": "BTC-USDT", "ETHBTC": "ETH-BTC", "BTCFDUSD": "BTC-FDUSD"}
    | {"1000SATSUSDT": "1000SATS-USDT", "ABCXYZ": "", "USDT": "", "btcusdt": ""},
    ("binance", "linear"): {"BTCUSDT_300329": "BTC-USDT-300329"},
    ("binance", "inverse"): {"BTCUSD_PERP": "BTC-USD", "BTCUSD_300329": "BTC-USD-300329", "BTCUSD": ""},
    ("binance", "option"): {"BTC-300329-60000-C": "BTC-USDT-300329-60000-C", "BTCUSDT": ""}
    | {"XRP-300329-0.44-P": "XRP-USDT-300329-0.44-P"},
    ("okx", "spot"): dict.fromkeys(
        ["", "ABC", "abc-usdt", "ABC-USDT-SWAP-1", "ABC-USD-2503", "ABC-USD-250328-60", "A_B-C"], ""
    ),
    ("deribit", "inverse"): {"ABC-PERPETUAL": "ABC-USD", "ABC-7JAN25": "ABC-USD-250107"},
    ("deribit", "linear"): {"ABC_USDC-PERPETUAL": "ABC-USDC", "ABC_USDT-28MAR25": "ABC-USDT-250328"},
    ("deribit", "option"): {"ABC-28MAR25-60000-P": "ABC-USD-250328-60000-P"}
    | {"ABC_USDC-28MAR25-1d05-C": "ABC-USDC-250328-1.05-C"},
    ("deribit", "spot"): {"ABC_USDC": "ABC-USDC"}
    | dict.fromkeys(["", "ABC", "ABC-", "ABC-28MRZ25", "ABC-0JAN25", "ABC-32JAN25", "ABC-28MAR25-X-C"], "")
    | dict.fromkeys(["abc-PERPETUAL", "ABC-28MAR25-1-X"], ""),
    ("bybit", "spot"): {"BTCUSDT": "BTC-USDT", "BTC": "", "USDT": "", "BTC-USDT": ""},
    ("bybit", "linear"): dict.fromkeys(["BTC", "BTCUSDT-31FEB25", "BTCUSDT-26XXX25", "BTC-26DEC25-100000-C"], ""),
    ("bybit", "inverse"): {"BTCUSDF25": "", "BTCUSDT": ""}  # quarterly ones expire on the last Friday
    | {"BTCUSDH23": "BTC-USD-230331", "BTCUSDM24": "BTC-USD-240628"}
    | {"BTCUSDU25": "BTC-USD-250926", "BTCUSDZ21": "BTC-USD-211231"},
    ("hyperliquid", "linear"): {"ABC": "ABC-USDC", "kABC": "kABC-USDC", "dex:ABC": "", "#330": "", "": ""},
    ("kraken", "spot"): {"BTC/USD": "BTC-USD", "ABC.D/EUR": "ABC.D-EUR", "XBTUSD": "", "BTC-USD": "", "/USD": ""},
    ("coinbase", "spot"): {"BTC-USD": "BTC-USD", "BTCUSD": "", "A-B-C": "", "-USD": ""},
    ("hyperliquid", "spot"): {"ABC/USDC": "ABC-USDC", "@107": "@107"},  # the number says nothing of its tokens
}


@pytest.mark.parametrize(("market", "name"), [(market, name) for market, names in NAMES.items() for name in names])
def test_what_a_name_alone_says(market: tuple[str, MarketType], name: str) -> None:
    (exchange, market_type), symbol = market, NAMES[market][name]
    derived, strict = (venues.find(exchange).feed(market_type, strict=strict).instruments for strict in (False, True))
    with pytest.raises(UnknownInstrument):
        strict[name]
    if not symbol:
        with pytest.raises(UnknownInstrument):
            derived[name]
        return
    one = derived[name]
    assert (one.name, one.symbol, one.market_type) == (name, symbol, market_type)
    assert one.unit == {("deribit", "inverse"): "quote", ("bybit", "inverse"): "quote"}.get(
        market, "contracts" if exchange == "binance" and market_type in ("inverse", "option") else "base"
    )
    assert one.contract_value == ("1" if market == ("bybit", "inverse") else None)


LISTS: list[tuple[str, MarketType, str, dict[str, Any], Any, str]] = [
    ("binance", "spot", "api/v3/exchangeInfo", BINANCE, lambda entries: {"symbols": entries}, "quoteAsset"),
    ("okx", "linear", "api/v5/public/instruments", OKX, lambda entries: {"code": "0", "data": entries}, "ctType"),
    ("deribit", "inverse", "api/v2/public/get_instruments", DERIBIT, lambda entries: {"result": entries}, "kind"),
    (
        "bybit",
        "linear",
        "v5/market/instruments-info",
        BYBIT,
        lambda entries: {"retCode": 0, "result": {"list": entries, "nextPageCursor": ""}, "time": 1},
        "quoteCoin",
    ),
    (
        "kraken",
        "spot",
        "0/public/AssetPairs",
        {"wsname": "ABC/USD", "pair_decimals": 1, "lot_decimals": 8},
        lambda entries: {"error": [], "result": {f"P{number}": one for number, one in enumerate(entries)}},
        "wsname",
    ),
    ("coinbase", "spot", "products", {"id": "ABC-USD", "status": "online"}, lambda entries: entries, "id"),
]


RECORDED: list[tuple[str, MarketType, str]] = [
    ("binance", "spot", "binance-spot/instruments/exchangeInfo_2021-10-11.ndjson"),
    ("binance", "linear", "binance-usdm/instruments/exchangeInfo_2021-07-22.ndjson"),
    ("binance", "inverse", "binance-coinm/instruments/exchangeInfo_2021-07-22.ndjson"),
    ("okx", "linear", "okx/instruments/instruments_2022-05-13.ndjson"),
    ("deribit", "inverse", "deribit/instruments/get_instruments_2021-07_2022-05.ndjson"),
]


HYPERLIQUID: tuple[str, MarketType, str, dict[str, Any], Any, str] = (
    "hyperliquid",
    "linear",
    "info?type=meta",
    {"name": "ABC"},
    lambda entries: {"universe": entries},
    "name",
)
IDS = {"binance": "symbol", "okx": "instId", "deribit": "instrument_name", "bybit": "symbol", "kraken": "wsname"}
IDS |= {"coinbase": "id", "hyperliquid": "name"}


@pytest.mark.parametrize(
    ("exchange", "market_type", "path", "entry", "answer", "_"), [*LISTS, HYPERLIQUID], ids=lambda one: str(one)[:9]
)
def test_an_odd_entry_is_listed_by_its_name_and_without_one_the_list_is_not_whole(
    exchange: str, market_type: MarketType, path: str, entry: dict[str, Any], answer: Any, _: str
) -> None:
    feed, field = venues.find(exchange).feed(market_type), IDS[exchange]
    other = {**entry, field: entry[field].replace("ABC", "XBT")}

    def listed(*entries: object) -> list[str]:
        feed.instruments.listed.clear()
        feed.answer(
            f"https://h/{path}{'' if '?' in path else '?instType=SWAP'}", msgspec.json.encode(answer(entries)), 1
        )
        return sorted(feed.instruments.listed)

    names = listed(entry, other)
    assert len(names) == 2
    assert feed.instruments.whole
    odd = {key: value if key == field else [] for key, value in other.items()} | {"isDelisted": "?"}
    if exchange != "coinbase":  # a name is all that its entries need
        assert (listed(entry, odd), feed.instruments.whole) == (names, True)
    for nameless in (7, {**odd, field: None}):
        assert (len(listed(entry, nameless)), feed.instruments.whole) == (1, False)
    listed(entry, other)
    assert feed.instruments.whole


@pytest.mark.parametrize(("exchange", "market_type", "path"), RECORDED)
def test_recorded_lists_and_the_names_alone_say_the_same(
    fixtures: Path, exchange: str, market_type: MarketType, path: str
) -> None:
    listed, derived = (venues.find(exchange).feed(market_type, strict=strict) for strict in (True, False))
    url = next(f"https://h/{path}?instType=SWAP" for name, _, path, *_ in LISTS if name == exchange)
    for line in (fixtures / path).read_bytes().splitlines():
        answer = msgspec.json.decode(line, type=dict[str, msgspec.Raw])["data"]
        assert [type(one) for one in listed.answer(url, bytes(answer), 1)] == [Control]
    known, said = listed.instruments.known, attrgetter("symbol", "market_type", "base", "quote", "unit")
    assert len(known) > 20
    assert {name: said(derived.instruments[name]) for name in known} == {name: said(one) for name, one in known.items()}
    assert all((one.contract_value is None) == (one.unit == "base" and exchange != "deribit") for one in known.values())


@pytest.mark.parametrize(
    ("exchange", "market_type", "path", "entry", "answer", "needed"), LISTS, ids=lambda one: str(one)[:9]
)
@pytest.mark.parametrize("odd", [None, 7, "", {"new": 1}])
def test_one_odd_entry_does_not_reject_the_list(
    exchange: str, market_type: MarketType, path: str, entry: dict[str, Any], answer: Any, needed: str, odd: object
) -> None:
    feed = venues.find(exchange).feed(market_type)
    wrong = {**entry, needed: odd}
    made = feed.answer(f"https://h/{path}?instType=SWAP", msgspec.json.encode(answer([wrong, entry])), 1)
    assert list(feed.instruments.known.values()) == [feed.instruments[next(iter(feed.instruments.known))]]
    letters = [one for one in made if isinstance(one, DeadLetter)]
    assert [msgspec.json.decode(one.raw) for one in letters] in ([wrong], []), (
        "a kind that we do not know is no odd entry"
    )
    if odd is None:
        assert letters


TRADES: dict[str, tuple[bytes, tuple[str, str | None], tuple[str | None, str | None]]] = {
    "binance": (
        b'{"e":"aggTrade","E":5,"s":"ABCUSD_PERP","a":1,"p":"20","q":"6","f":1,"l":1,"T":4,"m":true}',
        *(("3", "6"), (None, "6")),
    ),
    "okx": (
        b'{"arg":{"channel":"trades","instId":"ABC-USDT-SWAP"},"data":[{"instId":"ABC-USDT-SWAP","tradeId":"71",'
        b'"px":"20","sz":"6","side":"buy","ts":"4","count":"1"}]}',
        *(("0.6", "6"), (None, "6")),
    ),
    "deribit": (
        b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.ABC-PERPETUAL.100ms","data":[{"trade_seq":7,'
        b'"trade_id":"1","timestamp":4,"price":20,"amount":60,"direction":"buy","instrument_name":"ABC-PERPETUAL"}]}}',
        *(("3", "6"), ("3", None)),
    ),
    "bybit": (
        b'{"topic":"publicTrade.ABCUSDT","type":"snapshot","ts":5,"data":[{"T":4,"s":"ABCUSDT","S":"Buy","v":"6","p":"20",'
        b'"i":"1","seq":7}]}',
        *(("6", None), ("6", None)),
    ),
    "kraken": (
        b'{"channel":"trade","type":"update","data":[{"symbol":"ABC/USD","side":"buy","price":20,"qty":6,"trade_id":7,'
        b'"timestamp":"2026-01-31T08:00:00Z"}]}',
        *(("6", None), ("6", None)),
    ),
    "coinbase": (
        b'{"channel":"market_trades","timestamp":"2026-01-31T08:00:00Z","sequence_num":5,"events":[{"type":"update","trades":[{"trade_id":"7",'
        b'"product_id":"ABC-USD","price":"20","size":"6","side":"BUY","time":"2026-01-31T08:00:00Z"}]}]}',
        *(("6", None), ("6", None)),
    ),
}
"""A trade, and its size and contracts with a list, and without."""

COIN_M = {"symbol": "ABCUSD_PERP", "baseAsset": "ABC", "quoteAsset": "USD", "contractSize": 10}


@pytest.mark.parametrize(
    ("exchange", "market_type", "path", "entry", "answer", "_"), LISTS, ids=lambda one: str(one)[:9]
)
def test_a_trade_needs_a_list_or_a_clear_name_and_the_newest_list_counts(
    exchange: str, market_type: MarketType, path: str, entry: dict[str, Any], answer: Any, _: str
) -> None:
    if exchange == "binance":
        market_type, entry = "inverse", COIN_M
    raw, listed, bare = TRADES[exchange]
    listing = msgspec.json.encode(answer([entry]))
    strict, derived = (venues.find(exchange).feed(market_type, strict=strict) for strict in (True, False))
    (letter,) = strict.push(raw, 7)
    assert isinstance(letter, DeadLetter)
    assert "ABC" in letter.cause and "instrument list" in letter.cause
    assert sizes(derived.push(raw, 7)) == bare
    for feed in (strict, derived):
        assert feed.answer(f"https://h/{path}?instType=SWAP", listing, 8) == [Control("notice", "1 instruments")]
        assert sizes(feed.push(raw, 9)) == listed
    (letter,) = derived.push(raw.replace(b"ABC", b"?"), 9)
    assert isinstance(letter, DeadLetter)


def sizes(made: list[Any]) -> tuple[str | None, str | None]:
    (trade,) = made
    return trade.size, trade.contracts


STATES: dict[str, tuple[dict[str, str], str]] = {  # by what a list says; and which of them have ended
    "binance": (
        {"TRADING": "trading", "BREAK": "delisted", "CANCEL_ONLY": "suspended", "HALT": "suspended"}
        | {"PENDING_TRADING": "prelaunch", "SETTLING": "settling", "NEW WORD": "unknown", "": ""},
        "BREAK SETTLING",
    ),
    "okx": (
        {
            "live": "trading",
            "preopen": "prelaunch",
            "post_only": "suspended",
            "suspend": "suspended",
            "test": "prelaunch",
        }
        | {"rebase": "suspended", "expired": "delisted", "": ""},
        "expired",
    ),
    "deribit": (
        {"open": "trading", "locked": "suspended", "settlement": "suspended", "delivered": "delisted", "": ""}
        | {"inactive": "suspended", "halted": "suspended", "archivized": "delisted", "unheard": "unknown"},
        "delivered archivized",
    ),
    "bybit": (
        {"Trading": "trading", "PreLaunch": "prelaunch", "Delivering": "settling", "Closed": "delisted", "": ""},
        "Delivering Closed",
    ),
    "kraken": (
        {"online": "trading", "limit_only": "trading", "reduce_only": "trading", "post_only": "suspended"}
        | {"cancel_only": "suspended", "unheard": "unknown", "": ""},
        "",
    ),
    "coinbase": (
        {"online": "trading", "offline": "suspended", "internal": "prelaunch", "delisted": "delisted"},
        "delisted",
    ),
}


@pytest.mark.parametrize(
    ("exchange", "market_type", "path", "entry", "answer", "_"), LISTS, ids=lambda one: str(one)[:9]
)
def test_states_of_a_list_are_ours_with_the_venues_own_word(
    exchange: str, market_type: MarketType, path: str, entry: dict[str, Any], answer: Any, _: str
) -> None:
    words, ended = STATES[exchange]
    name, word = ("instId", "state") if exchange == "okx" else ("symbol", "status")
    name, word = ("instrument_name", "state") if exchange == "deribit" else (name, word)
    name = {"kraken": "wsname", "coinbase": "id"}.get(exchange, name)
    spelled = {entry[name].replace("ABC", f"ABC{number}"): said for number, said in enumerate(words)}
    feed = venues.find(exchange).feed(market_type)
    listed = answer([{**entry, name: instrument, word: said} for instrument, said in spelled.items()])
    feed.answer(f"https://h/{path}?instType=SWAP", msgspec.json.encode(listed), 1)
    found = [feed.instruments.known[instrument] for instrument in spelled]
    assert {one.venue_state: one.state or "" for one in found} == words
    assert [one.ended for one in found if one.ended] == ended.split()


def test_hyperliquid_says_what_is_delisted_and_in_what_a_dex_is_paid() -> None:
    feed = venues.find("hyperliquid").feed("linear")
    dex = {"universe": [{"name": "dex:ABC"}, {"name": "dex:OLD", "isDelisted": True}], "collateralToken": 360}
    tokens = {"tokens": [{"name": "USDC", "index": 0}, {"name": "USDH", "index": 360}], "universe": []}
    (letter,) = feed.answer("https://h/info?type=meta&dex=dex", msgspec.json.encode(dex), 1)
    assert isinstance(letter, DeadLetter), "what the token is called is not known"
    assert "token 360 has a name only in the list spotMeta" in letter.cause
    assert not feed.instruments.known
    for request, answer in (("spotMeta", tokens), ("meta", dex)):
        feed.answer(f"https://h/info?type={request}&dex=dex", msgspec.json.encode(answer), 1)
    said = [(one.symbol, one.state, one.ended) for one in feed.instruments.known.values()]
    assert said == [("dex:ABC-USDH", "trading", ""), ("dex:OLD-USDH", "delisted", "isDelisted")]


@pytest.mark.parametrize("market_type", [None, "linear", "spot"])
def test_lists_in_files_may_be_in_any_order(market_type: MarketType | None, tmp_path: Path) -> None:
    """And of any market, where one socket carries all of them, whatever market is named."""
    dex, spot = tmp_path / "dex.json", tmp_path / "spot.json"
    dex.write_text('{"universe": [{"name": "dex:ABC"}], "collateralToken": 360}')
    pair = '{"name": "@1", "tokens": [360, 0]}'
    spot.write_text(
        f'{{"tokens": [{{"name": "USDC", "index": 0}}, {{"name": "USDH", "index": 360}}], "universe": [{pair}]}}'
    )
    for order in ([dex, spot], [spot, dex]):
        feed = feed_of("hyperliquid", market_type, "x", order)
        assert {(one.market_type, one.symbol) for one in feed.instruments.known.values()} == {
            ("linear", "dex:ABC-USDH"),
            ("spot", "USDH-USDC"),
        }
    with pytest.raises(BadInstruments, match=r"dex\.json: .*spotMeta; read that one too"):
        feed_of("hyperliquid", None, "x", [dex])


@pytest.mark.parametrize("value", ["0", "-1"])
def test_a_contract_is_worth_something(tmp_path: Path, value: str) -> None:
    path = tmp_path / "swaps.json"
    path.write_bytes(msgspec.json.encode({"code": "0", "data": [OKX | {"ctVal": value}]}))
    with pytest.raises(BadInstruments, match=rf"swaps\.json: .*-SWAP has the contract value {value}, which is not"):
        feed_of("okx", "linear", "x", [path])


def test_a_contract_has_one_value_in_all_lists(tmp_path: Path) -> None:
    one, other, both = (tmp_path / f"{name}.json" for name in ("one", "other", "both"))
    entries = [OKX, OKX | {"ctVal": "100"}]
    for path, listed in ((one, entries[:1]), (other, entries[1:]), (both, entries)):
        path.write_bytes(msgspec.json.encode({"code": "0", "data": listed}))
    assert feed_of("okx", "linear", "x", [one, one]).instruments["ABC-USDT-SWAP"].contract_value == "0.1"
    for lists in ([one, other], [both], [both, one]):
        with pytest.raises(BadInstruments, match=r"o.*\.json: .*ABC-USDT-SWAP has two contract values, 0.1 and 100"):
            feed_of("okx", "linear", "x", lists)


def test_entries_of_a_list_in_a_file_that_cannot_be_read_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = {"instType": "SPOT", "instId": "ABC-USDT", "state": "live", "baseCcy": "ABC", "quoteCcy": "USDT"}
    (tmp_path / "spot.json").write_bytes(msgspec.json.encode({"code": "0", "data": [entry, {**entry, "baseCcy": 5}]}))
    feed = feed_of("okx", "spot", "x", [tmp_path / "spot.json"])
    assert [one.name for one in feed.instruments.known.values()] == ["ABC-USDT"]
    [said] = caplog.messages
    assert said.startswith("instruments_unreadable file=spot.json entries=1 first=")
    caplog.clear()
    (tmp_path / "dex.json").write_text('{"universe": [{"name": "ABC"}], "collateralToken": 0}')
    assert feed_of("hyperliquid", None, "x", [tmp_path / "dex.json"]).instruments.known
    (tmp_path / "swap.json").write_bytes(
        msgspec.json.encode(
            {
                "code": "0",
                "data": [
                    {
                        **entry,
                        "instType": "SWAP",
                        "instId": "ABC-USDT-SWAP",
                        "settleCcy": "USDT",
                        "ctType": "linear",
                        "ctVal": "1",
                        "ctValCcy": "ABC",
                        "uly": "ABC-USDT",
                    }
                ],
            }
        )
    )
    assert feed_of("okx", None, "x", [tmp_path / "swap.json"]).instruments.known
    assert caplog.messages == [], "that it is no list of another market is not said"


def test_a_place_that_is_held_for_a_listing_to_come_is_no_instrument() -> None:
    """OKX, since 2026-07: a subscription to it is an error."""
    feed = venues.find("okx").feed("spot")
    come = {"instType": "SPOT", "instId": "LISTING-SPOT-NEW-USDT", "state": "preopen", "baseCcy": "", "quoteCcy": ""}
    spot = {"instType": "SPOT", "instId": "ABC-USDT", "state": "live", "baseCcy": "ABC", "quoteCcy": "USDT"}
    raw = msgspec.json.encode({"code": "0", "data": [come, {**come, "baseCcy": "NEW", "quoteCcy": "USDT"}, spot]})
    assert feed.answer("https://h/api/v5/public/instruments?instType=SPOT", raw, 1) == [
        Control("notice", "1 instruments")
    ]


def test_one_unknown_contract_does_not_reject_a_message_of_liquidations() -> None:
    feed = venues.find("okx").feed("linear")
    feed.answer(
        "https://h/api/v5/public/instruments?instType=SWAP", msgspec.json.encode({"code": "0", "data": [OKX]}), 1
    )
    details = [{"bkPx": "4.1", "side": "sell", "posSide": "long", "sz": "20", "ts": "1700000000123"}]
    data = [{"instId": name, "instType": "SWAP", "details": 2 * details} for name in ("NEW-USDT-SWAP", "ABC-USDT-SWAP")]
    message = {"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": data}
    made = feed.push(msgspec.json.encode(message), 1)
    orders = [(one.instrument, one.liquidation_id) for one in made if isinstance(one, Liquidation)]
    assert orders == [("ABC-USDT-SWAP", None), ("ABC-USDT-SWAP", "2")]
    assert ["NEW-USDT-SWAP" in one.cause for one in made if isinstance(one, DeadLetter)] == [True]
