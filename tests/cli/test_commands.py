"""The commands against a running stack, which they find through the data folder: output, JSON and exit codes."""

import datetime as dt
import os
import zipfile
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars.bases import FACTORS
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.reconciliation.reconcile import reconcile
from marketdata_demo import sample_bars
from marketdata_demo.servers.yahoo import YahooServer
from tests.cli.commands import answer, apart, marketdata
from tests.plain_kline import expected_kline, file_rows

MONTHS = "2014-03:2014-04"
DAYS = [day for day in sample_bars.weekdays(2014) if day.month in (3, 4) and day.day <= 3]
GOOD = sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", DAYS, 7))


def with_one_bad_row(data: bytes) -> bytes:
    lines = data.split(b"\n")
    cells = lines[5].split(b",")
    return b"\n".join([*lines[:5], b",".join([*cells[:3], b"inf", *cells[4:]]), *lines[6:]])


def deliver(folder: Path, **members: bytes) -> Path:
    path = folder / "2014_1min.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for code, data in members.items():
            archive.writestr(f"{code}_2014.csv", data)
    return path


def home_of(stack: LocalStack) -> Path:
    return stack.settings.root


@pytest.mark.slow
def test_a_newer_file_says_what_it_replaced_and_can_be_taken_back(
    running: LocalStack, database: str, tmp_path: Path
) -> None:
    home, variables = home_of(running), {"MARKETDATA_BARS_DIR": tmp_path, "MARKETDATA_POSTGRES_DSN": database}
    older, newer = deliver(tmp_path, sz000001=GOOD), tmp_path / "late" / "sz000001_2014.csv"
    newer.parent.mkdir()
    newer.write_bytes(b"\n".join(GOOD.split(b"\n")[:11]) + b"\n")
    ingest = ("ingest", "bars", "--months", MONTHS)
    newer.rename(tmp_path.parent / "kept.csv")
    loaded = apart(home, *ingest, "--json", **variables)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    rows = answer(loaded)["bars"]["rows"]
    (tmp_path.parent / "kept.csv").rename(newer)
    os.utime(older, (1, 1))

    replaced = marketdata(home, *ingest, **variables).stdout
    assert replaced.startswith("minute bars   10 rows, 0 rejected, ")
    assert "replaced 10 rows of 2014_1min.zip by late/sz000001_2014.csv" in " ".join(replaced.split())
    taken_back = marketdata(home, "bars", "forget", "late/sz000001_2014.csv", **variables).stdout
    assert "late/sz000001_2014.csv: 10 rows deleted" in taken_back
    assert "marketdata ingest bars --months 2014-03" in taken_back
    assert marketdata(home, *ingest, **variables).returncode == 0
    assets = answer(marketdata(home, "status", "--json", **variables))["assets"]
    [stored] = [row["rows"] for row in assets if row["asset"] == "stock_1min_qfq"]
    assert (stored, newer.exists()) == (rows, True)
    undone = marketdata(home, "bars", "forget", "--undo", "late/sz000001_2014.csv", **variables).stdout
    assert "late/sz000001_2014.csv: the next run loads it" in undone
    assert marketdata(home, *ingest, **variables).stdout.startswith("minute bars   10 rows")


