"""Alphas from the command line: from a test server and from an archive into MongoDB, and what every command says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.layout import month_window
from marketdata_assets.cli import app
from marketdata_assets.cli.instance import environment as found_by_dagster
from marketdata_assets.local.stack import LocalStack
from marketdata_demo import sample_alphas
from marketdata_demo.servers.brain import BrainServer, make, spread
from tests.cli.commands import PROGRAMS, answer, environment, marketdata, until
from tests.examples import others_slow

MONTH = "2024-11"
NOVEMBER = month_window(MONTH)
PASSWORD = "canary-password"
ASSETS = ("alpha_packages", "regular_alphas", "super_alphas")


@dataclass(frozen=True)
class AlphasEnv:
    """The running stack, an API and a folder of alphas of its own, and an accounts file."""

    stack: LocalStack
    brain: BrainServer
    root: Path
    folder: Path

    def variables(self) -> dict[str, object]:
        return {
            "MARKETDATA_ALPHAS_DIR": self.root,
            "MARKETDATA_BRAIN_URL": self.brain.url,
            "MARKETDATA_BRAIN_ACCOUNTS": self.folder / "accounts.json",
            "MARKETDATA_BRAIN_CREDENTIALS": self.folder / "credentials.json",
            "MARKETDATA_BRAIN_REQUESTS_PER_MINUTE": 60_000,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return marketdata(self.stack.settings.root, *arguments, **self.variables())

    def said(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        run = self.run(*arguments, "--json")
        assert run.returncode == code, run.stdout + run.stderr
        assert "Traceback" not in run.stderr
        assert "canary" not in run.stdout + run.stderr
        return answer(run)

    def accounts(self, *entries: dict[str, Any]) -> None:
        (self.folder / "accounts.json").write_text(json.dumps(entries))
        credentials = self.folder / "credentials.json"
        known = {entry["user_key"]: entry for entry in entries if "no" not in entry["user_key"]}
        credentials.write_text(
            json.dumps({name: {"email": f"{name}@example.com", "password": PASSWORD} for name in known})
        )
        credentials.chmod(0o600)

    def documents(self, kind: str, account: str) -> dict[str, dict[str, Any]]:
        uri = self.stack.endpoints.mongo_uri
        with MongoClient[dict[str, Any]](uri) as client:
            return {document["id"]: document for document in client[f"{kind}_alphas"][account].find()}

    def materialised(self, asset: str, account: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        for name, value in found_by_dagster(self.stack.settings, self.stack.endpoints).items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            keys = instance.get_materialized_partitions(dg.AssetKey(asset))
        return {key.partition("|")[2] for key in keys if key.startswith(f"{account}|")}


@pytest.fixture
def alphas_env(running: LocalStack, tmp_path: Path) -> Iterator[AlphasEnv]:
    (tmp_path / "brain").mkdir()
    (tmp_path / "alphas").mkdir()
    with BrainServer() as brain:
        yield AlphasEnv(running, brain, tmp_path / "alphas", tmp_path / "brain")


def squeezed(text: str) -> str:
    """What a refusal says, without the box around it."""
    return " ".join(text.replace("│", " ").split())


def test_archive_lands_and_every_command_shows_it(alphas_env: AlphasEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    written = sample_alphas.write_archive(alphas_env.root, "arch.1", regular=20, superalphas=4)
    first = alphas_env.run("ingest", "alphas", "--account", "arch.1")
    assert first.returncode == 0, first.stderr
    line, files = first.stdout.splitlines()
    counts = f"{written.alphas} documents, {written.alphas} inserted, 0 updated, 0 unchanged, 0 rejected, "
    assert line.startswith(f"alphas        {counts}")
    assert line.endswith(" documents/s; 0 packages unchanged, 10 checks passed")
    every = [path for path in alphas_env.root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    empty = sum(path.read_bytes().strip() == b"[]" for path in every)
    assert files == f"files         {len(every)} files: {len(every) - empty} loaded, {empty} empty"
    assert "1 element of a raw file is no alpha" in first.stderr
    stored = {kind: len(alphas_env.documents(kind, "arch.1")) for kind in ("regular", "super")}
    assert stored == {"regular": 60, "super": 12}
    for asset in ASSETS:
        assert alphas_env.materialised(asset, "arch.1", monkeypatch) == {"2024-10", "2024-11", "2024-12"}

    again = alphas_env.said("ingest", "alphas")
    assert (again["documents"], again["inserted"], again["updated"]) == (0, 0, 0)
    assert again["packages_unchanged"] > 0
    assert {name: account["run_id"] for name, account in again["accounts"].items()} == {"arch.1": None}
    assert again["rejected_in_raw_files"] == 1

    rows = {(row["asset"], row.get("account")): row for row in alphas_env.said("status")["assets"]}
    for kind, documents in stored.items():
        row = rows[f"{kind}_alphas", "arch.1"]
        assert (row["documents"], row["ok"], row["stale"], row["newest"]) == (documents, 3, 0, "2024-12")
        assert row["quarantine"] == (kind == "regular")
    for asset in ("alpha_files", "alpha_packages"):
        row = rows[asset, "arch.1"]
        assert (row["partitions"], row["stale"], row["documents"]) == (3, 0, None)
        assert row["files"] > 0
    assert rows["alpha_packages", "arch.1"]["ok"] == 3
    table = alphas_env.run("status").stdout
    assert "arch.1" in table
    assert "regular_alphas" in table

    [refused] = alphas_env.said("quarantine", "show", "alphas")["rows"]
    assert refused["reason"] == "no id"
    assert json.loads(refused["raw"]) == sample_alphas.BAD_ELEMENT
    assert refused["place"].startswith("arch.1/primeval_data/all_regular_alphas/arch.1_2024-12-22")
    shown = alphas_env.run("quarantine", "show", "alphas").stdout
    assert refused["place"].rpartition("/")[2] in shown
    assert refused in alphas_env.said("quarantine", "show")["rows"]
    assert refused not in alphas_env.said("quarantine", "show", "bars")["rows"]


@pytest.mark.slow
def test_fetch_then_import_with_every_option_and_nobody_asked_twice(alphas_env: AlphasEnv) -> None:
    alphas_env.accounts({"user_key": "fe", "description": "first"})
    alphas_env.brain.add_user("fe@example.com", PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 120))
    fetched = alphas_env.said("alphas", "fetch", "--account", "fe", "--months", MONTH)
    assert fetched["fetched"]["fe"]["alphas"] == 120
    asked = alphas_env.brain.requests
    again = alphas_env.run("alphas", "fetch", "--account", "fe", "--months", MONTH)
    assert again.stdout == "fe: all windows were fetched before; use --refetch to fetch them again\n"
    assert alphas_env.brain.requests == asked
    anew = alphas_env.run("alphas", "fetch", "--months", MONTH, "--refetch")
    assert anew.stdout.startswith("fe: 120 alphas in ")
    assert alphas_env.brain.requests > asked

    options = ["--months", f"2024-10:{MONTH}", "--mode", "incremental", "--workers", "32", "--batch-size", "500"]
    loaded = alphas_env.said("ingest", "alphas", "--account", "fe", *options)
    assert (loaded["documents"], loaded["inserted"], loaded["rejected"]) == (120, 120, 0)
    assert len(alphas_env.documents("regular", "fe")) == 120

    before = alphas_env.documents("regular", "fe")
    with MongoClient[dict[str, Any]](alphas_env.stack.endpoints.mongo_uri) as client:
        client["regular_alphas"]["fe"].update_many({}, {"$set": {"tags": ["mine"], "ours": 1}})
    rebuilt = alphas_env.said(
        "ingest", "alphas", "--account", "fe", "--kind", "regular", "--mode", "rebuild", "--no-package"
    )
    assert (rebuilt["updated"], rebuilt["unchanged"]) == (120, 0)
    after = alphas_env.documents("regular", "fe")
    assert {name: one | {"_rev": 0} for name, one in after.items()} == {
        name: one | {"_rev": 0} for name, one in before.items()
    }
    for mode in (["time_range", "--time-range-hours", "3"], ["smart_merge", "--buffer-days", "1"], ["overwrite"]):
        alphas_env.said("ingest", "alphas", "--account", "fe", "--months", MONTH, "--mode", *mode)


def test_accounts_tell_where_credentials_are_and_never_what_they_are(alphas_env: AlphasEnv) -> None:
    none = alphas_env.run("alphas", "accounts")
    assert none.returncode == 0
    assert "write for instance" in none.stderr
    alphas_env.accounts({"user_key": "ga"}, {"user_key": "gb", "enabled": False}, {"user_key": "gc.no"})
    sample_alphas.write_archive(alphas_env.root, "gd", months=["2024-10", "2024-11"], regular=2, superalphas=1)
    secrets = {"MARKETDATA_BRAIN_EMAIL_GB": "canary@example.com", "MARKETDATA_BRAIN_PASSWORD_GB": PASSWORD}
    home = alphas_env.stack.settings.root
    told = marketdata(home, "alphas", "accounts", "--json", **alphas_env.variables(), **secrets)
    rows = {row["account"]: row for row in answer(told)["accounts"]}
    assert {name: row["enabled"] for name, row in rows.items()} == {"ga": True, "gb": False, "gc.no": True, "gd": False}
    assert rows["ga"]["credentials"] == str(alphas_env.folder / "credentials.json")
    assert rows["gb"]["credentials"] == "environment"
    assert rows["gc.no"]["credentials"] == "none"
    assert "MARKETDATA_BRAIN_EMAIL_GC_NO" in rows["gc.no"]["remedy"]
    assert [name for name, row in rows.items() if row["on_disk"]] == ["gd"]
    shown = marketdata(home, "alphas", "accounts", **alphas_env.variables(), **secrets)
    assert "canary" not in told.stdout + told.stderr + shown.stdout + shown.stderr
    assert "MARKETDATA_BRAIN_EMAIL_GC_NO" in shown.stderr


def test_login_waits_for_the_person_and_the_next_fetch_needs_none(alphas_env: AlphasEnv) -> None:
    alphas_env.accounts({"user_key": "pe"}, {"user_key": "pf"}, {"user_key": "pg"})
    alphas_env.brain.add_user("pg@example.com", "another password")
    alphas_env.brain.add_user("pe@example.com", PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 5), persona="headers")
    alphas_env.brain.add_user("pf@example.com", PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 7))
    failed = alphas_env.run("alphas", "fetch", "--months", MONTH)
    assert failed.returncode == 1
    assert "marketdata alphas login --account pe" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "pf: 7 alphas in " in failed.stdout
    rows = {row["account"]: row["session"] for row in alphas_env.said("alphas", "accounts")["accounts"]}
    assert rows["pe"] == "waits for an identity check"
    assert rows["pf"].startswith("until ")
    assert rows["pg"].startswith("rejected 20")
    assert alphas_env.brain.refused_logins == 1

    late = alphas_env.run("alphas", "login", "--account", "pe", "--wait", "0")
    assert late.returncode == 1
    assert f"{alphas_env.brain.url}/authentication/persona" in late.stderr
    home = alphas_env.stack.settings.root
    with subprocess.Popen(
        [str(PROGRAMS / "marketdata"), "alphas", "login", "--account", "pe"],
        env=environment(home, **alphas_env.variables()),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as waiting:
        asked = alphas_env.brain.asked("POST /authentication/persona")
        until(lambda: alphas_env.brain.asked("POST /authentication/persona") > asked)
        alphas_env.brain.person_arrives("pe@example.com")
        out, _ = waiting.communicate()
    assert waiting.returncode == 0
    assert out.startswith("account pe is logged in until ")
    assert alphas_env.said("alphas", "fetch", "--account", "pe", "--months", MONTH)["fetched"]["pe"]["alphas"] == 5


def test_throttled_login_is_sent_once_and_shown(alphas_env: AlphasEnv) -> None:
    alphas_env.accounts({"user_key": "pt"})
    alphas_env.brain.add_user("pt@example.com", PASSWORD)
    alphas_env.brain.fail(429, 99, "POST /authentication", body={"detail": "BIOMETRICS_THROTTLED"})
    for _ in range(2):
        failed = alphas_env.run("alphas", "fetch", "--account", "pt", "--months", MONTH)
        assert failed.returncode == 1
        assert "BRAIN takes no login of account pt (429: BIOMETRICS_THROTTLED" in failed.stderr
    assert alphas_env.brain.asked("POST /authentication") == 1
    [row] = [row for row in alphas_env.said("alphas", "accounts")["accounts"] if row["account"] == "pt"]
    assert row["session"].startswith("paused until 20")


def test_account_without_credentials_is_named_and_the_others_are_fetched(alphas_env: AlphasEnv) -> None:
    alphas_env.accounts({"user_key": "ha"}, {"user_key": "hb.no"}, {"user_key": "hc", "enabled": False})
    alphas_env.brain.add_user("ha@example.com", PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 3))
    failed = alphas_env.run("alphas", "fetch", "--months", MONTH)
    assert failed.returncode == 1
    assert "account hb.no has no credentials" in failed.stderr
    assert failed.stdout.startswith("ha: 3 alphas in ")
    disabled = alphas_env.run("alphas", "fetch", "--account", "hc")
    assert disabled.returncode == 1
    assert "account hc is disabled" in disabled.stderr
    assert not (alphas_env.root / "hc").exists()


@pytest.mark.slow
def test_package_that_cannot_be_read_is_named_and_the_rest_lands(alphas_env: AlphasEnv) -> None:
    sample_alphas.write_archive(alphas_env.root, "bad", months=["2024-10", "2024-11"], regular=20, superalphas=2)
    good = alphas_env.said("ingest", "alphas", "--account", "bad", "--months", "2024-10")
    assert good["inserted"] == 22
    sick = layout.packages_folder(alphas_env.root, "bad", "regular", NOVEMBER.months[0]) / "2024-11-01.ndjson"
    sick.parent.mkdir(parents=True, exist_ok=True)
    sick.write_bytes(b'{"id": 1}\n' * 40)
    failed = alphas_env.run("ingest", "alphas", "--account", "bad", "--no-package", "--months", f"2024-10:{MONTH}")
    assert failed.returncode == 1
    assert "2024-11-01.ndjson" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout.startswith("alphas        ")
    status = alphas_env.said("status", code=1)["assets"]
    failures = {row["asset"]: row["failed"] for row in status if row.get("account") == "bad"}
    assert failures == {"alpha_files": 0, "alpha_packages": 0, "regular_alphas": 1, "super_alphas": 0}


@pytest.mark.slow
def test_what_lands_beside_a_raw_file_that_cannot_be_read_is_counted(alphas_env: AlphasEnv) -> None:
    sample_alphas.write_archive(alphas_env.root, "cut", months=["2024-10", "2024-11"], regular=20, superalphas=2)
    layout.slice_path(alphas_env.root, "cut", "regular", NOVEMBER).write_text('[{"id": "A1", "dateCr')
    ended = alphas_env.said("ingest", "alphas", "--account", "cut", code=1)
    assert ended["inserted"] == ended["documents"] == 44
    assert ended["accounts"]["cut"]["checks_passed"] > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--fast", "3", "--months", MONTH], "--fast and --months both say which months; give one"),
        (["--time-range-hours", "3"], "--time-range-hours goes with mode time_range, not with incremental"),
        (["--mode", "smart_merge", "--buffer-hours", "3"], "--buffer-hours goes with mode time_range"),
        (["--mode", "time_range", "--buffer-days", "3"], "--buffer-days goes with mode smart_merge"),
        (["--mode", "rebuild", "--replace", "tags"], "--replace has no effect"),
        (["--mode", "overwrite", "--force"], "--force has no effect"),
        (["--batch-size", "0"], "batch size 0 is not between"),
        (["--months", "2014-12"], "'2014-12' is not a month from 2015-01"),
        (["--months", "2024-02:2024-01"], "ends before it starts"),
        (["--mode", "merge"], "merge"),
        (["--kind", "ultra"], "ultra"),
        (["--account", "nobody"], "account 'nobody' has no files"),
    ],
)
def test_contradictions_are_refused_with_a_sentence_before_anything_runs(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    sample_alphas.write_archive(tmp_path, "con", months=["2024-10"], regular=1, superalphas=1)
    variables = {"MARKETDATA_HOME": str(tmp_path), "MARKETDATA_ALPHAS_DIR": str(tmp_path), "COLUMNS": "200"}
    refused = CliRunner(env=variables).invoke(app, ["ingest", "alphas", *options])
    assert refused.exit_code == 2, refused.output
    assert sentence in squeezed(refused.stderr)
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert not (tmp_path / "con" / "packages").exists()


@pytest.mark.slow
def test_files_that_no_load_takes_or_can_read_are_named(alphas_env: AlphasEnv) -> None:
    sample_alphas.write_archive(alphas_env.root, "arch.9", regular=20, superalphas=4)
    (alphas_env.root / "notes.txt").touch()
    assert alphas_env.run("ingest", "alphas", "--account", "arch.9").returncode == 0
    (alphas_env.root / "arch.9" / "primeval_data" / "all_regular_alphas" / "cut.zip").write_bytes(b"PK")
    again = alphas_env.run("ingest", "alphas")
    assert again.returncode == 1
    *_, files = again.stdout.splitlines()
    assert "1 failed (arch.9/primeval_data/all_regular_alphas/cut.zip: not a whole zip" in files
    assert "1 not taken (notes.txt: no alphas are read here" in files
    shown = alphas_env.run("status")
    assert (shown.returncode, squeezed(files.removeprefix("files")) in squeezed(shown.stdout)) == (1, True)
    [named] = [one["file"] for one in alphas_env.said("files", "alphas", "--state", "not_taken")["files"]]
    assert named == "notes.txt"
    assert alphas_env.said("ingest", "alphas", code=1)["files"]["not taken"] == 1


def test_nothing_on_disk_is_said_with_the_way_to_get_something(alphas_env: AlphasEnv) -> None:
    for arguments in (["ingest", "alphas"], ["ingest", "alphas", "--account", "ia"]):
        alphas_env.accounts({"user_key": "ia"})
        refused = alphas_env.run(*arguments)
        assert refused.returncode == 1
        assert "marketdata alphas fetch" in refused.stderr


def test_store_that_is_away_does_not_hide_the_other(alphas_env: AlphasEnv, home: Path) -> None:
    postgres, mongo = alphas_env.stack.endpoints.postgres_dsn, alphas_env.stack.endpoints.mongo_uri
    for store, left_out, group in (
        ({"MARKETDATA_POSTGRES_DSN": postgres}, "MARKETDATA_MONGO_URI", "bars"),
        ({"MARKETDATA_MONGO_URI": mongo}, "MARKETDATA_POSTGRES_DSN", "alphas"),
    ):
        status = marketdata(home, "status", "--json", **store)
        assert left_out in status.stderr
        assert {row["group"] for row in answer(status)["assets"]} == {group}
    alone = {"MARKETDATA_POSTGRES_DSN": postgres, "MARKETDATA_MONGO_URI": "mongodb://127.0.0.1:1/"}
    away = marketdata(home, "status", **alone)
    assert away.returncode == 1
    assert "Traceback" not in away.stderr
    assert "alphas cannot be shown: MongoDB" in away.stderr
    assert "stock_1min" in away.stdout
    unread = answer(marketdata(home, "status", "--json", **alone))["unread"]
    assert [*unread] == ["alphas"]


def test_rejected_rows_beyond_the_limit_are_said_to_machines_too(alphas_env: AlphasEnv) -> None:
    elements = [{"type": "REGULAR", "dateCreated": f"2024-11-02T00:00:{second:02}Z"} for second in range(4)]
    path = layout.slice_path(alphas_env.root, "qu", "regular", NOVEMBER)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(elements))
    alphas_env.said("ingest", "alphas", "--account", "qu")
    found = alphas_env.said("quarantine", "show", "alphas", "--limit", "3")
    assert (len(found["rows"]), found["limit"], found["more"]) == (3, 3, ["regular_alphas"])
    assert alphas_env.said("quarantine", "show", "alphas", "--limit", "100")["more"] == []


@pytest.mark.parametrize(
    "command", others_slow([["status", "--json"], ["quarantine", "show"], ["doctor", "--json"], ["files"]])
)
def test_a_command_that_only_shows_waits_for_no_thread_of_a_driver(alphas_env: AlphasEnv, command: list[str]) -> None:
    home, variables = alphas_env.stack.settings.root, alphas_env.variables()
    program = "import atexit, sys; from marketdata_assets.cli import main; atexit.register(print, 'waited'); main()"
    run = [sys.executable, "-c", program, *command]
    ended = subprocess.run(run, env=environment(home, **variables), cwd=home, capture_output=True, text=True)
    here = alphas_env.run(*command)
    assert (ended.returncode, ended.stdout.count("\n")) == (here.returncode, here.stdout.count("\n"))
    assert "waited" not in ended.stdout
    assert here.stdout


@pytest.mark.slow
def test_record_sets_of_chosen_alphas_are_fetched_once_and_shown(alphas_env: AlphasEnv) -> None:
    alphas_env.accounts({"user_key": "re"}, {"user_key": "rf"})
    alphas_env.brain.add_user("re@example.com", PASSWORD, spread(NOVEMBER.start, NOVEMBER.end, 20))
    alphas_env.brain.add_user("rf@example.com", PASSWORD)
    alphas_env.said("alphas", "fetch", "--account", "re", "--months", MONTH)
    alphas_env.said("ingest", "alphas", "--account", "re")
    options = ["--set", "pnl", "prod_correlation", "--min-sharpe", "-100", "--months", MONTH]
    alphas_env.brain.not_offered.add("prod_correlation")
    found = alphas_env.said("alphas", "records", "--account", "re", *options)["records"]["re"]
    assert (found["alpha_pnl"]["fetched"], found["alpha_pnl"]["stored"]) == (20, 20)
    assert (found["alpha_prod_correlation"]["alphas"], found["alpha_prod_correlation"]["stored"]) == (20, 0)
    again = alphas_env.run("alphas", "records", "--account", "re", *options)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("re alpha_pnl: 0 of 20 alphas fetched, 0 failed, 20 stored, 0 requests")
    assert "account re is not offered prod_correlation" in squeezed(again.stderr)
    rows = {row["asset"]: row for row in alphas_env.said("status")["assets"] if row.get("account") == "re"}
    assert (rows["alpha_pnl"]["documents"], rows["alpha_prod_correlation"]["unsupported"]) == (20, 1)
    catalogued = alphas_env.run("alphas", "catalogue")
    assert catalogued.returncode == 0, catalogued.stderr
    assert "brain_operators: 8 entries of 2 markets or accounts" in squeezed(catalogued.stdout)
    nothing = alphas_env.run("alphas", "records", "--account", "rf")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "no alphas in MongoDB that match" in squeezed(nothing.stderr)
    for wrong, sentence in ((["--set", "pln"], "did you mean 'pnl'"), (["--region", "US&A"], "use letters")):
        refused = alphas_env.run("alphas", "records", *wrong)
        assert refused.returncode == 2
        assert sentence in squeezed(refused.stderr)


def test_changes_are_fetched_by_filter_and_by_id_then_imported(alphas_env: AlphasEnv) -> None:
    alphas_env.accounts({"user_key": "sa"})
    alphas_env.brain.add_user("sa@example.com", PASSWORD)
    old = [make(n, NOVEMBER.start, status="TESTED" if n < 3 else "OTHER", dateSubmitted=None) for n in range(10)]
    alphas_env.brain.add_alphas("sa@example.com", old)
    first = alphas_env.said("alphas", "changes", "--account", "sa", "--status", "TESTED")
    assert (first["listed"], first["written"], first["success"]) == (3, 3, True)
    by_id = alphas_env.run("alphas", "changes", "--account", "sa", "--id", old[5].id, "nothere1")
    assert by_id.stdout.startswith("1 alphas listed, 1 new or changed, 2 requests, ")
    assert "unknown: nothere1" in by_id.stderr
    assert alphas_env.said("ingest", "alphas", "--account", "sa")["inserted"] == 4
    assert set(alphas_env.documents("regular", "sa")) == {one.id for one in (*old[:3], old[5])}
    every = alphas_env.said("alphas", "changes")
    assert (every["listed"], every["written"]) == (10, 6)
    refused = alphas_env.run("alphas", "changes", "--id", "xVWpJpp")
    assert refused.returncode == 2
    assert "--id goes with exactly one --account" in squeezed(refused.stderr)
