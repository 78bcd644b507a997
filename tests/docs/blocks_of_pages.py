"""Parse the pages of the documentation: headings, links, blocks of code.

The language of a block says how it is checked:

bash                            run as printed, in order, by the walk; must exit with code 0
bash provider                   the same, with test servers instead of the APIs of BRAIN and Tushare
sh                              commands that need more than a demo (a token, a network): only names and options
sql psql, sql clickhouse        run by the walk
python                          compiled, and its imports resolved; on a page with tasks run as one script
yaml, json, toml                parsed; our definitions and configurations by our own reader
csv, ini, text, promql          shown, not checked
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ROOT_PAGES = (
    "README.md",
    "README.zh.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docker/README.md",
    "examples/README.md",
)
EXPLAINING = ("README.md", "architecture.md", "glossary.md", "security.md")
RUN = ("bash", "bash provider")
COMMANDS = (*RUN, "sh")
SQL = ("sql psql", "sql clickhouse")
PARSED = ("python", "yaml", "json", "toml")
SHOWN = ("csv", "ini", "text", "promql", "nginx")


@dataclass(frozen=True)
class Block:
    """A block of code, and where it starts."""

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
    root_pages = [PROJECT / name for name in ROOT_PAGES if (PROJECT / name).exists()]
    return [*root_pages, *sorted((PROJECT / "docs").rglob("*.md"))]


def with_tasks(project: Path = PROJECT) -> list[Path]:
    """The pages whose commands are run as printed, by name: those of docs but the ones that only explain."""
    docs = project / "docs"
    found = [*docs.glob("*.md"), *(docs / "how-to").glob("*.md")]
    return sorted((page for page in found if page.name not in EXPLAINING), key=lambda page: page.name)


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT) if page.is_relative_to(PROJECT) else page)


def blocks(page: Path, *languages: str) -> list[Block]:
    return [block for block in _blocks(page) if not languages or block.language in languages]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub derives them from the text."""
    slugs: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = sum(other == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", other) is not None for other in slugs)
        slugs.add(slug if not number else f"{slug}-{number}")
    return slugs


def _blocks(page: Path) -> Iterator[Block]:
    opening: tuple[int, str] | None = None
    content: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = line.strip()
        if opening is None and fence.startswith("```"):
            opening, content = (number, fence[3:].strip()), []
        elif opening is not None and fence == "```":
            yield Block(page, *opening, "\n".join(content))
            opening = None
        else:
            content.append(line)
    assert opening is None, f"{page}:{opening}: unclosed block of code"
