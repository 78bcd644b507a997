"""Test servers for the APIs that the pages use: BRAIN with the account `lk`, Tushare and Yahoo."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from marketdata_demo.sample_ticks import STOCKS
from marketdata_demo.servers.brain import BrainServer, spread
from marketdata_demo.servers.tushare import DAILY, TOKEN, TushareServer
from marketdata_demo.servers.yahoo import YahooServer

EMAIL, PASSWORD = "lk@example.com", "secret"
HALF_A_YEAR = (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 7, 1, tzinfo=dt.UTC))


@contextmanager
def providers() -> Iterator[dict[str, str]]:
    """The variables that name the servers and the account."""
    symbols = [stock.symbol for stock in STOCKS]
    theirs = [symbol.replace(".SH", ".SS") for symbol in symbols]
    yahoos = YahooServer(theirs, now=dt.datetime.now(dt.UTC))
    with BrainServer() as brain, TushareServer(symbols) as tushare, yahoos as yahoo:
        brain.add_user(EMAIL, PASSWORD, spread(*HALF_A_YEAR, 60))
        fields = ["ts_code", "name", "list_date", "delist_date", "list_status", "exchange"]
        tushare.tables["stock_basic"] = (fields, [[one, one, "20100104", None, "L", "SSE"] for one in symbols])
        tushare.tables["daily_basic"] = (["ts_code", "trade_date", *DAILY], [])
        tushare.tables["adj_factor"] = (["ts_code", "trade_date", "adj_factor"], [])
        yield {
            "MARKETDATA_BRAIN_URL": brain.url,
            "MARKETDATA_BRAIN_EMAIL_LK": EMAIL,
            "MARKETDATA_BRAIN_PASSWORD_LK": PASSWORD,
            "MARKETDATA_TUSHARE_URL": tushare.url,
            "MARKETDATA_YAHOO_URL": yahoo.url,
            "TUSHARE_TOKEN": TOKEN,
        }
