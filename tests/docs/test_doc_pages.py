"""The documentation against the code: no dead link, no unknown command, option, variable, name or file."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from docs.generate.metrics import alerts
from marketdata_assets.bars import profiles
from marketdata_assets.cli import app
from marketdata_assets.collector import config as collector_config
from marketdata_assets.collector.config import Variables
from marketdata_assets.definitions import defs
from marketdata_assets.exchanges.venues import OWN
from marketdata_assets.flows import definition
from marketdata_assets.settings import Settings
from marketdata_assets.ticks import providers_file
from tests.docs.blocks_of_pages import (
    COMMANDS,
    PARSED,
    PROJECT,
    SHOWN,
    SQL,
    Block,
    anchors,
    blocks,
    name_of,
    pages,
    prose,
    with_tasks,
)

PAGES = pages()
REPOSITORY = "https://github.com/marketdata-assets/marketdata-assets/blob/main/"
LINK = re.compile(r"\]\(([^)\s]+)\)")
INLINE = re.compile(r"`((?:\.venv/bin/)?marketdata [^`]*|make [a-z][^`]*)`")
VARIABLE = re.compile(r"\b(?:MARKETDATA_[A-Z][A-Z_]*[A-Z]|TUSHARE_TOKEN)\b")
NAMED_FOR_TESTS = (
    "POSTGRES_DSN",
    "TIMESCALE_DSN",
    "CLICKHOUSE_URL",
    "CLICKHOUSE_CLUSTER",
    "MONGO_URI",
    "DAGSTER_CHART",
)
OTHERS = {"TUSHARE_TOKEN", "MARKETDATA_FIXTURES", *(f"MARKETDATA_TEST_{name}" for name in NAMED_FOR_TESTS)}
WITH_A_NAME = ("MARKETDATA_BRAIN_EMAIL", "MARKETDATA_BRAIN_PASSWORD")
TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)
every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@every_page
def test_links_lead_to_existing_pages_and_headings(page: Path) -> None:
    dead = []
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://", "mailto:")) and not link.startswith(REPOSITORY):
            continue
        path, _, anchor = link.partition("#")
        target = PROJECT / path.removeprefix(REPOSITORY) if path.startswith(REPOSITORY) else page.parent / path
        target = target.resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_tests_that_the_page_of_engines_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (PROJECT / "docs/reference/engines.md").read_text()))
    written = {name for file in (PROJECT / "tests").rglob("test_*.py") for name in TEST.findall(file.read_text())}
    assert len(named) > 5
    assert named - written == set()


@every_page
def test_blocks_say_how_they_are_checked(page: Path) -> None:
    known = {*COMMANDS, *SQL, *PARSED, *SHOWN}
    assert [block.place for block in blocks(page) if block.language not in known] == []


@every_page
def test_commands_exist_with_their_options(page: Path) -> None:
    printed = [line for block in blocks(page, *COMMANDS) for line in block.commands()]
    for line in [*printed, *INLINE.findall(prose(page))]:
        words = shlex.split(line)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if not words:
            continue
        if Path(words[0]).name == "marketdata":
            _check_command(words[1:], line)
        elif words[0] == "make":
            targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in words[1:] if "=" not in word and not word.startswith("-")} <= {*targets}, line


def _check_command(words: list[str], line: str) -> None:
    command: Any = typer.main.get_command(app)
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"{line}: no command {name!r}"
        command = command.commands[name]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= options | {"--help"}, f"{line}: no option {used - options}"


@every_page
def test_variables_are_read_by_the_settings(page: Path) -> None:
    ours = {f"MARKETDATA_{name.upper()}" for name in Settings.model_fields} | OTHERS
    ours |= {f"{name}_FILE" for name in ours}
    deployment = set(VARIABLE.findall("".join(file.read_text() for file in _of_docker())))
    named = {name for name in VARIABLE.findall(page.read_text()) if not name.startswith(WITH_A_NAME)}
    assert named <= ours | deployment


def _of_docker() -> list[Path]:
    return [file for file in (PROJECT / "docker").rglob("*") if file.suffix in (".yml", ".yaml", ".example")]


@every_page
def test_python_compiles_and_its_imports_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block.text, block.place)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("marketdata_assets"):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name) or importlib.import_module(f"{node.module}.{name.name}"), (
                        block.place
                    )


@every_page
def test_shown_files_can_be_parsed(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml", "json", "toml"):
        _read(block)
        if block.language == "yaml" and "adjustment: " in block.text:
            (tmp_path / "bars.yaml").write_text(block.text)
            assert profiles.read(tmp_path / "bars.yaml").own, block.place


def _read(block: Block) -> None:
    """Parse with our own reader where it is one of our files; its errors name the page."""
    if block.language != "yaml":
        (json.loads if block.language == "json" else tomllib.loads)(block.text)
        return
    document = yaml.safe_load(block.text)
    if isinstance(document, dict) and document.get("type") == "marketdata_assets.components.Flow":
        definition.parse(block.text, block.place, "shown")
    elif isinstance(document, dict) and document.keys() & set(providers_file.NETWORK):
        providers_file.parse(block.text, block.place)
    elif isinstance(document, dict) and "exchanges" in document:
        unset: dict[str, Any] = dict.fromkeys(Variables.model_fields)
        collector_config.parse(block.text, block.place, Variables(**unset))


@pytest.fixture(scope="module")
def automation() -> set[str]:
    repository = defs().get_repository_def()
    return {definition.name for definition in (*repository.schedule_defs, *repository.sensor_defs)}


@every_page
def test_automation_exists(page: Path, automation: set[str]) -> None:
    """Of each item of a list under `Automation`, the name before what it does."""
    part = prose(page).partition("\n## Automation\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^- `(\w+)`", part, re.MULTILINE)) <= automation


def test_the_runbook_has_exactly_the_alerts() -> None:
    page = (PROJECT / "docs" / "runbook.md").read_text()
    part = page.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (\w+)$", part, re.MULTILINE) == [rule["alert"] for rule in alerts()]


def test_both_readmes_print_the_same_commands_and_lead_to_the_same_pages() -> None:
    english, chinese = PROJECT / "README.md", PROJECT / "README.zh.md"
    printed = [[block.commands() for block in blocks(page, *COMMANDS)] for page in (english, chinese)]
    assert printed[0] == printed[1]
    linked = [
        {link for link in LINK.findall(page.read_text()) if not link.startswith("README")}
        for page in (english, chinese)
    ]
    assert linked[0] == linked[1]


def test_chinese_pages_print_commands_of_the_english_ones() -> None:
    """Those that the walk runs, or whose options are checked, there."""
    shown = {
        command
        for page in [*with_tasks(), PROJECT / "README.md"]
        for block in blocks(page, *COMMANDS, *SQL, "python")
        for command in block.commands()
    }
    for page in sorted((PROJECT / "docs" / "zh").glob("*.md")):
        commands = {one for block in blocks(page, *COMMANDS, *SQL, "python") for one in block.commands()}
        assert commands <= shown, name_of(page)


def test_the_architecture_lists_every_package_and_module() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text()
    listing = text.partition("```text\n")[2].partition("```")[0]
    listed = set(re.findall(r"(?:^|; |;\n +)(\w+)(?:/|\.py)", listing, re.MULTILINE))
    package = PROJECT / "marketdata_assets"
    existing = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert listed - {"repair"} == existing - {"__init__"}


def test_the_index_leads_to_every_page() -> None:
    index = PROJECT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}
    pages_below = {page for page in PAGES if page.is_relative_to(PROJECT / "docs") and page != index}
    assert {name_of(page) for page in pages_below - linked if page.parent.name != "decisions"} == set()


def test_the_site_lists_every_page() -> None:
    nav = (PROJECT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = {f"docs/{page}" for page in re.findall(r"^ +- (?:.*: )?(\S+\.md)$", nav, re.MULTILINE)}
    existing = {name_of(page) for page in PAGES if page.is_relative_to(PROJECT / "docs")}
    assert listed == {name for name in existing if not name.startswith("docs/decisions/0")}


def test_pages_with_tasks_have_commands() -> None:
    assert [name_of(page) for page in with_tasks() if not blocks(page, *COMMANDS, *SQL, "python")] == []


def test_pages_for_developers_name_existing_files() -> None:
    missing = []
    for page in (PROJECT / "docs" / name for name in ("extend.md", "testing.md")):
        for path in re.findall(r"`([\w./-]+(?:/|\.(?:py|md|sql|ya?ml|toml)))`", prose(page)):
            roots = (PROJECT, PROJECT / "marketdata_assets")
            if "/" in path and not any((root / path).exists() for root in roots):
                missing.append(f"{page.name}: {path}")
    assert missing == []


def test_add_a_venue_lists_every_file_that_names_a_venue() -> None:
    page = (PROJECT / "docs" / "extend.md").read_text()
    part = page.partition("\n### Register the venue\n")[2].partition("\n#")[0]
    listed = set(re.findall(r"^\| `([^`<]+/[^`<]+)` \|", part, re.MULTILINE))
    kinds = (".py", ".sql", ".yaml", ".csv", ".example")
    files = [file for top in ("marketdata_assets", "marketdata_demo", "bench", "docker") for file in _below(top, kinds)]
    own = {file for file in files if re.search("|".join(OWN), str(file.relative_to(PROJECT)))}
    naming = {name_of(file) for file in files if file not in own and "deribit" in file.read_text().lower()}
    assert listed == naming


def _below(top: str, kinds: tuple[str, ...]) -> list[Path]:
    return [file for file in (PROJECT / top).rglob("*") if file.suffix in kinds]


def test_pages_are_up_to_date_whatever_this_machine_has_set() -> None:
    env = {"PATH": "", "MARKETDATA_WORKERS": "7", "MARKETDATA_FLOWS_DIR": "/nowhere"}
    command = [sys.executable, "-m", "docs.generate", "--check"]
    result = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