def test_ingest_loads_months_and_every_command_shows_them(running: LocalStack, database: str, tmp_path: Path) -> None:
    home, variables = home_of(running), {"MARKETDATA_BARS_DIR": tmp_path, "MARKETDATA_POSTGRES_DSN": database}
    good = expected_kline(deliver(tmp_path, sz000001=GOOD))
    rows = len(file_rows(deliver(tmp_path, sz000001=with_one_bad_row(GOOD)))) - 1

    loaded = marketdata(home, "ingest", "bars", "--months", MONTHS, "--json", **variables)
    assert loaded.returncode == 0, loaded.stderr
    said = answer(loaded)
    assert said["success"] is True
    assert (said["bars"]["rows"], said["bars"]["rejected"]) == (rows, 1)
    assert (said["kline"]["rows"], said["kline"]["engine"], said["checks_passed"]) == (len(good), "rollup", 10)

    again = marketdata(home, "ingest", "bars", "--months", "2014-03", "--workers", "1", **variables)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("minute bars   0 rows, 0 rejected, ")
    assert "nothing to load, 1 months are up to date" in again.stdout
    scattered = marketdata(home, "ingest", "bars", "--months", "2014-03,2014-05", "--force", "--json", **variables)
    assert scattered.returncode == 0, scattered.stderr
    said = answer(scattered)
    assert (said["bars"]["codes"], said["kline"]["engine"], said["checks_passed"]) == (1, "rollup", 10)
    assert said["bars"]["rows"] > 0, "the first month was loaded before"

    status = marketdata(home, "status", "--json", "--due", **variables)
    assert status.returncode == 0, status.stderr
    due = [run for run in answer(status)["due"] if run["domain"] == "bars"]
    assert [(run["job"], run["first"], run["last"]) for run in due] == [
        ("bars_and_kline", "2014-01", "2014-02"),
        ("bars_and_kline", "2014-06", "2014-12"),
    ]
    bars, kline = (row for row in answer(status)["assets"] if row["group"] == "bars")
    assert (bars["asset"], kline["asset"]) == ("stock_1min_qfq", "stock_monthly_kline")
    assert (bars["rows"], bars["codes"], bars["quarantine"]) == (rows, 1, 1)
    assert (bars["ok"], bars["missing"], bars["failed"]) == (2, 9, 0), "one is loaded and empty"
    assert (kline["rows"], kline["ok"]) == (len(good), 2)
    assert bars["newest"].startswith("2014-04-03")
    assert (bars["stale_codes"], bars["two_bases"]) == (0, {})
    with psycopg.connect(database) as connection:
        connection.execute(
            """INSERT INTO stock_1min_bases VALUES
               ('000001.SZ', '2013-12-31 15:00', '2014-03-03 09:30', '2013_1min.zip', '2014_1min.zip', 9, 6, '')"""
        )
    reconcile(database, None, ["2014-03"], FACTORS.to_frame(), run_id="test")
    with psycopg.connect(database) as connection:
        found = ("2014-03-03", "000001.SZ", "close", "tick_data", 9, "stock_daily", 8, 0)
        connection.execute("INSERT INTO reconciliation VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", found)
    rows_now = answer(marketdata(home, "status", "--json", **variables))["assets"]
    [row] = [row for row in rows_now if row["asset"] == "reconciliation"]
    assert (row["disagreements"], row["stocks"], row["newest"]) == (1, 1, "2014-03-03")
    assert dt.datetime.fromisoformat(row["last_compared"])
    table = marketdata(home, "status", **variables)
    assert table.returncode == 0
    assert "last_compared" in table.stdout
    assert f"{rows:,}" in table.stdout
    assert "stock_monthly_kline" in table.stdout
    shown = " ".join(table.stdout.split())
    assert "two price bases in 000001.SZ, between 2013_1min.zip | 2014_1min.zip; have all years" in shown

    refused = marketdata(home, "quarantine", "show", "--json", **variables)
    [row] = answer(refused)["rows"]
    assert row["place"] == "2014_1min.zip!sz000001_2014.csv:6"
    assert "inf" in row["raw"]
    assert row["reason"]
    shown = marketdata(home, "quarantine", "show", **variables)
    assert row["place"] in shown.stdout
    assert row["reason"] in shown.stdout

    for options, months in (((), []), (("--months", "2014-03"), ["2014-03"])):
        refreshed = marketdata(home, "kline", "refresh", "--json", *options, **variables)
        assert answer(refreshed)["months"] == months
    rebuilt = marketdata(home, "kline", "rebuild", "--json", **variables)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert {name: answer(rebuilt)[name] for name in ("rows", "engine")} == {"rows": len(good), "engine": "rollup"}
    told = marketdata(home, "kline", "rebuild", **variables)
    assert told.stdout.startswith(f"monthly kline rebuilt as rollup: {len(good)} rows")


