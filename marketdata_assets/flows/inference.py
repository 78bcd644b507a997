"""What the texts of a column look like: the type that takes all of them as they are, and what remains unsure.

A type is only proposed where every value of the sample has it; the author of the flow reads the remarks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

import polars as pl

from marketdata_assets.flows import casting, times
from marketdata_assets.flows.numbers import plain
from marketdata_assets.flows.times import DATE_FORMATS, OFFSET_FORMATS, TIME_FORMATS
from marketdata_assets.flows.types import Cell, ColumnType, Epoch, column_type
from marketdata_assets.loading.rejects import LINE, Rejects

MISSING = (
    *("", "NA", "N/A", "#N/A", "#N/A N/A", "n/a", "N.A.", "n.a.", "NaN", "nan", "NAN", "null", "NULL", "Null", "None"),
    *("none", "-", "--", "---", "－", "—", "——", "/", ".", "..", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", r"\N"),
)
"""Texts that are taken for NULL in a column of numbers or times."""
SURE_MISSING = ("", r"\N", "#N/A", "#N/A N/A")
"""Those that are so in a column of texts."""
TIME_NAME = re.compile(
    r"time|date|_at$|(^|[_ ])(ts|t|d|dt|day|month|quarter|year|period|as_?of)($|[_ ])|timestamp|epoch|日期|时间|時間"
    r"|(^| )(年(份|度|月)?|月份?)( |$)|季度?( |$)"
)
SUBJECT = re.compile(
    r"(^|[_ ])(([a-z]{2,9}_?)?(code|symbol|ticker|sym|isin|cusip|sedol|figi)\d?(_?id)?"
    r"|(instrument|sec(urity)?|pair|gvkey|permno|cik|wkn|ric|inst|conid|lei|(zq|gp|jj|hy)dm|underlying)(_?id)?"
    r"|(order|account|acct|client|customer|deal|contract|investor|seat|member|trader|broker|branch|portfolio|fund|bond"
    r"|product|series|strategy)(_?(id|no|num|number|code|ref|sys_?id))?)(_\d+)?$|(^| )(s|stock)$"
    r"|^(合约|品种|基金|证券|股票|指数)( |$)|代码|代碼|代號|代号|コード|코드|编号|編號|账号|帐号|流水号|合约编码"
    r"|(合同|委托|订单|成交|会员|客户|股东|席位)号|^(账户|股东|席位)( |$)",
    re.IGNORECASE,
)
"""Names of columns that say what a row is about, whose values are texts although they may be digits."""
CODE = re.compile(r"code|symbol|ticker|(^|[_ ])sym($|[_ ])|代码|代碼|代號|代号|コード|코드", re.IGNORECASE)
"""Those of them whose digits may begin with zeros."""
NAMED = re.compile(r"(^|[_ ])(name|asset|company|issuer|entity|holding)($|[_ ])|名称|名稱|简称|簡稱", re.IGNORECASE)
"""Names of columns of names, which are texts although they may be words such as T and 1E5."""
NOT_ABOUT = re.compile(
    r"curr|exch|market|freq|per\b|period|type|unit|adj|interval|status|side|flag|币种|市场|方向|单位"
)
"""Names of texts that do not say what a row is about."""
PROSE = re.compile(
    r"(^|[_ ])(notes?|remarks?|comments?|memo|desc(ription)?s?|title|headline|messages?|reason|summary|body|url|link)"
    r"($|[_ ])|备注|備註|说明|說明|摘要|标题|標題|内容|原因|链接|点评|評論",
    re.IGNORECASE,
)
"""Names of texts that somebody writes, and may change later."""
DIMENSION = re.compile(
    r"(^|[_ ])(side|direction|freq(uency)?|period|interval|timeframe|adjust(ment|flag)?|venue"
    r"|(exchange|market|country|region|currency)(_code)?|ccy|level|right|cp|call_put|leg|(expir(y|ation)|maturity|report|period_end|end|delivery)(_(date|day|month|period))?"
    r"|strike(_price)?|type"
    r"|(account|acct|client|customer|portfolio|fund|order|contract)(_?(id|no|num|number|code))?)$"
    r"|方向|买卖|周期|复权|交易所|市场|币种|档位|到期|行权|交割月|报告期|截止|账户|账号",
    re.IGNORECASE,
)
"""Names of what rows about one thing at one time may differ in, although those of a sample do not."""
PRICE = re.compile(
    r"((adj|pre|last|avg|trade|order|limit|mark|index)_?)?(open|high|low|close|price|px|settle|vwap|nav|bid|ask|last)"
)
"""Names of columns whose numbers may have a fraction although those of a sample have none."""
VALUE = re.compile(
    r"(^|[_ ])(vol(ume)?|amount|amt|turnover|qty|quantity|shares|money|open_?int(erest)?|oi|value)($|[_ ])"
    r"|量|额|額|股数|股數|手数|笔数",
    re.IGNORECASE,
)
"""Names of columns of numbers, which are so although zeros may be before them, and which identify no row."""
RECORDED = re.compile(
    r"(^|[_ ])(download|fetch|crawl|creat|updat|insert|ingest|receiv|recv|load|import|modif)"
    r"|下载|下載|采集|抓取|入库|创建|更新",
    re.IGNORECASE,
)
"""Names of times at which somebody has recorded a row."""
NOT_OF_A_ROW = re.compile(r"(^|[_ ])(list|ipo)|expir|matur|birth|found|establish|deliver|上市|退市|到期|成立")
"""Names of times that are not those of a row."""
EPOCHS: dict[int, Epoch] = {10: "s", 13: "ms", 16: "us", 19: "ns"}
"""Digits of the epochs of our years."""
DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%d-%B-%Y", "%d-%B-%y", "%B %d, %Y", "%B %d %Y", "%d %B %Y"),
    *("%d %B %y", "%B-%d-%Y", "%d%B%Y", "%d/%B/%Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%Y %B %d"),
    *("%a %b %d %Y", "%a %d %b %Y"),
    *("%Y年%m月%d日", "%Y.%m.%d", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%y-%m-%d"),
    *("%m-%d-%Y", "%d-%m-%y", "%m-%d-%y", "%y/%m/%d", "%y.%m.%d"),
)
_CLOCKS = ("%H:%M:%S%.f", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
_AMERICAN = ("%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y")
TIMES = (
    *(
        "%Y%m%d%H%M%S",
        "%Y%m%d%H%M",
        "%Y%m%dT%H%M%S",
        "%a %b %d %H:%M:%S %Y",
        "%Y%m%d%H%M%S%3f",
        "%Y%m%d %H%M%S",
        "%Y年%m月%d日 %H时%M分%S秒",
    ),
    *(f"{day}{gap}{clock}" for day in _AMERICAN for clock in _CLOCKS[2:] for gap in (" ", ", ")),
    *(f"{day}{gap}{clock}" for day in DATES for clock in _CLOCKS for gap in (" ", ", ")),
)
INSTANTS = ("%Y%m%dT%H%M%S%#z", "%Y%m%dT%H%M%S%.f%#z", "%a, %d %b %Y %H:%M:%S %#z")
MOST_FORMS, MANY = 4, 1000
PERIODS = re.compile(
    r"(19|20)\d\d[- ]?(Q[1-4]|H[12]|W([0-4]\d|5[0-3]))|Q[1-4][- /]?(19|20)\d\d"
    r"|[1-4]Q(19|20)?\d\d|[A-Z][a-z]{2}[a-z]*[- ](19|20)?\d\d"
    r"|(19|20)\d\d((-|/|年)(0?[1-9]|1[0-2])月?|年?(第?[一二三四1-4]季度?|[上下]半年)|(0[1-9]|1[0-2])?年?)"
)
"""Quarters, months and years, which are no days."""
EXCELDATES = re.compile(r"[2-5]\d{4}(\.\d+)?")
"""Days since the end of 1899, from 1954 to 2064."""
BOOLEANS = ({"true", "false"}, {"t", "f"}, {"yes", "no"}, {"y", "n"})
NUMBER_LIKE = (
    r"(HK|US)?[(+−–-]?\s*(HK|US)?[¥￥$€£]?\s*[+(-]?"
    r"(\d[\d,'’ \u00a0\u202f]*\.?\d*|\d{1,3}(\.\d{3})+(,\d*)?|\.\d+)([eE][+-]?\d+)?"
    r"\s*(-|[%％‰]|bps?|[千万亿百]*[手股元]?|[KMBT]|[¥￥$€£])?\)?"
)
GROUPED: tuple[dict[str, Any], ...] = (
    {"thousands": ","},
    {"decimal": ","},
    {"thousands": ".", "decimal": ","},
    {"thousands": " ", "decimal": ","},
    {"thousands": " "},
    {"thousands": "'"},
)
GROUPS = r"[+-]?[1-9]\d{0,2}(\.\d{3})?"
CLOCK = re.compile(r"([01]?\d|2[0-3]):?[0-5]\d(:?[0-5]\d([.:,]?\d+)?)?")
CLOCK_DIGITS = re.compile(r"([01]?\d|2[0-3])[0-5]\d([0-5]\d(\d{3})?)?")
TIME_LIKE = (
    r"\d{1,4}[-/.年]\d{1,2}[-/.月]\d{1,4}|\d{1,2}:\d\d|\d{1,2}[- ]?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[- ]\d|\d{4}[- ]?(q[1-4]|年)|\d{4}-\d\d$"
)
SPARE_DIGITS, FEWEST_DIGITS, FEWEST_DECIMALS, MOST_DECIMALS = 3, 16, 4, 10
DIGITS_OF_DOUBLE, MOST_DIGITS = 15, 38
DIGITS_OF_BIGINT = 18
DOUBLE = "kept as double, so 15 digits are exact"
POINT = 'a point is taken for the decimal point; if it separates thousands, write {thousands: ".", decimal: ","}'
ZEROS_LOST = "digits of several lengths are kept as text; if zeros before them were lost, have the files written again"
ZEROS_OF_NUMBERS = "numbers in the file, kept as text; if zeros before them were lost, have the files written again"
CLOCKS = "times of a day, which are kept as text, as they are written"
NO_ZONE = "times have no offset; if they are instants, write {type: timestamptz, zone: Asia/Shanghai}"


@dataclass(frozen=True)
class Guess:
    """The type of a column as it is written in a flow, and what is unsure about it; both texts."""

    cell: Cell
    unsure: str = ""


def looks_like_number(text: str) -> bool:
    """Whether it is a number, however it is written."""
    return re.fullmatch(NUMBER_LIKE, text.strip()) is not None


def looks_like_time(text: str) -> bool:
    """Whether it is a day or time that begins as usual, or a period."""
    return not text.isdigit() and re.match(TIME_LIKE, text.strip(), re.IGNORECASE) is not None


def is_subject(name: str) -> bool:
    """Whether a column of this name, or one of these names, says what a row is about."""
    return SUBJECT.search(name) is not None


def is_prose(name: str, texts: Sequence[str | None]) -> bool:
    """Whether a column has texts for people, by its name or because most of them are sentences: no part of a key."""
    sentences = [text for text in texts if text and ("\n" in text or len(text) > 60 or text.count(" ") > 5)]
    return PROSE.search(name) is not None or 2 * len(sentences) > len(texts)


def is_period(name: str, texts: Sequence[str | None]) -> bool:
    """Whether a column has quarters, months or years."""
    values = [text for text in texts if text]
    named = TIME_NAME.search(name.lower()) is not None or not all(map(str.isdigit, values))
    return bool(values) and named and all(PERIODS.fullmatch(text) for text in values)


def is_clock(texts: Sequence[str | None]) -> bool:
    """Whether a column has times of a day."""
    return bool(texts) and all(
        (CLOCK_DIGITS if (text or "").isdigit() else CLOCK).fullmatch(text or "") for text in texts
    )


def mostly_fractions(texts: Sequence[str | None]) -> bool:
    """Whether most values are numbers and some have a fraction: such are measured, and identify no row."""
    values = [text for text in texts if text and text not in MISSING]
    numbers = [text for text in values if looks_like_number(text)]
    return 2 * len(numbers) > len(values) and any(re.search(r"[.,]\d", text) for text in numbers)


def missing(name: str, texts: Sequence[str | None]) -> list[str]:
    """The texts of the column `name` that are NULL: those of MISSING where the others are numbers or times."""
    if is_subject(name):
        return []
    found = {text for text in texts if text is not None and text in MISSING} - {""}
    others = [text for text in texts if text is not None and text not in MISSING]
    if not found or (others and guess(name, others).cell.type.kind == "text"):
        found &= {*SURE_MISSING}
    return sorted(found)


def guess(name: str, texts: Sequence[str | None], *, decimal_comma: bool = False) -> Guess:
    """The type of the column `name` with these values; None, and the texts of `missing`, are NULL.

    `decimal_comma` says that other numbers of the file have a comma for the decimal point.
    """
    text = column_type("text")
    values = [text for text in texts if text]
    if all(re.match(r"=\".*\"$|'[^']+$", value) for value in values) and values:
        inner = guess(name, [re.sub(r"^=\"(.*)\"$|^'(.*)$", r"\1\2", value) for value in values])
        return Guess(inner.cell.model_copy(update={"excel_text": True}), inner.unsure)
    if is_subject(name):
        lost = CODE.search(name) and all(map(str.isdigit, values)) and len({*map(len, values)}) > 1
        return Guess(Cell(type=text), (ZEROS_LOST if lost else "") if values else "no value in the sample")
    values = [value for value in values if value not in MISSING]
    if not values:
        return Guess(Cell(type=text), "no value in the sample")
    named = TIME_NAME.search(name.lower()) is not None
    dated = _dated(values)
    others = any(all(map(other.fullmatch, values)) for other in (PERIODS, EXCELDATES))
    if named and not dated and not others and all(map(CLOCK_DIGITS.fullmatch, values)):
        return Guess(Cell(type=text), CLOCKS)
    if is_period(name, values) and not all(map(str.isdigit, values)):
        return Guess(Cell(type=text), "quarters, months or years are kept as they are written")
    zeros = any(re.fullmatch(r"[+-]?0\d+(\.\d*)?", value) for value in values) and not dated
    if zeros and (VALUE.search(name) or PRICE.fullmatch(name.rpartition(" ")[2])):
        bare = _number(name, [re.sub(r"^([+-]?)0+(?=\d)", r"\1", value) for value in values], decimal_comma)
        if bare:
            return Guess(bare.cell.model_copy(update={"leading_zeros": True}), bare.unsure)
    for found in (
        _boolean(name, values),
        _time(name, values),
        None if zeros or NAMED.search(name) else _number(name, values, decimal_comma),
    ):
        if found:
            return found
    if zeros:
        return Guess(Cell(type=text), "" if all(map(str.isdigit, values)) else "some begin with 0")
    other = next((value for value in values if not looks_like_number(value)), None)
    if other is None:
        shown = max(values, key=lambda value: len(re.sub(r"[\d.]", "", value)))
        return Guess(Cell(type=text), f"numbers in forms that are not known together, as {shown!r}, are kept as text")
    if 2 * sum(map(looks_like_number, values)) > len(values):
        return Guess(Cell(type=text), f"most are numbers, but not {other!r}; if that is NULL, name it in missing")
    if named and any(re.search(r"\d", value) for value in values) and not is_clock(values):
        return Guess(Cell(type=text), "named as a time, and in no form that is known, so it is kept as text")
    return Guess(Cell(type=text))


def of_schema(name: str, dtype: Any) -> Guess:
    """The type of a column that has one already, as in Parquet; what the rows are about is text there too."""
    if isinstance(dtype, pl.Decimal):
        return Guess(Cell(type=ColumnType("numeric", dtype.precision or 38, dtype.scale)))
    if isinstance(dtype, pl.Datetime):
        return _instants("timestamptz" if dtype.time_zone else "timestamp", truncate=dtype.time_unit == "ns")
    names = {pl.Date: "date", pl.Boolean: "boolean"}
    if dtype.is_float():
        return Guess(Cell(type=column_type("double")))
    if dtype in names:
        return Guess(Cell(type=column_type(names[dtype])))
    if dtype.is_integer() and is_subject(name):
        return Guess(Cell(type=column_type("text")), ZEROS_OF_NUMBERS if CODE.search(name) else "")
    if dtype.is_integer():
        return Guess(Cell(type=column_type("numeric(20)" if dtype == pl.UInt64 else "bigint")))
    return Guess(Cell(type=column_type("text")))


def _instants(kind: str, truncate: bool) -> Guess:
    """Times in the usual forms."""
    unsure = [NO_ZONE] if kind == "timestamp" else []
    unsure += ["digits below a microsecond are cut off"] if truncate else []
    return Guess(Cell(type=column_type(kind), truncate=truncate), "; ".join(unsure))


def _fits(cell: Cell, values: Sequence[str]) -> bool:
    rejects = Rejects()
    frame = pl.DataFrame({LINE: range(len(values)), "x": values})
    return casting.parse(frame, {"x": cell}, rejects).height == len(values)


def _boolean(name: str, values: Sequence[str]) -> Guess | None:
    words = {text.lower() for text in values}
    return Guess(Cell(type=column_type("boolean"))) if words in BOOLEANS and not NAMED.search(name) else None


def _dated(values: Sequence[str]) -> bool:
    """Whether all are days of our time, as eight digits or otherwise."""
    compact = all(re.fullmatch(r"(19|20)\d{6}", text) for text in values if text.isdigit())
    return compact and all(map(_four_digits, values)) and _fits(Cell(type=column_type("date")), values)


def _four_digits(text: str) -> bool:
    """Whether a text in the usual form has a year of four digits: 24-01-02 is no day of the year 24."""
    return re.match(r"\d{4}", text) is not None


def _time(name: str, values: Sequence[str]) -> Guess | None:
    if _dated(values):
        return Guess(Cell(type=column_type("date")))
    named = TIME_NAME.search(name.lower())
    if all(re.fullmatch(r"\d+(\.\d+)?", text) for text in values):
        digits = {len(text.partition(".")[0]) for text in values}
        units = {EPOCHS.get(length if length in EPOCHS else length + 1) for length in digits}
        epoch = units.pop() if len(units) == 1 and (named or _rising(name, digits, values)) else None
        # other files may have other units, as those of Binance since 2025
        cell = Cell(type=column_type("timestamptz"), epoch="auto", truncate=epoch == "ns") if epoch else None
        if cell and _fits(cell, values):
            return Guess(cell, f"taken for {epoch} since 1970, by its digits")
        if named and all(map(EXCELDATES.fullmatch, values)):
            kind = "timestamp" if any("." in text for text in values) else "date"
            return Guess(
                Cell(type=column_type(kind), excel_days=True), "taken for days since 1899-12-30, as Excel has them"
            )
    if all(map(_four_digits, values)) and not values[0].isdigit():
        for kind, truncate in product(("timestamp", "timestamptz"), (False, True)):
            if _fits((found := _instants(kind, truncate)).cell, values):
                return found
    if not any(map(_like_a_time, values[:MANY])):
        return None
    for kind, forms, usual, unsure in (
        ("date", DATES, DATE_FORMATS, ""),
        ("timestamp", TIMES, (*TIME_FORMATS, *DATE_FORMATS, *DATES), NO_ZONE),
        ("timestamptz", INSTANTS, OFFSET_FORMATS, ""),
    ):
        if forms_of := _forms(kind, forms, usual, values):
            return Guess(forms_of[0], "; ".join(filter(None, (forms_of[1], unsure))))
    return None


def _rising(name: str, digits: set[int], values: Sequence[str]) -> bool:
    """Whether numbers of a column that is not named as a time may be epochs: all rise or fall, by little."""
    numbers = [*map(float, values)]
    ordered = numbers in (sorted(numbers), sorted(numbers, reverse=True))
    long = len(digits) == 1 and min(digits) in EPOCHS and min(digits) > min(EPOCHS)
    near = max(numbers) - min(numbers) < max(numbers) / 50  # a year; what is measured seldom is so even
    return long and ordered and near and (name[:1].isdigit() or len(values) > 2)


def _forms(kind: str, forms: Sequence[str], usual: Sequence[str], values: Sequence[str]) -> tuple[Cell, str] | None:
    """The form that takes all values, or the fewest that together do, and what is unsure about that."""
    column = pl.Series("x", values)
    shapes = pl.Series("x", [*{re.sub(r"[^\W\d]", "x", re.sub(r"\d", "9", text)): text for text in values}.values()])
    able = [form for form in dict.fromkeys((*forms, *usual)) if _taken(kind, form, shapes).any()]
    taken = {form: _taken(kind, form, column) for form in able}
    fitting = [form for form in able if taken[form].all()]
    if fitting:
        best = min(fitting, key=lambda form: _days(kind, form, column))
        other = f"{' and '.join(fitting)} fit all values; {best} is taken" if len(fitting) > 1 else ""
        return Cell(type=column_type(kind), format=(best,)), other
    picked: list[str] = []
    left = column.is_not_null()
    while left.any() and able and len(picked) < MOST_FORMS:
        picked.append(max(able, key=lambda one: int((taken[one] & left).sum())))
        left = left & ~taken[picked[-1]]
    alike = {re.sub("%[dmy]", "%", form) for form in picked}
    if left.any() or len(alike) < len(picked):  # of 13/01 and 01/13 no one knows what 01/02 is
        return None
    swapped = [form.translate(str.maketrans("dm", "md")) for form in picked]
    also = [
        form
        for form, given in zip(swapped, picked, strict=True)
        if form != given and not (form not in able or (taken[given] & ~taken[form]).any())
    ]
    fits = f"; {also[0]} fits as well" if also else ""
    picked.sort(key=lambda form: "%y" not in form)  # a year of two digits is one of %Y as well
    return Cell(
        type=column_type(kind), format=tuple(picked)
    ), f"written in {len(picked)} forms: {', '.join(picked)}{fits}"


def _parsed(kind: str, form: str, column: pl.Series) -> pl.Series:
    zone = "UTC" if kind == "timestamptz" else None
    return times.parse(column, Cell(type=column_type(kind), format=(form,), zone=zone))


def _days(kind: str, form: str, column: pl.Series) -> int:
    """How many days lie between the values; of 01/02 and 01/03, one day is more usual than a month."""
    days = _parsed(kind, form, column).cast(pl.Date).cast(pl.Int32)
    return int(days.max()) - int(days.min())  # type: ignore[arg-type]  # of integers


def _taken(kind: str, form: str, column: pl.Series) -> pl.Series:
    """Where a form takes a value, as a time of our centuries."""
    found = _parsed(kind, form, column)
    return found.dt.year().is_between(1600, 2200).fill_null(False)


def _like_a_time(text: str) -> bool:
    if re.fullmatch(r"(19|20)\d{10,15}|\d{1,2}\.\d{1,2}\.\d{2,4}", text):
        return True
    return re.search(r"\d.*[^\d.,].*\d", text) is not None and not looks_like_number(text)


def _number(name: str, values: Sequence[str], decimal_comma: bool) -> Guess | None:
    whole = Cell(type=column_type("bigint"))
    if all(re.fullmatch("[+-]?[0-9]{1,18}", text) for text in values):
        if PRICE.fullmatch(name.rpartition(" ")[2]) and max(map(len, values)) <= FEWEST_DIGITS - FEWEST_DECIMALS:
            return Guess(Cell(type=column_type(f"numeric({FEWEST_DIGITS},{FEWEST_DECIMALS})")))
        looks = TIME_NAME.search(name.lower()) is not None
        return Guess(whole, "named as a time, and no epoch that is known" if looks else "")
    if any(re.search(r"\d[eE]", text) for text in values) and _fits(Cell(type=column_type("double")), values):
        return Guess(Cell(type=column_type("double")), "with exponents, so not exact")
    if not all(map(looks_like_number, values)):
        return None
    endings: tuple[dict[str, Any], ...] = ({}, {"chinese_units": True})
    endings = ({"percent": True},) if values[0].endswith("%") else endings
    marks = {mark for text in values for mark in re.findall(r"[¥￥$€£元]", text)}
    own: dict[str, Any] = {"currency": marks.pop()} if len(marks) == 1 else {}
    own |= {"parentheses": True} if any(text.startswith("(") for text in values) else {}
    groups = GROUPED if own else ({}, *GROUPED)  # who writes signs of money separates thousands as well
    ordered = sorted(groups, key=lambda group: decimal_comma and group.get("decimal") != ",")
    for option in ({**group, **ending} for group in ordered for ending in endings):
        cell = _numeric(values, {**option, **own})
        if cell and _fits(cell, values):
            return Guess(cell, _unsure_marks(option, values) or (DOUBLE if cell.type.kind == "double" else ""))
    return None


def _unsure_marks(option: dict[str, Any], values: Sequence[str]) -> str:
    if option == {"decimal": ","}:
        return "a comma is taken for the decimal point"
    if not option and any("." in text for text in values) and all(re.fullmatch(GROUPS, text) for text in values):
        return POINT
    return ""


def _numeric(values: Sequence[str], option: dict[str, Any]) -> Cell | None:
    """A numeric that takes all values with some digits to spare; double where they are doubles in all their digits."""
    wide = Cell(type=column_type("numeric(38,10)"), **option)
    written = plain(pl.Series(values), wide).to_list()
    try:
        numbers = [Decimal(text) for text in written if text is not None]
    except ArithmeticError:
        return None
    if len(numbers) < len(values) or not all(map(Decimal.is_finite, numbers)):
        return None
    decimals = max(0, *(-int(number.as_tuple().exponent) for number in numbers))
    digits = max(number.adjusted() + 1 for number in numbers)
    of_doubles = decimals > MOST_DECIMALS and any(
        len(number.as_tuple().digits) > DIGITS_OF_DOUBLE for number in numbers
    )
    if digits + decimals > MOST_DIGITS or (of_doubles and all(Decimal(repr(float(one))) == one for one in numbers)):
        return Cell(type=column_type("double"), **option)
    if not decimals and digits <= DIGITS_OF_BIGINT and option.keys() <= {"thousands", "currency", "parentheses"}:
        return Cell(type=column_type("bigint"), **option)
    scale = max(FEWEST_DECIMALS, decimals)
    precision = min(MOST_DIGITS, max(FEWEST_DIGITS, max(digits, 1) + SPARE_DIGITS + scale))
    return Cell(type=column_type(f"numeric({precision},{scale})"), **option)
