"""Flows from the command line: a new one works the first time, mistakes are told by file, line, field and fix."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from marketdata_assets.flows.definition import read
from marketdata_assets.flows.trial import try_file
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.stores import clickhouse
from tests.cli.commands import answer, marketdata

Command = Callable[..., Any]


@pytest.fixture
def here(running: LocalStack, database: str, tmp_path: Path) -> Command:
    """`marketdata` in an empty folder, on the running stack with a database of its own."""
    home = running.settings.root

    def run(*arguments: str) -> Any:
        return marketdata(
            home,
            *arguments,
            MARKETDATA_POSTGRES_DSN=database,
            MARKETDATA_FLOWS_DIR=tmp_path / "flows",
            MARKETDATA_FLOWS_DATA=tmp_path / "data",
            MARKETDATA_WORKERS=1,
        )

    return run


def test_new_flow_is_checked_loaded_and_loaded_once(here: Command, tmp_path: Path, database: str) -> None:
    made = here("flows", "new", "my_prices")
    assert made.returncode == 0, made.stderr
    home = tmp_path / "flows" / "my_prices"
    assert {path.relative_to(home).as_posix() for path in home.rglob("*.*")} == {
        "defs.yaml",
        "handlers.py",
        "sample/prices.csv",
        "test_my_prices.py",
    }
    assert here("flows", "schema").stdout == (tmp_path / "flows" / "flow.schema.json").read_text("utf-8")
    assert (home / "defs.yaml").read_text("utf-8").startswith("# yaml-language-server: $schema=../flow.schema.json\n")
    [row] = answer(here("flows", "check", "my_prices", "--json"))["flows"]
    assert (row["result"], row["read"], row["rejected"], row["error"]) == ("ok", 12, 0, None)
    run = here("flows", "run", "my_prices", "--data-dir", str(home / "sample"), "--json")
    assert run.returncode == 0, run.stderr
    said = answer(run)
    assert (said["success"], said["rows"], said["files_loaded"], said["checks_passed"]) == (True, 12, 1, 4)
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT symbol, count(*), count(ma5), sum(jump::int) FROM my_prices GROUP BY 1"
        ).fetchall()
    assert sorted(rows) == [("ALFA", 6, 2, 0), ("BETA", 6, 2, 1)]
    again = answer(here("flows", "run", "my_prices", "--data-dir", str(home / "sample"), "--json"))
    assert (again["rows"], again["files_unchanged"]) == (0, 1)
    forced = here("flows", "run", "my_prices", "--data-dir", str(home / "sample"), "--force", "--max-workers", "1")
    assert "my_prices     12 rows, 0 rejected" in forced.stdout
    line, files = forced.stdout.splitlines()
    assert line.endswith("1 files loaded, 0 unchanged, 0 failed; 4 checks passed")
    assert files == "files         1 file: 1 loaded"
    status = answer(here("status", "--json"))
    [row] = [row for row in status["assets"] if row["group"] == "flows"]
    assert (row["asset"], row["ok"], row["failed"], row["rows"], row["quarantine"]) == ("my_prices", 1, 0, 12, 0)


def test_new_flow_is_loaded_into_clickhouse(here: Command, running: LocalStack, tmp_path: Path) -> None:
    here("flows", "new", "my_quotes")
    home = tmp_path / "flows" / "my_quotes"
    declared = home / "defs.yaml"
    text = declared.read_text("utf-8")
    changed = text.replace("mode: upsert", "mode: upsert\n    kind: clickhouse\n    removed_rows: delete")
    declared.write_text(changed)
    sample = ("--data-dir", str(home / "sample"))
    assert here("flows", "plan", "my_quotes", *sample).returncode == 0
    run = here("flows", "run", "my_quotes", *sample, "--json")
    assert run.returncode == 0, run.stderr
    said = answer(run)
    assert (said["success"], said["rows"], said["files_loaded"], said["checks_passed"]) == (True, 12, 1, 4)
    assert running.endpoints.clickhouse_url
    with clickhouse.connect(running.endpoints.clickhouse_url) as client:
        query = "SELECT symbol, count() AS rows, countIf(jump) AS jumps FROM my_quotes GROUP BY symbol ORDER BY symbol"
        assert list(clickhouse.read(client, query).iter_rows()) == [("ALFA", 6, 0), ("BETA", 6, 1)]
    again = answer(here("flows", "run", "my_quotes", *sample, "--json"))
    assert (again["rows"], again["files_unchanged"]) == (0, 1)
    [row] = [row for row in answer(here("status", "--json"))["assets"] if row["group"] == "flows"]
    assert (row["asset"], row["ok"], row["rows"]) == ("my_quotes", 1, 12)
    forgotten = answer(here("flows", "forget", "my_quotes", "prices.csv", "--json"))
    assert forgotten["forgotten"] == [{"file": "prices.csv", "rows": 12}]


def test_plan_says_what_a_run_would_do_and_does_nothing(here: Command, tmp_path: Path, database: str) -> None:
    here("flows", "new", "my_prices")
    home = tmp_path / "flows" / "my_prices"
    sample = ("--data-dir", str(home / "sample"))
    first = here("flows", "plan", "my_prices", *sample)
    assert first.stdout.startswith("table my_prices: would be created, 0 changes\nfiles to load: 1 new, 0 again; ")
    assert here("flows", "run", "my_prices", *sample).returncode == 0
    declared = home / "defs.yaml"
    text = declared.read_text("utf-8")
    changed = text.replace("      ma5: numeric(16,4)", "      ma5: numeric(18,4)\n      doubled: double")
    declared.write_text(changed.replace("        change: close", "        doubled: close * 2\n        change: close"))
    planned = here("flows", "plan", "my_prices", *sample, "--json")
    assert planned.returncode == 0, planned.stderr
    said = answer(planned)
    assert (said["rows"], said["needs_rebuild"], said["files"]["stale"]) == (12, False, 1)
    assert [change["done"] for change in said["changes"]] == ["in place", "in place"]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_attribute WHERE attname = 'doubled'").fetchone() == (0,)
    altered = here("flows", "run", "my_prices", *sample)
    assert "table altered: it has no column doubled" in altered.stderr
    declared.write_text(text.replace("key: [symbol, day]", "key: [day, symbol, close]"))
    stopped = here("flows", "plan", "my_prices", *sample)
    assert stopped.returncode == 1
    assert "its primary key is (symbol, day), declared (day, symbol, close)" in stopped.stdout
    assert here("flows", "run", "my_prices", *sample).returncode == 1
    built = here("flows", "rebuild", "my_prices", *sample)
    assert built.stdout.startswith("table my_prices rebuilt: 12 rows of 1 files, "), built.stderr
    assert here("flows", "plan", "my_prices", *sample).stdout.startswith("table my_prices: 12 rows, 0 changes\n")


def test_tests_of_a_new_flow_pass(here: Command, tmp_path: Path) -> None:
    assert here("flows", "new", "my_prices").returncode == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "flows/my_prices"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout


def test_refused_rows_and_failed_files_are_told(here: Command, tmp_path: Path) -> None:
    here("flows", "new", "my_prices")
    data = tmp_path / "data" / "my_prices"
    data.mkdir(parents=True)
    lines = [f"ALFA,{2000 + year}-01-{day:02d},{10 + day},100" for year in range(10) for day in range(1, 21)]
    (data / "good.csv").write_text("\n".join(["Symbol,Date,Close,Volume", *lines, "BETA,2024-01-02,-1,5", ""]))
    (data / "bad.csv").write_text("Symbol,Close,Volume\nALFA,1,1\n")
    run = here("flows", "run", "my_prices", "--json")
    assert run.returncode == 1
    said = answer(run)
    assert (said["success"], said["rows"], said["rejected"], said["files_failed"]) == (False, 200, 1, 1)
    assert "bad.csv:1: the header has no Date; it has Symbol, Close, Volume" in said["error"]
    [refused] = answer(here("quarantine", "show", "flows", "--json"))["rows"]
    assert (refused["dataset"], refused["place"]) == ("my_prices", "good.csv:202")
    assert refused["reason"] == "breaks the rule 'close above 0'"
    assert refused["raw"] == "BETA,2024-01-02,-1,5"
    status = here("status", "--json")
    assert status.returncode == 1
    [row] = [row for row in answer(status)["assets"] if row["group"] == "flows"]
    assert (row["ok"], row["failed"], row["quarantine"]) == (1, 1, 1)


MISTAKES = [
    ("glob:", "globb:", "loader.globb: unknown key; did you mean 'glob'?"),
    ("day: date", "day: dat", "loader.types.day: unknown type 'dat'; did you mean 'date'?"),
    ("encoding: utf-8", "encoding: utf-9", "loader.encoding: unknown encoding 'utf-9'"),
    ("skip_lines: 0", "skip_lines: none", "loader.skip_lines: "),
    (
        "key: [symbol, day]",
        "key: [symbol, days]",
        "target.key.1: 'days' is no column of the target; did you mean 'day'?",
    ),
    ("mode: upsert", "mode: upsrt", "target.mode: "),
    ("partitions: none", "partitions: {month: symbol}", "partitions.month: 'symbol' is text; it must be date, "),
    ("schedule: null", "schedule: 0 99 * * *", "schedule: '0 99 * * *' is no cron line of five fields"),
    ("team:me", "me", "owners.0: 'me' is no e-mail address and no team:NAME"),
    ("- sort:", "- sorted:", "handlers.1.sorted: unknown key; did you mean 'sort'?"),
    ("sensor: true", "sensor: true\n  sensor: false", "sensor: is given twice"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), MISTAKES, ids=[said for _, _, said in MISTAKES])
def test_mistake_is_told_with_line_field_and_fix(
    here: Command, tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    here("flows", "new", "my_prices")
    file = tmp_path / "flows" / "my_prices" / "defs.yaml"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    listed = here("flows", "list", "--json")
    assert listed.returncode == 1
    [found] = [row["error"] for row in answer(listed)["flows"] if row["flow"] == "my_prices"]
    line = text[: text.index(right)].count("\n") + wrong.count("\n") + 1
    assert found.startswith(f"{file}:{line}: ")
    assert said in found


RUNS_NOT = [
    (".handlers.mark_jumps", ".handlers.mark_jump", "the module has no function 'mark_jump'"),
    (".handlers.mark_jumps", ".handler.mark_jumps", "cannot be imported"),
    ("close > 0", "closed > 0", "closed"),
    ("column: close, windows", "column: closing, windows", "closing"),
    ("change: numeric(16,8)", "chance: numeric(16,8)", "the handlers give no column chance"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), RUNS_NOT, ids=[wrong for _, wrong, _ in RUNS_NOT])
def test_check_finds_what_a_run_would_stumble_over(
    here: Command, tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    here("flows", "new", "my_prices")
    file = tmp_path / "flows" / "my_prices" / "defs.yaml"
    file.write_text(file.read_text().replace(right, wrong, 1))
    checked = here("flows", "check", "my_prices", "--json")
    assert checked.returncode == 1
    [row] = answer(checked)["flows"]
    assert row["result"] == "wrong"
    assert said in row["error"]


def test_names_that_cannot_be_are_refused(here: Command) -> None:
    assert here("flows", "new", "my_prices").returncode == 0
    for name, said in (
        ("my_prices", "already exists"),
        ("My-Prices", "small letters, digits and _"),
        ("stock_1min_qfq", "an asset has this name already"),
    ):
        made = here("flows", "new", name)
        assert made.returncode == 1
        assert said in made.stderr
    run = here("flows", "run", "my_price")
    assert run.returncode == 2
    assert "no flow 'my_price': did you mean 'my_prices'?" in run.stderr
    assert here("flows", "run", "my_prices", "--data-dir", "nowhere").returncode == 2


def test_shipped_flows_are_listed_and_would_run(here: Command) -> None:
    listed = answer(here("flows", "list", "--json"))["flows"]
    assert [(row["flow"], row["mode"], row["error"]) for row in listed] == [
        ("stock_daily", "upsert", None),
        ("stock_daily_indicators", "upsert", None),
    ]
    checked = here("flows", "check")
    assert checked.returncode == 0, checked.stderr


def test_trial_rejects_the_first_row_of_a_key(tmp_path: Path, here: Command) -> None:
    here("flows", "new", "my_prices")
    home = tmp_path / "flows" / "my_prices"
    sample = home / "sample" / "prices.csv"
    sample.write_text(sample.read_text() + "ALFA,2024-01-02,11.00,5\n")
    tried = try_file(read(home / "defs.yaml"), sample)
    assert list(tried.rejects) == [2]
    assert (tried.rows.height, tried.read, tried.too_many) == (12, 13, True)


def test_flow_by_months_says_nothing_but_its_lines(here: Command, tmp_path: Path) -> None:
    here("flows", "new", "my_prices")
    file = tmp_path / "flows" / "my_prices" / "defs.yaml"
    file.write_text(file.read_text().replace("partitions: none", "partitions: {month: day}"))
    run = here("flows", "run", "my_prices", "--data-dir", str(file.parent / "sample"))
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 2


def test_folders_that_a_flow_reads_are_known_to_check_and_preview(here: Command, tmp_path: Path) -> None:
    home = tmp_path / "flows" / "closes"
    home.mkdir(parents=True)
    (home / "defs.yaml").write_text(
        "loader: {folder: closes, file_name: '{venue}/{symbol}.csv', columns: [close], types: {close: double}}\n"
        "target: {table: closes, key: [venue, symbol], columns: {venue: text, symbol: text, close: double}}\n"
    )
    file = tmp_path / "data" / "closes" / "XNAS" / "AAPL.csv"
    file.parent.mkdir(parents=True)
    file.write_text("close\n1.5\n")
    [row] = answer(here("flows", "check", "closes", "--json"))["flows"]
    assert (row["result"], row["tried"], row["read"]) == ("ok", str(file), 1)
    for options in ([], ["--file", str(file)]):
        shown = answer(here("flows", "preview", "closes", *options, "--json"))
        assert shown["steps"][-1]["rows"] == [{"venue": "XNAS", "symbol": "AAPL", "close": 1.5}]


def test_a_file_becomes_a_table_by_two_commands(here: Command, tmp_path: Path, database: str) -> None:
    data = tmp_path / "delivery"
    data.mkdir()
    (data / "AAPL.csv").write_text("Date,Close\n2024-01-02,185.64\n2024-01-03,184.25\n")
    made = here("flows", "new", "closes", "--from", str(data / "AAPL.csv"), "--json")
    assert made.returncode == 0, made.stderr
    assert answer(made) == {
        "flow": "closes",
        "files": [str(tmp_path / "flows" / "closes" / "defs.yaml"), str(tmp_path / "flows" / "flow.schema.json")],
        "unsure": ["symbol of a row: taken from the file's name ({symbol}.csv)"],
        "time": ["date"],
        "key": ["symbol", "date"],
        "mode": "upsert",
        "unsure_types": {},
    }
    shown = answer(here("flows", "preview", "closes", "--file", str(data / "AAPL.csv"), "--json"))
    assert [(step["step"], step["count"]) for step in shown["steps"]] == [("read", 2), ("table closes", 2)]
    assert "185.64" in here("flows", "preview", "closes", "--file", str(data / "AAPL.csv")).stdout
    assert here("flows", "run", "closes", "--data-dir", str(data)).returncode == 0
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT symbol, date::text, close::text FROM closes ORDER BY 2").fetchall()
    assert rows == [("AAPL", "2024-01-02", "185.6400"), ("AAPL", "2024-01-03", "184.2500")]
    assert here("flows", "new", "other", "--from", "nowhere.csv").returncode == 2


def test_a_new_flow_ends_with_what_was_guessed(here: Command, tmp_path: Path) -> None:
    file = tmp_path / "eod_20240102.csv"
    file.write_bytes("symbol;Stücke;px\nAAPL;1;1e-5\n".encode("latin-1"))
    made = here("flows", "new", "eod", "--from", str(file))
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-3:] == [
        "time:       day",
        "key:        [day, symbol], mode upsert",
        "types:      px (with exponents, so not exact)",
    ]
    assert "they are read as cp1252" in made.stderr.replace("\n", " ")
    chosen = here("flows", "new", "chosen", "--from", str(file), "--encoding", "latin-1")
    assert (chosen.returncode, "UTF-8" in chosen.stderr) == (0, False), chosen.stderr
    assert "encoding: latin-1" in (tmp_path / "flows" / "chosen" / "defs.yaml").read_text("utf-8")
    wrong = here("flows", "new", "wrong", "--from", str(file), "--encoding", "latin-7000")
    assert (wrong.returncode, "unknown encoding 'latin-7000'" in wrong.stderr) == (2, True), wrong.stderr


def test_day_files_of_the_first_try_are_all_in_the_table(here: Command, tmp_path: Path, database: str) -> None:
    data = tmp_path / "delivery"
    data.mkdir()
    for day in ("20240102", "20240103"):
        (data / f"eod_{day}.csv").write_text(f"symbol,close\nAAPL,1{day[-1]}.5\nMSFT,2{day[-1]}.5\n")
    assert here("flows", "new", "eod", "--from", str(data / "eod_20240102.csv")).returncode == 0
    run = here("flows", "run", "eod", "--data-dir", str(data))
    assert run.returncode == 0, run.stderr
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT day::text, symbol, close::text FROM eod ORDER BY 1, 2").fetchall()
    assert rows == [
        ("2024-01-02", "AAPL", "12.5000"),
        ("2024-01-02", "MSFT", "22.5000"),
        ("2024-01-03", "AAPL", "13.5000"),
        ("2024-01-03", "MSFT", "23.5000"),
    ]


def test_a_failed_check_and_an_empty_folder_are_no_success(here: Command, tmp_path: Path, database: str) -> None:
    here("flows", "new", "my_prices")
    sample = tmp_path / "flows" / "my_prices" / "sample"
    run = ("flows", "run", "my_prices", "--data-dir", str(sample))
    assert here(*run).returncode == 0
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM my_prices WHERE symbol = 'ALFA'")
    (sample / "more.csv").write_text("Symbol,Date,Close,Volume\nGAMA,2024-01-02,1.00,5\n")
    failed = here(*run)
    assert (failed.returncode, "check failed every_row_accounted" in failed.stderr) == (1, True), failed.stderr
    for file in sample.iterdir():
        file.unlink()
    empty = here(*run)
    assert (empty.returncode, "no file matches **/*.csv" in empty.stderr) == (1, True), empty.stderr


def test_a_deleted_file_is_forgotten(here: Command, tmp_path: Path, database: str) -> None:
    here("flows", "new", "my_prices")
    sample = tmp_path / "data" / "my_prices" / "prices.csv"
    sample.parent.mkdir(parents=True)
    (tmp_path / "flows" / "my_prices" / "sample" / "prices.csv").rename(sample)
    assert here("flows", "run", "my_prices").returncode == 0
    assert "12 rows deleted" in here("flows", "forget", "my_prices", "prices.csv").stdout
    again = here("flows", "forget", "my_prices", "prices.csv")
    assert (again.returncode, "nothing of 'prices.csv' is loaded" in again.stderr) == (1, True), again.stderr
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM my_prices").fetchone() == (0,)


def test_all_flows_are_run_although_some_cannot_be(here: Command, tmp_path: Path, database: str) -> None:
    for name in ("first", "second", "third", "wrong"):
        assert here("flows", "new", name).returncode == 0
    data = tmp_path / "data"
    data.mkdir()
    for name in ("first", "third"):
        (tmp_path / "flows" / name / "sample").rename(data / name)
    (tmp_path / "flows" / "wrong" / "defs.yaml").write_text("loader: 1\n")
    run = here("flows", "run", "--all", "--json")
    said = {one["flow"]: one for one in answer(run)["flows"]}
    assert run.returncode == 1
    assert {name: one["success"] for name, one in said.items()} == {
        "first": True,
        "second": False,
        "third": True,
        "wrong": False,
    }
    assert [said[name]["rows"] for name in ("first", "third")] == [12, 12]
    assert "loader" in said["wrong"]["error"]
    for name in ("second", "wrong"):
        (tmp_path / "flows" / name / "defs.yaml").unlink()
    again = here("flows", "run", "--all")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == "2 flows, 0 failed"
    assert "goes with no name" in here("flows", "run", "first", "--all").stderr
    assert "name a flow" in here("flows", "run").stderr


def test_lines_that_a_rule_leaves_out_are_counted_by_themselves(here: Command, tmp_path: Path) -> None:
    sample = tmp_path / "data" / "totals" / "eod_20240102.csv"
    sample.parent.mkdir(parents=True)
    sample.write_text("symbol,close,volume\n" + "".join(f"{one},1.5,100\n" for one in "ABCDE") + "Total,,500\n")
    made = here("flows", "new", "totals", "--from", str(sample))
    assert "lines such as 'Total 500' are no rows (drop)" in made.stdout + made.stderr
    ran = here("flows", "run", "totals")
    assert "totals        5 rows, 0 rejected" in ran.stdout, ran.stderr
    assert ", 1 left out by rules; 1 files loaded" in ran.stdout
    [row] = [one for one in answer(here("files", "flows", "--json"))["files"] if one["file"] == sample.name]
    assert (row["read"], row["loaded"], row["duplicates"], row["left_out"]) == (6, 5, 0, 1)
