"""The documentation against the code: its commands and options exist, no variable is left out, no link is dead."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from marketdata_assets.cli import app

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^(?:\.venv/bin/)?marketdata [^#\n]*|`marketdata ([^`]*)`", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page: Path) -> None:
    for found in COMMAND.finditer(page.read_text()):
        words = found[0].strip("` ").split()[1:]
        command: Any = typer.main.get_command(app)
        while getattr(command, "commands", None) and words and not words[0].startswith("--"):
            name = words.pop(0)
            assert name in command.commands, found[0]
            command = command.commands[name]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options, found[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []
