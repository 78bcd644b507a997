"""`python -m docs.generate` writes the pages of docs/reference; `--check` only says which of them are out of date."""

import os
import sys
import warnings
from pathlib import Path

REFERENCE = Path(__file__).parents[1] / "reference"
NOTE = "<!-- Made from the code by `make docs`: change the code, not this page. -->\n"


def pages() -> dict[str, str]:
    """Each page by its file's name, as the code has it now."""
    from docs.generate import assets, commands, configuration, errors, files, metrics

    made = {
        "assets.md": assets.page(),
        "cli.md": commands.page(),
        "configuration.md": configuration.page(),
        "errors.md": errors.page(),
        "files.md": files.page(),
        "metrics.md": metrics.page(),
    }
    return {name: f"{NOTE}{text.rstrip()}\n" for name, text in made.items()}


def main(check: bool) -> int:
    _forget_this_machine()
    behind = {
        name: text
        for name, text in pages().items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != text
    }
    for name, text in behind.items():
        if not check:
            (REFERENCE / name).write_text(text)
        print(f"docs/reference/{name} {'is out of date: run make docs' if check else 'written'}")
    return int(check and bool(behind))


def _forget_this_machine() -> None:
    """Neither variables nor flows of whoever runs this are in the pages."""
    warnings.simplefilter("ignore")
    for name in [name for name in os.environ if name.startswith(("MARKETDATA_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ["MARKETDATA_FLOWS_DIR"] = str(REFERENCE / "no-flows")


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
