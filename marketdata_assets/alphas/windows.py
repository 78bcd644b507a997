"""Half-open spans of UTC time, by which alphas are listed, filed and fetched."""

import datetime as dt
from dataclasses import dataclass

SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True, order=True)
class Window:
    """From `start` up to but without `end`, both aware, UTC, on whole milliseconds."""

    start: dt.datetime
    end: dt.datetime

    def __str__(self) -> str:
        return f"{stamp(self.start)} to {stamp(self.end)}"

    @property
    def length(self) -> dt.timedelta:
        return self.end - self.start

    def overlaps(self, other: "Window") -> bool:
        return self.start < other.end and other.start < self.end

    def until(self, moment: dt.datetime) -> "Window | None":
        """The part before `moment`, in whole seconds; None when nothing is."""
        end = min(self.end, moment.replace(microsecond=0))
        return Window(self.start, end) if end > self.start else None

    def halves(self) -> tuple["Window", "Window"] | None:
        """Both halves, cut at a whole second; None when the window is one second or less."""
        middle = self.start + self.length // (2 * SECOND) * SECOND
        if self.start.microsecond:
            middle = middle.replace(microsecond=0) + SECOND
        if not self.start < middle < self.end:
            return None
        return Window(self.start, middle), Window(middle, self.end)

    def days(self) -> list["Window"]:
        """The window cut at every midnight."""
        cuts = [self.start]
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0) + dt.timedelta(days=1)
        while midnight < self.end:
            cuts.append(midnight)
            midnight += dt.timedelta(days=1)
        return [Window(start, end) for start, end in zip(cuts, [*cuts[1:], self.end], strict=True)]


def month_window(month: str) -> Window:
    """The UTC month `YYYY-MM`."""
    start = dt.datetime.strptime(month, "%Y-%m").replace(tzinfo=dt.UTC)
    return Window(start, (start + dt.timedelta(days=31)).replace(day=1))


def stamp(moment: dt.datetime) -> str:
    """ISO 8601 with milliseconds and a Z: `2024-11-27T09:00:00.000Z`."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
