"""`make walk`: a newcomer's walk. A fresh clone, the commands of README.md, then every page of the manual as printed.

Commands run in a shell, with the environment's programs on the path and with nothing set that the pages do not set.
`make test` comes last, and only with `--with-tests`, since it takes as long as it takes.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings
from tests.docs.blocks_of_pages import PROJECT, blocks, with_tasks
from tests.docs.providers import providers
from tests.docs.walking import Stumbled, Variables, Walker

KEPT = ("HOME", "LANG", "LC_ALL", "TMPDIR", "TERM", "MARKETDATA_UI_PORT")
DEMO_SECONDS = 1800


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--with-tests", action="store_true", help="run make test as well")
    chosen = asked.parse_args()
    # A shell's background job ignores Ctrl-C, and so would everything that is started from here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="walk-", dir="/var/tmp"))
    try:
        walk(folder / "marketdata-assets", chosen.with_tests)
    except Stumbled as stumbled:
        print(f"\n{stumbled}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"walked through in {time.monotonic() - began:.0f} s")
    return 0


def walk(clone: Path, with_tests: bool) -> None:
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
    demo, test = (line for block in blocks(clone / "README.md", "bash") for line in block.commands())
    with left_open(demo, clone):
        places = endpoints.resolve(Settings(home=clone / ".marketdata"))
        assert places.postgres_dsn
        assert places.clickhouse_url
        with providers() as account:
            walker = Walker(partial(shell, clone), places.postgres_dsn, places.clickhouse_url, account)
            for page in with_tasks(clone):
                tell(f"\n{page.relative_to(clone)}")
                for step in walker.page(page):
                    tell(step.removeprefix(f"{clone}/"))
    if with_tests:
        code, said = shell(clone, test, {})
        if code != 0:
            raise Stumbled(f"README.md: {test} ended with {code}:\n{said[-4000:]}")
        tell(f"README.md: {test}")


@contextmanager
def left_open(command: str, clone: Path) -> Iterator[None]:
    """The first command of the README, which stays open with the UI, and at the end Ctrl-C."""
    port = os.environ.get("MARKETDATA_UI_PORT", "3000")
    log = clone.parent / "demo.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, shell=True, cwd=clone, env=environment(clone), stdout=out, stderr=out, start_new_session=True
        )
        try:
            until = time.monotonic() + DEMO_SECONDS
            while not answers(f"http://127.0.0.1:{port}/server_info"):
                if process.poll() is not None or time.monotonic() > until:
                    raise Stumbled(f"README.md: {command}: no UI on port {port}\n{log.read_text()[-4000:]}")
                time.sleep(1)
            tell(f"README.md: {command}: the UI answers on port {port}")
            yield
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            process.wait(120)
    if "stopped 4 servers" not in log.read_text():
        raise Stumbled(f"README.md: {command}: Ctrl-C did not stop everything\n{log.read_text()[-2000:]}")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def shell(clone: Path, line: str, variables: Variables) -> tuple[int, str]:
    env = {**environment(clone), **variables}
    ended = subprocess.run(line, shell=True, cwd=clone, env=env, capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr


def environment(clone: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    path = os.pathsep.join([str(clone / ".venv" / "bin"), os.environ.get("PATH", os.defpath)])
    return kept | pip | {"PATH": path}


def tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
