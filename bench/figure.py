"""One measured figure, and CPU time of process trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import psutil

Target = tuple[Literal["<=", "<", ">="], float]


@dataclass(frozen=True)
class Figure:
    """A named figure; `target` says what it should be, None where it only informs."""

    name: str
    value: float
    unit: str
    target: Target | None
    detail: str
    error: str = ""
    """Why it could not be measured, such as of a peer that does not run: an error of the benchmark."""

    @property
    def holds(self) -> bool | None:
        if self.error:
            return False
        if self.target is None:
            return None
        sign, limit = self.target
        return {"<=": self.value <= limit, "<": self.value < limit, ">=": self.value >= limit}[sign]

    def as_dict(self) -> dict[str, Any]:
        target = None if self.target is None else f"{self.target[0]} {self.target[1]:g}"
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "target": target,
            "holds": self.holds,
            "detail": self.error or self.detail,
        }

    def line(self, *, judged: bool = True) -> str:
        """The figure as a person reads it; one from tiny inputs is not judged."""
        if self.error:
            return f"{self.name}: ERROR: {self.error}"
        verdict = {True: "holds", False: "MISSED", None: "for information"}[self.holds if judged else None]
        target = "" if self.target is None else f" (target {self.target[0]} {self.target[1]:g})"
        return f"{self.name} = {self.value:.3f} {self.unit}{target}: {verdict}. {self.detail}"


def tree_cpu_s(process: psutil.Process) -> float:
    """CPU seconds that a process, its living descendants and the descendants it has waited for have used."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and extremes of some runs."""
    low, middle, high = min(values), median(values), max(values)
    return f"median {middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
