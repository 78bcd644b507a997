"""The pages of the documentation, taken apart: headings, links, blocks of code.

The language of a block says how it is checked:

bash                            run as printed, in order, by the walk; must end with code 0
bash provider                   the same, where test servers stand in for the APIs of BRAIN and Tushare
sh                              commands that need more than a demo (a token, a network): only names and options
sql psql, sql clickhouse        run by the walk
python                          compiled, and what it imports is there; of a how-to page run as one script
yaml, json, toml                parsed; a definition or configuration of ours by our own reader
csv, ini, text, promql          shown, not checked
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ROOT_PAGES = ("README.md", "README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md", "docker/README.md", "examples/README.md")
RUN = ("bash", "bash provider")
COMMANDS = (*RUN, "sh")
SQL = ("sql psql", "sql clickhouse")
PARSED = ("python", "yaml", "json", "toml")
SHOWN = ("csv", "ini", "text", "promql", "nginx")


@dataclass(frozen=True)
class Block:
    """A block of code, and where it begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"

    def commands(self) -> list[str]:
        """Its lines without comments, those that end with a backslash joined."""
        joined = re.sub(r"\s*\\\n\s*", " ", self.text)
        lines = (re.sub(r"(^|\s)#\s.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line]


def pages() -> list[Path]:
    there = [PROJECT / name for name in ROOT_PAGES if (PROJECT / name).exists()]
    return [*there, *sorted((PROJECT / "docs").rglob("*.md"))]


def how_to(project: Path = PROJECT) -> list[Path]:
    return sorted((project / "docs" / "how-to").glob("*.md"))


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT) if page.is_relative_to(PROJECT) else page)


def blocks(page: Path, *languages: str) -> list[Block]:
    return [block for block in _blocks(page) if not languages or block.language in languages]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may end with, as GitHub makes it of the heading's text."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = sum(one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in found)
        found.add(slug if not number else f"{slug}-{number}")
    return found


def _blocks(page: Path) -> Iterator[Block]:
    begun: tuple[int, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = line.strip()
        if begun is None and fence.startswith("```"):
            begun, inside = (number, fence[3:].strip()), []
        elif begun is not None and fence == "```":
            yield Block(page, *begun, "\n".join(inside))
            begun = None
        else:
            inside.append(line)
    assert begun is None, f"{page}:{begun}: a block of code without an end"
