"""`python -m docs.generate` writes the pages of docs/reference; `--check` only reports those that are out of date."""

import os
import sys
import warnings
from pathlib import Path

REFERENCE = Path(__file__).parents[1] / "reference"
NOTE = "<!-- Generated from the code by `make docs`: change the code, not this page. -->\n"


def pages() -> dict[str, str]:
    """Each page by its file name, generated from the current code."""
    from docs.generate import assets, commands, configuration, errors, files, log_events, metrics, read

    generated = {
        "assets.md": assets.page(),
        "cli.md": commands.page(),
        "configuration.md": configuration.page(),
        "errors.md": errors.page(),
        "files.md": files.page(),
        "logs.md": log_events.page(),
        "metrics.md": metrics.page(),
        "read.md": read.page(),
    }
    return {name: f"{NOTE}{text.rstrip()}\n" for name, text in generated.items()}


def main(check: bool) -> int:
    _clear_environment()
    outdated = {
        name: text
        for name, text in pages().items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != text
    }
    for name, text in outdated.items():
        if not check:
            (REFERENCE / name).write_text(text)
        print(f"docs/reference/{name} {'is out of date: run make docs' if check else 'written'}")
    return int(check and bool(outdated))


def _clear_environment() -> None:
    """Keep the variables and flows of whoever runs this out of the pages."""
    warnings.simplefilter("ignore")
    for name in [name for name in os.environ if name.startswith(("MARKETDATA_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ["MARKETDATA_FLOWS_DIR"] = str(REFERENCE / "no-flows")


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
