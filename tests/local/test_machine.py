"""What of the machine keeps the package from working well, from the texts and figures that the kernel gives."""

from pathlib import Path

import pytest

from marketdata_assets.local import machine

WHOLE = "processor\t: 0\nflags\t\t: fpu " + " ".join(machine.CPU_FEATURES) + " lahf_lm\n\nprocessor\t: 1\n"


@pytest.mark.parametrize(
    ("cpuinfo", "kind", "missing"),
    [
        (WHOLE, "x86_64", []),
        (WHOLE.replace(" avx avx2", ""), "x86_64", ["avx", "avx2"]),
        (WHOLE.replace(" avx ", " "), "AMD64", ["avx"]),
        ("flags\t\t: fpu\n", "x86_64", list(machine.CPU_FEATURES)),
        ("Features\t: fp asimd\n", "aarch64", []),
        ("", "x86_64", []),  # not Linux
    ],
)
def test_missing_processor_features_are_those_that_polars_needs(cpuinfo: str, kind: str, missing: list[str]) -> None:
    assert machine.missing_features(cpuinfo, kind) == missing


def test_problems_are_named_with_a_remedy() -> None:
    assert 'without avx, avx2, which polars needs: it stops with "Illegal instruction"' in machine.wrong_processor(
        ["avx", "avx2"]
    )
    [files] = machine.few_open_files(256)
    assert files.startswith("open files: at most 256 at once, 1024 are needed; run `ulimit -n 1024` first")
    [disk] = machine.little_space(Path("/data/home"), 300 << 20)
    assert disk.startswith("disk: 300 MB are free for /data/home; free space there, or set MARKETDATA_HOME")


def test_enough_is_no_problem() -> None:
    assert list(machine.few_open_files(1024)) == []
    assert list(machine.few_open_files(-1)) == [], "no limit"
    assert list(machine.little_space(Path("/data"), 1 << 30)) == []


def test_a_folder_that_does_not_exist_yet_is_on_the_disk_of_the_nearest_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(WHOLE.replace(" fma", ""))
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    found = machine.problems(tmp_path / "no" / "such" / "folder")
    assert found[0].startswith("processor: without fma,")
