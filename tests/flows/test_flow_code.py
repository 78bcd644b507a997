"""Which changes of code make a flow's rows stale."""

import ast
import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from marketdata_assets.flows import code
from marketdata_assets.flows.run import code_version
from tests.flows.flow_files import PRICES, flow

NUMBERS = count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the user's: a function, a helper that it imports, and a helper of that one."""
    home = tmp_path / f"quant_{next(NUMBERS)}"
    (home / "deep").mkdir(parents=True)
    (home / "__init__.py").touch()
    (home / "deep" / "__init__.py").touch()
    (home / "rows.py").write_text(
        "import polars as pl\nfrom .deep import prices\n\ndef add(frame):\n    return prices.add(frame)\n"
    )
    (home / "deep" / "prices.py").write_text("from ..factors import FACTOR\n\ndef add(frame):\n    return frame\n")
    (home / "factors.py").write_text("FACTOR = 1\n")
    (home / "unused.py").write_text("OTHER = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield home
    for name in [name for name in sys.modules if name.partition(".")[0] == home.name]:
        del sys.modules[name]


def version(folder: Path, package: Path) -> str:
    return code_version(flow(folder, PRICES + f"handlers: [{{call: {{function: {package.name}.rows.add}}}}]\n"))


def test_what_a_function_imports_of_the_users_makes_rows_stale(tmp_path: Path, package: Path) -> None:
    first = version(tmp_path, package)
    (package / "unused.py").write_text("OTHER = 2\n")
    factors = package / "factors.py"
    factors.write_text('"""Factors of prices."""\n\nFACTOR = 1  # of adjustment\n')
    assert version(tmp_path, package) == first
    factors.write_text("FACTOR = 2\n")
    assert version(tmp_path, package) != first


def test_a_module_of_another_package_of_the_users_counts(tmp_path: Path, package: Path) -> None:
    helper = tmp_path / f"{package.name}_helper.py"
    helper.write_text("LIMIT = 1\n")
    rows = package / "rows.py"
    rows.write_text(f"import {helper.stem}\n{rows.read_text()}")
    first = version(tmp_path, package)
    helper.write_text("LIMIT = 2\n")
    assert version(tmp_path, package) != first


def test_the_code_of_this_package_that_makes_rows_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = flow(tmp_path)
    first = code_version(prices)
    monkeypatch.setattr(code, "ROW_MAKERS", code.ROW_MAKERS[1:])
    code.of_library.cache_clear()
    try:
        assert code_version(prices) != first
    finally:
        code.of_library.cache_clear()


def test_no_module_that_makes_rows_is_forgotten() -> None:
    """Those that a worker imports to make rows, but for declarations, errors and what reads no rows."""
    start = Path(str(sys.modules["marketdata_assets.flows.prepare"].__file__))
    package = start.parents[1]
    found = {Path(file).relative_to(package).with_suffix("").as_posix().replace("/", ".")
             for file, _ in code._modules("marketdata_assets.flows.prepare", start, set())}  # fmt: skip
    no_rows = {
        "flows.__init__",
        "flows.targets.__init__",
        "flows.definition",
        "flows.errors",
        "flows.steps",
        "flows.code",
        "flows.expectations",
        "flows.sources",
    }
    assert {name for name in found if name.startswith("flows.")} - no_rows == {
        name for name in code.ROW_MAKERS if name.startswith("flows.")
    }


def test_an_option_that_a_later_version_adds_changes_nothing(tmp_path: Path) -> None:
    """Only what is declared counts, so an upgrade does not load everything again."""
    default = PRICES.replace("mode: upsert", "mode: upsert\n  removed_rows: keep")
    assert code_version(flow(tmp_path)) == code_version(flow(tmp_path, default))


def test_code_that_is_parsed_while_other_code_is_parsed_has_its_fingerprint(tmp_path: Path, package: Path) -> None:
    (package / "factors.py").write_text("".join(f"FACTOR = {number}\n" for number in range(20_000)))
    first = version(tmp_path, package)
    parsed: list[str] = []

    def parse_other_code(phase: str, info: dict[str, int], calls: int = 18) -> None:
        """As a finalizer or another thread does, on a stack of another depth; once in the middle of ours."""
        if calls and not parsed and any(frame.f_code.co_name == "_parsed" for frame, _ in traceback.walk_stack(None)):
            parse_other_code(phase, info, calls - 1)
        elif not calls:
            parsed.append("other")
            with suppress(SystemError):
                ast.parse("other")

    gc.callbacks.append(parse_other_code)
    try:
        assert version(tmp_path, package) == first
    finally:
        gc.callbacks.remove(parse_other_code)
    assert parsed
