"""Write the table of docs/reference/platforms.md, where every dependency has a wheel: `python platforms.py UV`.

Resolves the extras of pyproject.toml for each platform and Python, from wheels alone. Needs a package index.
"""

import datetime as dt
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "reference" / "platforms.md"
PLATFORMS = {
    "Linux x86-64 (also WSL)": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "macOS on Apple silicon": "aarch64-apple-darwin",
    "macOS on Intel": "x86_64-apple-darwin",
    "Alpine (musl) x86-64": "x86_64-unknown-linux-musl",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
EXTRAS = ("live", "local", "ray", "plots", "excel", "remote", "notebooks")
NAME = re.compile(r"([A-Za-z0-9._-]+)\S* has no (?:usable wheels|wheels with a matching)")
MARKS = re.compile(r"(?<=<!-- resolved -->\n).*(?=<!-- end -->)", re.DOTALL)


def missing(uv: str, platform: str, python: str, extra: str) -> str | None:
    """The package without a wheel there, or None where all have one; raises RuntimeError for any other failure."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as out:
        command = [
            uv,
            "pip",
            "compile",
            "pyproject.toml",
            "--quiet",
            "--only-binary",
            ":all:",
            "--output-file",
            out.name,
        ]
        command += ["--python-platform", platform, "--python-version", python, "--no-emit-index-url"]
        command += ["--extra", extra] if extra != "base" else []
        result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if result.returncode == 0:
        return None
    said = " ".join(result.stderr.split())
    if (found := NAME.search(said)) is None:
        raise RuntimeError(f"{platform}, {python}, {extra}: {said}")
    return re.split(r"[<>=!,]", found[1])[0]


def main(uv: str) -> int:
    wanted = list(product(PLATFORMS.values(), PYTHONS, ("base", *EXTRAS)))
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(wanted, pool.map(lambda one: missing(uv, *one), wanted), strict=True))
    day = dt.datetime.now(dt.UTC).strftime("%d %B %Y").lstrip("0")
    lines = [f"On {day}:", "", f"| platform | Python | base | {' | '.join(EXTRAS)} |"]
    lines.append("|---|---|" + "---|" * (1 + len(EXTRAS)))
    for (name, platform), python in product(PLATFORMS.items(), PYTHONS):
        cells = [found[platform, python, extra] for extra in ("base", *EXTRAS)]
        lines.append(f"| {name} | {python} | {' | '.join(f'`{one}`' if one else 'yes' for one in cells)} |")
    table = "\n".join(lines) + "\n"
    PAGE.write_text(MARKS.sub(lambda _: table, PAGE.read_text()))
    print(f"{PAGE.relative_to(PROJECT)}: {len(wanted)} resolutions, {sum(map(bool, found.values()))} without a wheel")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
