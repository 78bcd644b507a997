"""Find dialect words in prose and print the plain term for each: `python .ci/words.py [--package] [FILE...]`.

Without arguments it checks the documentation. `--package` checks the docstrings, strings and comments of the package.
The list is words.txt; a line that ends with `words: ok` is not checked.
"""

import argparse
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("words.txt")
PAGES = (
    "*.md",
    "docs/*.md",
    "docs/[!r]*/**/*.md",
    *(f"docs/reference/{page}.md" for page in ("cli", "files", "logs", "metrics", "read")),
    "docker/**/*.md",
    "docker/**/*.y*ml",
    "docker/grafana/*.json",
    "docker/.env.example",
    "docker/*.sh",
    "examples/*.ipynb",
    "Makefile",
)
PACKAGE = (
    "marketdata_assets/**/*.py",
    "marketdata_assets/**/*.sql",
    "marketdata_assets/**/*.csv",
    "marketdata_assets/**/*.yaml",
    "docs/reference/*.md",
)
WAIVER = "words: ok"

Line = tuple[int, str]


class Words:
    """The list: one expression that finds any of the words, and the better term of each."""

    def __init__(self, text: str) -> None:
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        pairs = [line.split(" -> ") for line in lines]
        self._better = [(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), better) for pattern, better in pairs]
        self._any = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern, _ in pairs), re.IGNORECASE)

    def findings(self, text: str) -> Iterator[tuple[str, str]]:
        for match in self._any.finditer(text):
            better = next(better for pattern, better in self._better if pattern.match(text, match.start()))
            yield match.group(), better


def lines_of(file: Path) -> Iterator[Line]:
    """The lines of prose in a file, with their numbers."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        yield from _prose_of_python(text)
    elif file.suffix == ".ipynb":
        yield from _prose_of_notebook(text)
    elif file.suffix == ".md":
        yield from ((number, re.sub(r"`[^`]*`", "``", line)) for number, line in enumerate(text.splitlines(), 1))
    else:
        yield from enumerate(text.splitlines(), 1)


def _prose_of_python(text: str) -> Iterator[Line]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.line.rstrip().endswith(WAIVER):
            continue
        if token.type in (tokenize.COMMENT, tokenize.STRING) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, re.sub(r"\{[^{}]*\}", "{}", line)  # names in f-strings


def _prose_of_notebook(text: str) -> Iterator[Line]:
    for cell, content in enumerate(json.loads(text)["cells"], 1):
        if content["cell_type"] == "markdown":
            yield from ((cell, line) for line in content["source"])


def files(patterns: tuple[str, ...]) -> list[Path]:
    return sorted({file for pattern in patterns for file in PROJECT.glob(pattern)})


def report(checked: list[Path], words: Words) -> int:
    """Print a line for each word found; return how many."""
    count = 0
    for file in checked:
        name = file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else file
        for number, line in lines_of(file):
            if line.rstrip().endswith(WAIVER) or f"{WAIVER} -->" in line:
                continue
            for word, better in words.findings(line):
                print(f'{name}:{number}: "{word}": write "{better}"')
                count += 1
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", action="store_true")
    parser.add_argument("files", nargs="*", type=Path)
    options = parser.parse_args()
    words = Words(LIST.read_text(encoding="utf-8"))
    checked = [file.resolve() for file in options.files] or files(PACKAGE if options.package else PAGES)
    count = report(checked, words)
    print(f"{len(checked)} files checked, {count} dialect words")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
