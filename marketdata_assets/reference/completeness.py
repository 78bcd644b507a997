"""Which minutes and days of A-shares are missing, given what the tables have of each stock and trading day.

A stock that has nothing on a day is missing where its suspensions are known, and silent where they are not: it may have
been suspended. What a table has, and of which stocks and days it should have anything, its own domain says.
"""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from marketdata_assets.loading.reports import and_more
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import Calendar, ashares, calendar_of
from marketdata_assets.reference.exchanges import by_exchange, exchange_of
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.reference.stored import Suspensions
from marketdata_assets.reference.tables import CODE_CHANGES, NAME_HISTORY
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.clients import Client

SESSION_MINUTES = 240
PLAUSIBLE = 0.95
"""Days of fewer of the session's minutes are no vendor's usual day, however many there are."""
MAJORITY = 0.5
SILENT_SHARE = 0.2
SILENT_SYMBOLS = 10
"""A day is wrong on which more symbols than this, and a greater share than that, are silent; or all of several."""
LISTED = 20
LISTED_MINUTES = 10
NAMED_SYMBOLS = 5

CELLS = pl.Schema({"symbol": pl.String(), "date": pl.Date(), "have": pl.Int64(), "want": pl.Int64()})
"""What there is of a stock on a trading day, and what there should be; null where that is unknown."""


