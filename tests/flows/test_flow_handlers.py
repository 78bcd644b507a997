"""What each built-in handler does to a frame, against values worked out by hand."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from statistics import stdev
from typing import Any

import polars as pl
import pytest

from marketdata_assets.flows.ashares import flag_moves
from marketdata_assets.flows.definition import FlowDefinition, parse, read
from marketdata_assets.flows.errors import FlowError, MissingColumn
from marketdata_assets.flows.handlers import Pipeline
from marketdata_assets.flows.trial import check
from marketdata_assets.loading.rejects import LINE, Rejects

FLOW = """loader: {columns: [k, d, x]}
target: {table: t, mode: append, columns: {k: text}}
handlers:
"""


def flow(*handlers: str, text: str = FLOW) -> FlowDefinition:
    return parse(text + "".join(f"  - {handler}\n" for handler in handlers))


def frame(**columns: list[Any]) -> pl.DataFrame:
    size = len(next(iter(columns.values())))
    return pl.DataFrame({**columns, LINE: list(range(2, 2 + size))})


def result(given: pl.DataFrame, *handlers: str) -> tuple[pl.DataFrame, dict[int, str]]:
    defined = flow(*handlers)
    rejects = Rejects(defined.quality.limit)
    pipeline = Pipeline(defined, "f.csv", rejects)
    return pipeline.all([pipeline.block(given)]), rejects.reasons


def column(given: pl.DataFrame, handler: str, name: str) -> list[Any]:
    values: list[Any] = result(given, handler)[0][name].to_list()
    return [round(value, 9) if isinstance(value, float) else value for value in values]


TWO = frame(k=["a", "b", "a", "b", "a"], d=[1, 1, 2, 2, 3], x=[1.0, 10.0, 3.0, 20.0, 8.0])


@pytest.mark.parametrize(
    ("handler", "name", "values"),
    [
        ("derive: {y: x * 2, z: y + 1}", "z", [3, 21, 7, 41, 17]),
        ("derive: {y: x / (d - 1)}", "y", [None, None, 3, 20, 4]),
        ("derive: {y: x - LAG(x) OVER (PARTITION BY k ORDER BY d)}", "y", [None, None, 2, 10, 5]),
        ("derive: {n: ROW_NUMBER() OVER (PARTITION BY k ORDER BY d)}", "n", [1, 1, 2, 2, 3]),
        ("running_count: {name: n, group_by: k, order_by: d}", "n", [1, 1, 2, 2, 3]),
        ("derive: {y: '7'}", "y", [7, 7, 7, 7, 7]),
        ("derive: {y: SUM(x)}", "y", [42, 42, 42, 42, 42]),
        ("running_count: {name: n}", "n", [1, 2, 3, 4, 5]),
        ("moving_average: {column: x, windows: [2], group_by: k, order_by: d}", "x_ma2", [None, None, 2, 15, 5.5]),
        ("moving_average: {column: x, windows: [3, 5], name: 'm{window}'}", "m5", [None, None, None, None, 8.4]),
        ("volatility: {column: x, window: 2, group_by: k, name: v}", "v",
         [None, None, round(stdev([1, 3]), 9), round(stdev([10, 20]), 9), round(stdev([3, 8]), 9)]),
        ("volatility: {column: x, window: 3, group_by: k, annual: 4}", "volatility_3",
         [None, None, None, None, round(2 * stdev([1, 3, 8]), 9)]),
        ("ema: {column: x, span: 3, group_by: k}", "x_ema3", [None, None, None, None, 5]),
        ("rsi: {column: x, window: 2, group_by: k}", "rsi_2", [None, None, None, None, 100]),
        ("flag: {column: big, when: x > 3}", "big", [False, True, False, True, True]),
        ("flag: {column: marks, flags: {big: x > 3, late: d = 3}}", "marks",
         [[], ["big"], [], ["big"], ["big", "late"]]),
        ("rename: {x: y}", "y", [1, 10, 3, 20, 8]),
        ("select: [x, k]", LINE, [2, 3, 4, 5, 6]),
        ("sort: [k, d]", LINE, [2, 4, 6, 3, 5]),
        ("sort: {by: [x], descending: true}", "x", [20, 10, 8, 3, 1]),
    ],
)  # fmt: skip
def test_a_handler_gives_these_values(handler: str, name: str, values: list[Any]) -> None:
    assert column(TWO, handler, name) == values


def test_macd_is_the_difference_of_two_means_and_its_signal() -> None:
    got, _ = result(TWO, "macd: {column: x, fast: 1, slow: 2, signal: 1, group_by: k}")
    slow = {"a": [None, 1 / 3 + 2, (1 / 3 + 2) / 3 + 16 / 3], "b": [None, 10 / 3 + 40 / 3]}
    lines = got.filter(pl.col("k") == "a")["macd"].to_list()
    assert lines == [None, pytest.approx(3 - slow["a"][1]), pytest.approx(8 - slow["a"][2])]
    assert got["macd_histogram"].drop_nulls().to_list() == pytest.approx([0, 0, 0])


def test_groups_do_not_depend_on_how_rows_stand() -> None:
    mixed = TWO.sample(fraction=1, shuffle=True, seed=3)
    handler = "moving_average: {column: x, windows: [2], group_by: k, order_by: d}"
    assert result(mixed, handler)[0].sort(LINE).equals(result(TWO, handler)[0])


def test_a_rule_refuses_what_breaks_it_and_what_is_not_known() -> None:
    given = frame(k=["a", None, "c", "d"], d=[1, 2, 3, 4], x=[1.0, 2.0, None, -1.0])
    got, reasons = result(given, "drop_invalid: {has a code: k IS NOT NULL, above 0: x > 0}")
    assert got[LINE].to_list() == [2]
    assert reasons == {
        3: "breaks the rule 'has a code'",
        4: "breaks the rule 'above 0'",
        5: "breaks the rule 'above 0'",
    }


def test_decimals_are_doubles_to_an_expression() -> None:
    given = frame(k=["a"], d=[1], x=["12345678901234567890.5"])
    got, _ = result(given, "parse: {x: 'numeric(30,1)'}", "derive: {y: x / 2}")
    assert got["x"].dtype == pl.Decimal(38, 1)
    assert got["y"].to_list() == [6172839450617283945.25]


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (
            "derive: {y: no_such(x)}",
            "handler 1 (derive) on 5 rows x 3 columns: SQLInterfaceError: unsupported function",
        ),
        ("derive: {y: x; DROP TABLE t}", "invalid expression"),
        ("sort: [nothing]", "handler 1 (sort) on 5 rows x 3 columns: ColumnNotFoundError: "),
        ("drop_invalid: {rule: x + 1}", "'x + 1' is no condition"),
        ("derive: {y: CAST(d AS TIMESTAMP)}", "takes a number for a time; parse it with loader.types or parse"),
    ],
)
def test_a_mistake_names_flow_unit_handler_and_shape(handler: str, said: str) -> None:
    with pytest.raises(FlowError) as caught:
        result(TWO, handler)
    assert str(caught.value).startswith("flow flow, f.csv: ")
    assert said in str(caught.value)


def test_unpivot_makes_a_row_of_each_other_column() -> None:
    wide = frame(k=["a", "b"], **{"2023": [1.5, None], "2024": [2.5, 3.5]})
    long, _ = result(wide, "unpivot: {keep: k, name: year, value: gdp}")
    assert sorted(long.select("k", "year", "gdp", LINE).rows()) == [
        ("a", "2023", 1.5, 2), ("a", "2024", 2.5, 2), ("b", "2023", None, 3), ("b", "2024", 3.5, 3),
    ]  # fmt: skip
    some, _ = result(wide, "unpivot: {keep: [k], name: year, value: gdp, drop_missing: true}")
    assert sorted(some["year"]) == ["2023", "2024", "2024"]
    with pytest.raises(FlowError, match=r"handler 1 \(unpivot\).*nothing"):
        result(wide, "unpivot: {keep: nothing}")


PANDAS = """
import pandas as pd

