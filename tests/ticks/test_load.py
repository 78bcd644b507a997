"""Many symbols into tick_data: what lands, what is told, what is asked again and what is not."""

import pytest
from clickhouse_connect.driver.client import Client
from loads import Loader, assert_exact, codes, units
from tick_clients import Clients
from tushare_server import TushareServer

from marketdata_assets.ticks import tables


@pytest.fixture
def loader(clickhouse_client: Client, clients: Clients, tushare_server: TushareServer) -> Loader:
    tables.ensure(clickhouse_client)
    return Loader(clickhouse_client, clients, tushare_server)


def test_148_of_150_symbols_land_and_the_other_two_are_named(loader: Loader) -> None:
    symbols = loader.server.symbols = codes(150)
    bad = symbols[17], symbols[99]
    loader.server.fail(503, 4, where=bad[0])
    loader.server.say(b'{"code": 0, "msg": "", "data": {"fields": ["ts_code"], "items": []}}', where=bad[1])
    report = loader(units(symbols))
    assert [unit.symbol for unit in report.failed] == sorted(bad)
    assert "no good answer in 4 attempts" in (report.failed[0].error or "")
    assert "columns trade_time, open" in (report.failed[1].error or "")
    good = [symbol for symbol in symbols if symbol not in bad]
    assert_exact(loader.client, good)
    assert [unit.symbol for unit in report.good] == good
    assert {unit.rows for unit in report.good} == {21 * 241}
    again = loader(units(symbols))
    assert (again.failed, again.requests) == ((), 2)
    assert_exact(loader.client, symbols)
