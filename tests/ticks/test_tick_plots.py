"""Pictures of minute bars: what is drawn, and that it is drawn."""

import base64
import datetime as dt
import io
import re
from pathlib import Path

import matplotlib.image
import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import plotting
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.ticks import plots, registry
from marketdata_assets.ticks.reports import Unit
from tests.ticks.factor_bars import day_of, stand

MONTH = "2026-01"
DAYS = ashares().trading_days(Days.month(MONTH))
SYMBOL, OTHER = "600000.SH", "000001.SZ"
UNITS = [Unit(SYMBOL, MONTH), Unit(OTHER, MONTH)]


def day(symbol: str, date: dt.date, label: Label = "end", *, missing: int = 0, first: int = 100) -> pl.DataFrame:
    """A day whose first minute has `first` shares and every other one 100."""
    times = pl.Series(ashares().labels(date, label), dtype=pl.Datetime("ms", "UTC"))
    bars = [(10.0, first if number == 0 else 100, 1000.0) for number in range(len(times))]
    frame = day_of(symbol, date, bars, label=label).with_columns(ts=times)
    return frame.head(frame.height - missing)


def test_coverage_is_a_share_by_symbol_and_day(client: Client, tmp_path: Path) -> None:
    (tmp_path / "symbols.csv").write_text(f"{OTHER},b,{DAYS[1]}")
    registry.refresh(client, None, tmp_path / "symbols.csv", None, now=dt.datetime(2026, 2, 2, tzinfo=dt.UTC))
    stand(
        client, [day(SYMBOL, DAYS[0], missing=241 - 60), day(SYMBOL, DAYS[1]), day(OTHER, DAYS[1], "start", missing=60)]
    )
    found = plots.covered(client, [MONTH], [SYMBOL, OTHER], ashares())
    drawn = {(symbol, date): share for symbol, date, share in found.iter_rows()}
    assert drawn[SYMBOL, DAYS[0]] == pytest.approx(60 / 241)
    assert (drawn[SYMBOL, DAYS[1]], drawn[OTHER, DAYS[1]], drawn[SYMBOL, DAYS[2]]) == (1.0, 0.75, None)
    assert (OTHER, DAYS[0]) not in drawn
    assert len(drawn) == 2 * len(DAYS) - 1


def test_of_many_symbols_those_that_lack_most_are_drawn(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "SYMBOLS", 4)
    symbols = [f"{600000 + number}.SH" for number in range(12)]
    lacking = {symbols[5]: 3, symbols[7]: 30, symbols[9]: 20}
    stand(client, [day(symbol, DAYS[0], missing=lacking.get(symbol, 0)) for symbol in symbols], covered=DAYS[:1])
    drawn = plots.covered(client, [MONTH], symbols, ashares())["symbol"].unique().sort().to_list()
    assert drawn == [symbols[0], symbols[7], symbols[9], symbols[11]]


def test_the_profile_is_the_mean_share_of_a_minute(client: Client) -> None:
    stand(
        client,
        [day(SYMBOL, DAYS[0], first=24_100), day(OTHER, DAYS[0]), day("600009.SH", DAYS[0], "start", first=10**6)],
    )
    found = plots.profile(client, [MONTH], [SYMBOL, OTHER, "600009.SH"])
    shares = dict(found.iter_rows())
    assert len(shares) == 241
    expected = (100 * 24_100 / (24_100 + 240 * 100) + 100 / 241) / 2
    assert shares["09:30"] == pytest.approx(expected)
    assert sum(shares.values()) == pytest.approx(100)
    assert list(shares)[-1] == "15:00"


def test_pictures_are_drawn(client: Client) -> None:
    stand(client, [day(symbol, date) for symbol in (SYMBOL, OTHER) for date in DAYS[:3]])
    found = plots.pictures(client, "tick_data", UNITS)
    assert set(found) == {"coverage", "intraday_volume"}
    for name, text in found.items():
        match = re.fullmatch(r"!\[[a-z ]+\]\(data:image/png;base64,(.*)\)", text)
        assert match, name
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(match[1])), format="png")
        assert len({tuple(pixel) for pixel in pixels.reshape(-1, pixels.shape[2])}) > 10, name
    assert plots.pictures(client, "factors", UNITS) == {}
    assert plots.pictures(client, "tick_data", []) == {}


def test_nothing_is_drawn_of_nothing_or_without_matplotlib(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plots.pictures(client, "tick_data", UNITS) == {}
    stand(client, [day(SYMBOL, DAYS[0])])
    monkeypatch.setattr(plotting, "pyplot", lambda: None)
    assert plots.pictures(client, "tick_data", UNITS) == {}