def clean(df, limit):
    assert isinstance(df, pd.DataFrame) and df["day"].dtype.kind == "M" and df["close"].dtype == float
    df = df.dropna(subset=["close"]).sort_values("day")
    df["ma"] = df["close"].rolling(2).mean()
    df["name"] = df["name"].fillna("none").str.upper()
    df["at"] = pd.to_datetime(df["day"]).dt.tz_localize("UTC")
    return df[df["close"] < limit]

def grouped(df):
    return df.groupby("name", dropna=False).agg(close=("close", "sum"), n=("close", "size"))
"""


def test_a_handler_for_pandas_works_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(PANDAS)
    (tmp_path / "flow.yaml").write_text(
        FLOW + "  - call: {function: .old.clean, frame: pandas, arguments: {limit: 9}}\n"
    )
    days = [dt.date(2024, 1, day) for day in (4, 3, 2, 5, 6)]
    closes = [Decimal("2.50"), None, Decimal("1.50"), Decimal("99.00"), Decimal("4.00")]
    given = frame(name=["x", "y", None, "z", "w"], day=days, close=closes, n=[1, None, 3, 4, 5])
    assert given.schema["close"] == pl.Decimal(38, 2)
    pipeline = Pipeline(read(tmp_path / "flow.yaml"), "f.csv", Rejects())
    got = pipeline.all([given])
    assert got.select("name", "day", "close", "ma", "n", LINE).rows() == [
        ("NONE", dt.date(2024, 1, 2), 1.5, None, 3.0, 4),
        ("X", dt.date(2024, 1, 4), 2.5, 2.0, 1.0, 2),
        ("W", dt.date(2024, 1, 6), 4.0, 51.5, 5.0, 6),
    ]
    assert got.schema["day"] == pl.Date and got.schema[LINE] == pl.Int64
    assert got["at"][0] == dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    assert (pipeline.left_out, pipeline.made) == (2, 0)
    assert pipeline.all([given.clear()]).height == 0
    (tmp_path / "flow.yaml").write_text(FLOW + "  - call: {function: .old.grouped, frame: pandas}\n")
    got = Pipeline(read(tmp_path / "flow.yaml"), "f.csv", Rejects()).all([given])
    assert sorted(got.fill_null("").rows()) == [
        ("", 1.5, 1), ("w", 4.0, 1), ("x", 2.5, 1), ("y", 0.0, 1), ("z", 99.0, 1),
    ]  # fmt: skip


def test_rows_that_a_function_made_have_numbers_of_their_own() -> None:
    rejects = Rejects()
    made = TWO.drop(LINE)
    assert rejects.lines(made).to_list() == [-1, -2, -3, -4, -5]
    assert rejects.lines(made).to_list() == [-6, -7, -8, -9, -10]


PRICES = """loader: {columns: [code, close], types: {close: double}}
target: {table: t, mode: append, columns: {code: text, twice: double}}
handlers:
"""


def test_check_runs_a_flow_without_a_file(tmp_path: Path) -> None:
    check(flow("derive: {twice: close * 2}", text=PRICES))
    with pytest.raises(MissingColumn, match="give no column twice; they give code, close, double"):
        check(flow("derive: {double: close * 2}", text=PRICES))
    with pytest.raises(FlowError, match=r"handler 1 \(derive\)"):
        check(flow("derive: {twice: clos * 2}", text=PRICES))
    with pytest.raises(FlowError, match=r"no\.such: cannot be imported"):
        check(flow("call: {function: no.such}", text=PRICES))
    check(flow("call: {function: marketdata_assets.flows.ashares.flag_moves}", text=PRICES))


BEFORE, AFTER = dt.date(2020, 8, 21), dt.date(2020, 8, 24)


@pytest.mark.parametrize(
    ("code", "name", "day", "limit"),
    [
        ("sh600000", "浦发银行", AFTER, 0.10),
        ("sz000001", "*ST某某", AFTER, 0.05),
        ("sz000001", "SST某某", AFTER, 0.05),
        ("sz000001", "BEST某", AFTER, 0.10),
        ("sz000001", None, AFTER, 0.10),
        ("bj920000", "ST某某", AFTER, 0.30),
        ("sh688001", "ST某某", AFTER, 0.20),
        ("sz300001", "某某", BEFORE, 0.10),
        ("sz300001", "ST某某", BEFORE, 0.10),
        ("sz300001", "某某", AFTER, 0.20),
    ],
)
def test_a_move_beyond_the_boards_limit_is_marked(code: str, name: str | None, day: dt.date, limit: float) -> None:
    changes = [9.9, limit + 0.019, limit + 0.021, -limit - 0.021, None]
    days = [day - dt.timedelta(5), *[day] * 4]
    given = pl.DataFrame({"code": code, "name": [name] * 5, "trade_date": days, "pct_change": changes})
    assert flag_moves(given)["suspicious"].to_list() == [False, False, True, True, False]