def test_failed_file_is_named_and_the_exit_code_tells(running: LocalStack, database: str, tmp_path: Path) -> None:
    home, variables = home_of(running), {"MARKETDATA_BARS_DIR": tmp_path, "MARKETDATA_POSTGRES_DSN": database}
    deliver(tmp_path, sz000001=GOOD, sh600001=b"a,b\n1,2\n")
    machine = marketdata(home, "ingest", "bars", "--months", "2014-03", "--json", **variables)
    assert machine.returncode == 1
    said = answer(machine)
    assert said["success"] is False
    assert "2014_1min.zip!sh600001_2014.csv" in said["error"]
    assert "Traceback" not in machine.stderr
    assert (said["bars"]["rows"], said["bars"]["files_failed"]) == (GOOD.count(b"\n2014-03"), 1)

    status = marketdata(home, "status", "--json", **variables)
    assert status.returncode == 1
    assert answer(status)["assets"][0]["failed"] > 0


@pytest.mark.parametrize("text", ["2014", "2014-13", "1999-12", "2014-03:", "2014-04:2014-03", "2014-03,2014-13"])
def test_wrong_months_are_refused_before_anything_starts(home: Path, text: str) -> None:
    refused = marketdata(home, "ingest", "bars", "--months", text)
    assert refused.returncode == 2
    assert text.rpartition(",")[2] in refused.stderr
    assert "write 20" in " ".join(refused.stderr.replace("│", " ").split())
    assert "Traceback" not in refused.stderr


def test_doctor_names_version_edition_and_what_is_missing(running: LocalStack) -> None:
    found = marketdata(home_of(running), "doctor", "--json")
    assert found.returncode == 0, found.stderr
    servers = {server["store"]: server for server in answer(found)["servers"]}
    assert set(servers) == {"Postgres", "MongoDB", "ClickHouse", "NATS"}
    assert all(server["ok"] and server["version"] and server["latency_ms"] > 0 for server in servers.values())
    assert "TimescaleDB" in servers["Postgres"]["missing"][0]
    assert "MARKETDATA_POSTGRES_DSN" in servers["Postgres"]["remedy"]
    assert servers["NATS"]["edition"] == "JetStream"
    shown = marketdata(home_of(running), "doctor")
    assert shown.returncode == 0
    assert all(server["version"] in shown.stdout for server in servers.values())
    assert "remedy: " in shown.stdout


def test_doctor_fails_when_one_server_does_not_answer(running: LocalStack) -> None:
    found = marketdata(home_of(running), "doctor", "--json", MARKETDATA_MONGO_URI="mongodb://127.0.0.1:1/")
    assert found.returncode == 1
    states = {server["store"]: server["ok"] for server in answer(found)["servers"]}
    assert states == {"Postgres": True, "MongoDB": False, "ClickHouse": True, "NATS": True}
    [mongo] = [server for server in answer(found)["servers"] if server["store"] == "MongoDB"]
    assert "MARKETDATA_MONGO_URI" in mongo["remedy"]


def test_doctor_says_what_yahoo_answers_only_when_it_is_asked_or_configured(
    running: LocalStack, tmp_path: Path
) -> None:
    providers = tmp_path / "mine.yaml"
    providers.write_text(files("marketdata_assets.ticks").joinpath("providers.yaml").read_text("utf-8"))
    with YahooServer(now=dt.datetime.now(dt.UTC)) as server:
        variables: dict[str, object] = {"MARKETDATA_YAHOO_URL": server.url}
        assert "yahoo" not in answer(marketdata(home_of(running), "doctor", "--json", **variables))
        assert server.requests == 0
        shown = marketdata(home_of(running), "doctor", "--yahoo", **variables)
        assert (shown.returncode, server.requests) == (0, 1)
        assert "yahoo: answers this machine" in shown.stdout
        server.fail(429, 9, text="Too Many Requests")
        variables["MARKETDATA_PROVIDERS"] = providers
        closed = marketdata(home_of(running), "doctor", "--json", **variables)
        assert (closed.returncode, server.requests) == (0, 2)
        assert answer(closed)["yahoo"]["ok"] is False
        assert "429 (Too Many Requests)" in answer(closed)["yahoo"]["answer"]


@pytest.mark.parametrize("command", ["status", "ingest bars", "quarantine show", "kline rebuild"])
def test_without_a_stack_the_remedy_is_named(home: Path, command: str) -> None:
    failed = marketdata(home, *command.split())
    assert failed.returncode == 1
    assert "marketdata up" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""