@dataclass(frozen=True)
class Reference:
    """What is known of the market: when it is open, which stocks it has, and when they were suspended.

    `renamed` are the present codes of stocks that had another one, `names` is the name history.
    """

    calendar: Calendar = field(default_factory=ashares)
    listings: Mapping[str, Listing] = field(default_factory=dict)
    suspensions: Suspensions = field(default_factory=Suspensions.unknown)
    renamed: Mapping[str, str] = field(default_factory=dict)
    names: pl.DataFrame = field(default_factory=lambda: NAME_HISTORY.columns.to_frame())

    @classmethod
    def of(cls, client: Client, days: Days) -> "Reference":
        """What is stored about some days."""
        listings = {one.symbol: one for one in stored.listings(client)}
        changes = stored.rows(client, CODE_CHANGES)
        renamed = {old: new for old, new in changes.select("old", "new").iter_rows() if new in listings}
        suspensions = stored.suspensions(client, days)
        return cls(stored.calendar(client), listings, suspensions, renamed, stored.rows(client, NAME_HISTORY))

    @property
    def unknown(self) -> list[str]:
        """What nobody has said, as a reader of a check should know it."""
        missing = {"when stocks were listed": not self.listings, "suspensions": not self.suspensions.known}
        return [name for name, is_missing in missing.items() if is_missing]

    def present_codes(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with the codes in its column `symbol` that stocks have now."""
        return frame.with_columns(pl.col("symbol").replace(dict(self.renamed)))


def day_shapes(counts: pl.DataFrame, groups: Sequence[str], share: float = MAJORITY) -> pl.DataFrame:
    """`want` of each group: the minutes that most of its whole days `have`, whatever a vendor leaves out of every day.

    Too few to be a whole day mean that minutes are missing everywhere: then it is the session's minutes, and the group
    is not `whole`. Null where less than a `share` of the days are alike, as those of a vendor that leaves out minutes
    without trades.
    """
    plausible = pl.col("have") >= PLAUSIBLE * SESSION_MINUTES
    tally = counts.group_by(*groups, "have").agg(pl.len()).sort("len", "have", descending=True)
    all_days, whole_days = pl.col("len").sum(), pl.col("len").filter(plausible).sum()
    shapes = tally.group_by(*groups, maintain_order=True).agg(
        usual=pl.col("have").filter(plausible).first(),
        alike=pl.col("len").filter(plausible).first() / whole_days,
        whole=whole_days >= MAJORITY * all_days,
        constant=pl.col("len").first() >= MAJORITY * all_days,
    )
    short = pl.when(~pl.col("whole") & pl.col("constant")).then(SESSION_MINUTES)
    whole = pl.col("whole") & (pl.col("alike") >= share)
    want = pl.when(whole).then("usual").otherwise(short)
    return shapes.select(*groups, want=want.cast(pl.Int64), whole=whole.fill_null(False))


UNJUDGED = ("suspended", "provisional")


def judge(cells: pl.DataFrame, suspensions: Suspensions, calendar: Calendar) -> pl.DataFrame:
    """The cells (see CELLS) with a `cause`: complete, minutes (missing), day (missing), silent, suspended, provisional,
    or unjudged.

    Provisional is a day that nobody has announced as a trading day and of which no stock has anything. A cell may have
    a column `certain`, false where nobody knows that the stock was to trade.
    """
    provisional = (pl.col("date") > calendar.known.last) & (pl.col("have").max().over("date") == 0)
    halted = suspensions.frame.select("symbol", "date").unique().with_columns(halted=True)
    cells = cells.join(halted, on=["symbol", "date"], how="left")
    certain = pl.col("date").is_in(sorted(suspensions.known))
    if "certain" in cells.columns:
        certain &= pl.col("certain")
    causes = (
        ("complete", pl.col("have") >= pl.col("want")),
        ("suspended", pl.col("halted")),
        ("provisional", provisional),
        ("day", (pl.col("have") == 0) & certain),
        ("silent", pl.col("have") == 0),
        ("unjudged", pl.col("want").is_null()),
        ("minutes", pl.lit(True)),
    )
    cause = pl.coalesce(pl.when(holds).then(pl.lit(name)) for name, holds in causes)
    return cells.select(*CELLS.names(), cause.alias("cause"))


def silent_days(judged: pl.DataFrame) -> pl.DataFrame:
    """The days (date, market, silent, symbols) on which too many of the symbols of one exchange that were not suspended
    have nothing at all."""
    nothing = pl.col("cause").is_in(["day", "silent"]).sum()
    known = _with_market(judged).filter(~pl.col("cause").is_in(UNJUDGED))
    days = known.group_by("date", "market").agg(silent=nothing, symbols=pl.len())
    all_of_several = (pl.col("silent") == pl.col("symbols")) & (pl.col("symbols") > 1)
    many = (pl.col("silent") > SILENT_SYMBOLS) & (pl.col("silent") > SILENT_SHARE * pl.col("symbols"))
    return days.filter(all_of_several | many).sort("date", "market")


def gaps(judged: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """What is missing: symbol, cause, first and last of neighbouring trading days of the symbol's exchange, how many,
    have and want. `calendar` is that of A-shares."""
    span = Days(judged["date"].min(), judged["date"].max())  # type: ignore[arg-type]
    open_days = {
        exchange.name: calendar_of(symbols[0], calendar).trading_days(span)
        for exchange, symbols in by_exchange(judged["symbol"].unique()).items()
    }
    numbers = [
        pl.DataFrame({"market": market, "date": days}, {"market": pl.String(), "date": pl.Date()}).with_row_index(
            "number"
        )
        for market, days in open_days.items()
    ]
    missing = _with_market(judged).filter(pl.col("cause").is_in(["minutes", "day", "silent"]))
    missing = missing.join(pl.concat(numbers), on=["market", "date"])
    keys = ["symbol", "cause"]
    run = pl.col("number").cast(pl.Int64) - pl.col("number").rank("ordinal").over(keys).cast(pl.Int64)
    spans = missing.sort("date").with_columns(run=run).group_by(*keys, "run").agg(
        first=pl.col("date").min(),
        last=pl.col("date").max(),
        days=pl.len(),
        have=pl.col("have").sum(),
        want=pl.col("want").sum(),
    )  # fmt: skip
    return spans.drop("run").sort("cause", "first", "symbol")


def _with_market(judged: pl.DataFrame) -> pl.DataFrame:
    markets = {symbol: exchange_of(symbol).name for symbol in judged["symbol"].unique()}
    return judged.with_columns(market=pl.col("symbol").replace_strict(markets, return_dtype=pl.String))


def finding(
    judged: pl.DataFrame,
    calendar: Calendar,
    missing_minutes: Callable[[str, dt.date], Sequence[str]],
    unknown: Collection[str] = (),
) -> Finding:
    """Object to missing minutes, to missing days, and to days on which too many symbols are silent.

    `judged` has at least one cell; `calendar` is that of A-shares, and others' are those of their exchanges. Single
    silent days are examples and facts, and no objection; so is what is `unknown`. `missing_minutes` names those of a
    symbol and day, as `10:31`.
    """
    crowded = silent_days(judged)
    found = gaps(judged, calendar)
    examples: list[dict[str, Any]] = [
        {"day": str(day), "note": f"nothing of {silent} of {symbols} symbols of {market}"}
        for day, market, silent, symbols in crowded.head(LISTED).iter_rows()
    ]
    for cause in ("day", "minutes", "silent"):
        examples += _examples(found.filter(pl.col("cause") == cause), missing_minutes)
    examples += [{"note": f"unknown: {text}"} for text in unknown]
    cells = dict(judged.group_by("cause").len().iter_rows())
    counted = judged.filter(~pl.col("cause").is_in(UNJUDGED))
    holes = found.filter(pl.col("cause") == "minutes")
    facts = {
        "minutes_expected": int(counted["want"].sum()),
        "minutes_missing": int((holes["want"] - holes["have"]).sum()),
        "days_with_holes": cells.get("minutes", 0),
        "days_missing": cells.get("day", 0),
        "days_silent": cells.get("silent", 0),
        "days_suspended": cells.get("suspended", 0),
        "days_provisional": cells.get("provisional", 0),
        "days_with_many_silent": crowded.height,
    }
    count = facts["days_with_holes"] + facts["days_missing"] + facts["days_with_many_silent"]
    return Finding(count, tuple(examples), judged.height, cells.get("unjudged", 0), facts)


def _examples(found: pl.DataFrame, missing_minutes: Callable[[str, dt.date], Sequence[str]]) -> list[dict[str, Any]]:
    """The largest gaps of a cause; the same gap of many symbols is one example."""
    alike = found.group_by("first", "last", "days", "cause", "have", "want").agg(pl.col("symbol").sort())
    same = alike.with_columns(pl.col("have", "want") * pl.col("symbol").list.len())
    largest = same.sort(pl.col("want") - pl.col("have"), "first", descending=[True, False]).head(LISTED)
    examples = []
    for row in largest.iter_rows(named=True):
        example = {
            "symbol": and_more(row["symbol"], NAMED_SYMBOLS),
            "first": str(row["first"]),
            "last": str(row["last"]),
        }
        example |= {name: row[name] for name in ("days", "have", "want")}
        if row["cause"] == "silent":
            example["note"] = "nothing; suspended, or missing"
        elif row["cause"] == "minutes" and row["days"] == len(row["symbol"]) == 1:
            example["minutes"] = and_more(missing_minutes(row["symbol"][0], row["first"]), LISTED_MINUTES)
        examples.append(example)
    return examples
