"""A plugin that lists the CPU seconds of each file and test, worst first, with those of the servers that it uses.

`make test CPU=1`. Unlike wall time, CPU time hardly depends on what else the machine does. What a test's servers do
after its end counts for the next test.
"""

import resource
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

PROPERTY, SHOWN = "cpu_seconds", 150


def used() -> float:
    """CPU seconds of this process and its children, those that have ended included."""
    own = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for child in psutil.Process().children(recursive=True):
        try:
            own += sum(child.cpu_times())
        except psutil.Error:
            continue
    return own


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    item.user_properties.append((PROPERTY, used()))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.when == "teardown":
        before = dict(item.user_properties)[PROPERTY]
        report.user_properties = [(PROPERTY, used() - float(str(before)))]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tests, files, counts = Counter[str](), Counter[str](), Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                seconds = float(dict(report.user_properties).get(PROPERTY, 0))
                name = report.nodeid.partition("::")[0]
                tests[report.nodeid] += seconds
                files[name] += seconds
                counts[name] += 1
    terminalreporter.section(f"CPU: {tests.total():.0f} s in {len(tests)} tests")
    for name, seconds in files.most_common(SHOWN):
        terminalreporter.write_line(f"{seconds:8.1f} s  {counts[name]:4} tests  {name}")
    for name, seconds in tests.most_common(SHOWN):
        terminalreporter.write_line(f"{seconds:8.1f} s  {name}")