def test_doctor_without_a_stack_names_the_remedy_for_each_server(home: Path) -> None:
    failed = marketdata(home, "doctor")
    assert failed.returncode == 1
    assert failed.stdout.count("marketdata up") == 4


def test_passwords_stay_out_of_what_the_doctor_says(running: LocalStack, database: str) -> None:
    secret = running.server("postgres").password
    words = f"host=127.0.0.1 port=1 user=postgres password={secret} dbname=x"
    assert secret in database
    for dsn, code, options in ((database, 0, []), (words, 1, ["--json"])):
        found = marketdata(home_of(running), "doctor", *options, MARKETDATA_POSTGRES_DSN=dsn)
        assert found.returncode == code, found.stderr
        assert "127.0.0.1" in found.stdout
        assert secret not in found.stdout + found.stderr


def test_unknown_command_and_option_are_refused(home: Path) -> None:
    assert apart(home, "ingest", "weather").returncode == 2
    assert marketdata(home, "status", "--nonsense").returncode == 2


@pytest.mark.slow
def test_a_file_of_which_no_month_is_known_is_tried_and_shown(
    running: LocalStack, database: str, tmp_path: Path
) -> None:
    home, variables = home_of(running), {"MARKETDATA_BARS_DIR": tmp_path, "MARKETDATA_POSTGRES_DSN": database}
    foreign = tmp_path / "600001.XSHG.csv"
    foreign.write_text("date,open,close\n2014-03-03 09:31:00,10,10\n")
    (tmp_path / "notes.txt").touch()
    for options in ((), ("--months", "2014-03")):
        ended = marketdata(home, "ingest", "bars", *options, **variables)
        assert ended.returncode == 1
        assert "600001.XSHG.csv:1: no profile fits" in ended.stderr
        assert "nothing to load" not in ended.stdout
        assert "files         2 files: 1 failed (600001.XSHG.csv:1: no profile" in ended.stdout
    shown = marketdata(home, "status", **variables)
    assert shown.returncode == 1
    assert "1 not taken (notes.txt: a text without a code or a day in its name is a document" in shown.stdout
    told = answer(marketdata(home, "status", "--json", **variables))["files"]
    [files] = [row for row in told if row["asset"] == "minute_bar_files"]
    assert (files["failed"], files["not_taken"], files["due"]) == (1, 1, 0)
    assert "600001.XSHG.csv:1: no profile fits" in files["named"][0]["reason"]
    foreign.write_bytes(GOOD.replace(b"2014-03-03 09:", b"2014/3/3 9:"))
    loaded = marketdata(home, "ingest", "bars", **variables)
    assert loaded.returncode == 0, loaded.stderr
    assert "files         2 files: 1 loaded, 1 not taken (notes.txt" in loaded.stdout
    listed = answer(marketdata(home, "files", "bars", "--json", **variables))["files"]
    counted = [(one["file"], one["state"], one["read"], one["loaded"]) for one in listed]
    rows = len(GOOD.splitlines()) - 1
    assert counted == [(foreign.name, "loaded", rows, rows), ("notes.txt", "not taken", 0, 0)]
    again = marketdata(home, "ingest", "bars", **variables)
    assert "nothing to load, 2 months are up to date" in again.stdout
    foreign.unlink()
    refused = marketdata(home, "ingest", "bars", **variables)
    assert refused.returncode == 2
    assert "notes.txt: a text without a code" in " ".join(refused.stderr.replace("│", " ").split())


def test_help_and_commands_are_those_of_the_chosen_domains(tmp_path: Path) -> None:
    shown = marketdata(tmp_path, "--help", MARKETDATA_DOMAINS="bars").stdout
    listed = {line.split()[1] for line in shown.splitlines() if line.startswith("│ ") and line[2].isalpha()}
    assert {"ingest", "kline", "bars", "status"} <= listed
    assert not listed & {"collect", "alphas", "flows", "symbols", "drain"}
    below = marketdata(tmp_path, "ingest", "--help", MARKETDATA_DOMAINS="bars").stdout
    assert "Load minute bars" in below
    assert "alphas" not in below
    refused = marketdata(tmp_path, "collect", "--help", MARKETDATA_DOMAINS="bars")
    assert refused.returncode == 2
    assert "collect belongs to the domain exchanges" in " ".join(refused.stderr.replace("│", " ").split())
