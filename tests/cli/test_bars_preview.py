"""`bars preview`: what a load would make of a file, with no server and nothing loaded."""

import zipfile
from pathlib import Path

import pytest

from tests.cli.commands import answer, marketdata

JQ = ",open,close,high,low,volume,money\n"
PROFILE = "mine.yaml"


def minutes(volume: int = 1250, amount: float = 12625.0, start: bool = False) -> str:
    """A day by JQData's columns: high 10.2, low 10, and `amount` for `volume` shares a minute."""
    spans = ((570, 689), (780, 899)) if start else ((571, 690), (781, 900))
    times = [minute for first, last in spans for minute in range(first, last + 1)]
    rows = [f"2024-01-31 {at // 60:02d}:{at % 60:02d}:00,10.1,10.1,10.2,10,{volume},{amount}\n" for at in times]
    return JQ + "".join(rows)


def preview(home: Path, name: str, *options: str, **variables: object) -> tuple[int, list[dict]]:
    run = marketdata(home, "bars", "preview", name, "--json", *options, **variables)
    document = answer(run)
    return run.returncode, document["kinds"]


def test_a_file_that_loads_is_shown_as_it_would_be_stored(tmp_path: Path) -> None:
    (tmp_path / "600000.XSHG.csv").write_text(minutes())
    code, [found] = preview(tmp_path, "600000.XSHG.csv", "--rows", "1")
    assert (code, found["problems"], found["profile"], found["code"]) == (0, [], "jqdata", "600000.SH, from its name")
    assert found["units"].endswith("amount by volume is within low and high in 100% of the newest bars")
    assert (found["label"], found["adjustment"]) == (
        "end of the minute, as its days say",
        "forward, as its profile jqdata says",
    )
    assert (found["read"], found["rejected"], found["months"], found["codes"]) == (240, 0, ["2024-01"], ["600000.SH"])
    assert found["first"] == [
        {"time": "2024-01-31T09:31:00", "code": "600000.SH", "open": 10.1, "high": 10.2, "low": 10.0, "close": 10.1}
        | {"volume": 13, "amount": 12625.0}
    ]
    shown = marketdata(tmp_path, "bars", "preview", "600000.XSHG.csv", "--rows", "1")
    assert shown.returncode == 0
    assert all(part in shown.stdout for part in ("jqdatasdk.get_price", "as it would be stored", "12625.0"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (minutes(amount=1262500), "times the price, so volume seems to be in lots; write jqdata: {volume: lots}"),
        (minutes(amount=12.625), "write jqdata: {amount: thousands}"),
        (minutes(amount=126.25), "write jqdata: {volume: shares}"),
        (minutes(amount=0), "no bar says whether they are"),
        (minutes(amount=25000), "times the price, as of bars that were adjusted for dividends since"),
    ],
    ids=["lots", "thousands", "a hundredth", "no trades", "old"],
)  # fmt: skip
def test_units_are_judged_by_amount_and_volume(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "600000.XSHG.csv").write_text(text)
    code, [found] = preview(tmp_path, "600000.XSHG.csv")
    assert (code, said in found["units"]) == (0, True), found["units"]


def test_the_other_label_is_a_problem_and_a_line_of_a_profile_solves_it(tmp_path: Path) -> None:
    (tmp_path / "600000.XSHG.csv").write_text(minutes(start=True))
    code, [found] = preview(tmp_path, "600000.XSHG.csv")
    assert (code, found["label"]) == (1, "end of the minute")
    assert "Write jqdata: {label: start} into the file that MARKETDATA_BARS_PROFILES names" in found["problems"][0]
    (tmp_path / PROFILE).write_text("jqdata: {label: start}")
    code, [found] = preview(tmp_path, "600000.XSHG.csv", MARKETDATA_BARS_PROFILES=tmp_path / PROFILE)
    assert (code, found["label"]) == (0, "start of the minute, as its days say")
    assert found["first"][0]["time"] == "2024-01-31T09:31:00"


def test_of_a_zip_each_kind_is_shown_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("600000.XSHG.csv", "600001.XSHG.csv", "600002.csv"):
            archive.writestr(name, minutes())
        archive.writestr("a.csv", "a,b\n1,2\n")
        archive.writestr("b.csv", "a,b\n1,2\n")
        archive.writestr("c.rar", b"x")
    code, found = preview(tmp_path, "all.zip")
    assert code == 1
    assert [(one["files"], one["place"], one.get("profile")) for one in found] == [
        (3, "all.zip!600000.XSHG.csv", "jqdata"), (2, "all.zip!a.csv", None), (1, "all.zip!c.rar", None)
    ]  # fmt: skip
    assert "no profile fits its first line 'a,b'" in found[1]["problems"][0]
    assert "an archive within a zip is not read. Unpack it" in found[2]["problems"][0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.7z", "not taken: archives of 7-Zip"),
        ("a.xlsx", "not taken: minute bars are read"),
        ("notes.txt", "not taken: a text"),
    ],
)
def test_what_is_not_taken_is_said(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    run = marketdata(tmp_path, "bars", "preview", name)
    assert (run.returncode, said in run.stderr) == (1, True)


def test_rejected_rows_and_unread_columns_are_shown(tmp_path: Path) -> None:
    text = minutes().replace("10.2,10,", "9,10,", 1).replace("\n", ",1.0\n").replace("money,1.0", "money,factor")
    (tmp_path / "600000.XSHG.csv").write_text(text)
    code, [found] = preview(tmp_path, "600000.XSHG.csv")
    assert (code, found["not_read"], found["rejected"]) == (0, ["factor"], 1)
    assert found["reasons"] == ["line 2: high 9 < low 10"]


def test_a_missing_file_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "600000.csv").write_text(minutes())
    run = marketdata(tmp_path, "bars", "preview", "60000.csv")
    assert (run.returncode, run.stdout) == (2, "")
    assert "600000.csv" in run.stderr
