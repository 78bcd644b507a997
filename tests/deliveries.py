"""Random folders and what must become of them, said without the package: deliveries, faults, and the rules as a dict.

A row is a key and a value, both small numbers; a domain writes them in a file of its own shape.
"""

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from hypothesis import strategies as st

from marketdata_assets.loading.file_ledger import FileEntry

Rows = dict[int, int]
Fault = Literal["", "empty file", "no rows", "cut", "foreign", "other suffix", "dead link", "pipe"]
FAULTS: tuple[Fault, ...] = ("empty file", "no rows", "cut", "foreign", "other suffix", "dead link", "pipe")
EPOCH = 1_700_000_000

Action = Literal["deliver", "link", "touch", "delete", "forget", "load", "kill"]


@dataclass(frozen=True)
class Step:
    """One event: what happens to the file of a slot, or a load; `age` orders files by modification time."""

    action: Action
    slot: int
    rows: Rows
    fault: Fault
    age: int
    steps: int


ROWS = st.dictionaries(st.integers(0, 5), st.integers(1, 9), min_size=1, max_size=4)
EVENTS = st.builds(
    Step,
    action=st.sampled_from(["deliver"] * 4 + ["link", "touch", "delete", "forget", "load", "kill"]),
    slot=st.integers(0, 4),
    rows=ROWS,
    fault=st.one_of(st.just(""), st.just(""), st.sampled_from(FAULTS)),
    age=st.integers(1, 9),
    steps=st.integers(1, 30),
)


def packed(name: str, text: bytes, member: str) -> bytes:
    """A file's bytes, packed as its name says."""
    if name.endswith(".gz"):
        return gzip.compress(text, mtime=0)
    if not name.endswith(".zip"):
        return text
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, text)
    return buffer.getvalue()


class Domain(Protocol):
    """One intake as the law needs it."""

    folder: Path
    names: tuple[str, ...]
    """The file of each slot."""
    rows_leave: bool | Callable[[int, Rows], bool]
    """Whether rows that a redelivery no longer has leave the table; where not, they stay as rows of that file. Where it
    depends: of a key, and the new rows."""
    forgets: bool
    """Whether a file can be taken back."""

    def content(self, name: str, rows: Mapping[int, int]) -> bytes: ...

    def load(self) -> None: ...

    def kill(self, steps: int) -> None:
        """A load that is killed before one of its steps, or ends before."""

    def forget(self, name: str) -> None: ...

    def entries(self) -> list[FileEntry]: ...

    def table(self) -> Rows: ...


@dataclass
class File:
    """What lies in the folder: `rows` is None where no row can be read."""

    rows: Rows | None
    states: set[str]
    age: int


@dataclass
class Record:
    """What was loaded of a file, and the modification time with which it competes."""

    rows: Rows
    age: int


@dataclass
class Folder:
    """The folder, and the table that the rules demand."""

    domain: Domain
    files: dict[str, File] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    killed: bool = False

    def apply(self, step: Step) -> None:
        """Carry out one step in the folder, and in the model.

        What a killed load has loaded is not known before the next one, which comes before a step that would hide it.
        """
        name = self.domain.names[step.slot]
        if self.killed and (step.action in ("delete", "forget") or (step.action == "deliver" and step.fault)):
            self.load()
        act: dict[str, Callable[[], None]] = {
            "deliver": lambda: self._deliver(name, step),
            "link": lambda: self._link(name, step),
            "touch": lambda: self._touch(name, step),
            "delete": lambda: self._delete(name),
            "forget": lambda: self._forget(name),
            "load": self.load,
            "kill": lambda: self._kill(step.steps),
        }
        act[step.action]()

    def _kill(self, steps: int) -> None:
        self.domain.kill(steps)
        self.killed = True
        if any(self._is_gone(name) for name in self.records):
            self.load()

    def _is_gone(self, name: str) -> bool:
        """Whether what is loaded of a file cannot be read again."""
        file = self.files.get(name)
        return file is None or file.rows is None

    def load(self) -> None:
        """A load: every readable file is recorded as it is now."""
        self.domain.load()
        self.killed, owners = False, self.owners()
        for name, file in self.files.items():
            if file.rows is not None and name not in self.forgotten:
                before = self.records.get(name, Record({}, 0)).rows
                kept = {key: row for key, row in before.items() if self._stays(key, file.rows, owners[key] == name)}
                self.records[name] = Record(kept | file.rows, file.age)
        owners = self.owners()
        for name, record in self.records.items() if self.domain.rows_leave else ():
            now = {} if self._is_gone(name) else self.files[name].rows or {}
            record.rows = {key: row for key, row in record.rows.items() if owners[key] == name or key in now}

    def _stays(self, key: int, now: Rows, owned: bool) -> bool:
        """Whether a row of the earlier content of a file is kept.

        Where rows leave, one that another file replaced comes back from its file alone, and so not once that is gone.
        """
        leave = self.domain.rows_leave
        return owned and not leave(key, now) if callable(leave) else not leave

    def owners(self) -> dict[int, str]:
        """For every key the newest file that has it; of equal times, the later name."""
        owners: dict[int, str] = {}
        for name, record in sorted(self.records.items(), key=lambda item: (item[1].age, item[0])):
            owners |= dict.fromkeys(record.rows, name)
        return owners

    def table(self) -> Rows:
        """The row of each key's owner."""
        return {key: self.records[name].rows[key] for key, name in self.owners().items()}

    def _kill(self, steps: int) -> None:
        """Where no row leaves, what a killed load has brought stays; a load completes it before the folder changes."""
        self.domain.kill(steps)
        if not self.domain.rows_leave:
            self.load()

    def _path(self, name: str) -> Path:
        path = self.domain.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def _deliver(self, name: str, step: Step) -> None:
        if step.fault == "other suffix":
            name += ".bak"
        self.forgotten.discard(name)
        path = self._path(name)
        if step.fault == "dead link":
            path.symlink_to(path.parent / "absent")
            self.files[name] = File(None, {"failed"}, step.age)
            return
        if step.fault == "pipe":
            os.mkfifo(path)
            self.files[name] = File(None, {"failed"}, step.age)
            return
        data = self.domain.content(self.domain.names[step.slot], {} if step.fault == "no rows" else step.rows)
        if step.fault == "empty file":
            data = b""
        elif step.fault == "cut":
            data = data[: len(data) // 3]
        elif step.fault == "foreign":
            data = b"<html><body>502 Bad Gateway</body></html>\n"
        path.write_bytes(data)
        os.utime(path, (EPOCH + step.age,) * 2)
        states: dict[Fault, set[str]] = {
            "": {"loaded"},
            "no rows": {"empty"},
            "empty file": {"empty", "failed"},
            "other suffix": {"not taken"},
        }
        good = step.fault in ("", "no rows")
        rows = ({} if step.fault else dict(step.rows)) if good else None
        self.files[name] = File(rows, states.get(step.fault, {"failed"}), step.age)

    def _link(self, name: str, step: Step) -> None:
        """The same file, as a link to one outside the folder."""
        outside = self.domain.folder.parent / "outside" / name
        outside.parent.mkdir(parents=True, exist_ok=True)
        outside.write_bytes(self.domain.content(name, step.rows))
        os.utime(outside, (EPOCH + step.age,) * 2)
        self._path(name).symlink_to(outside)
        self.forgotten.discard(name)
        self.files[name] = File(dict(step.rows), {"loaded"}, step.age)

    def _touch(self, name: str, step: Step) -> None:
        if (file := self.files.get(name)) and (self.domain.folder / name).is_file():
            os.utime(self.domain.folder / name, (EPOCH + step.age,) * 2)
            file.age = step.age

    def _delete(self, name: str) -> None:
        if self.files.pop(name, None):
            (self.domain.folder / name).unlink()

    def _forget(self, name: str) -> None:
        if self.domain.forgets and name in self.records:
            self.domain.forget(name)
            del self.records[name]
            self.forgotten.add(name)


def assert_lawful(domain: Domain, steps: Sequence[Step]) -> None:
    """Carry out the steps and a last load, and judge what is left."""
    folder = Folder(domain)
    for step in steps:
        folder.apply(step)
    folder.load()
    entries = {entry.file: entry for entry in domain.entries()}
    assert set(folder.files) <= set(entries), "a file of the folder has no state"
    assert domain.table() == folder.table()
    for name, file in folder.files.items():
        entry = entries[name]
        wanted = {"not taken"} if name in folder.forgotten and file.rows is not None else file.states
        assert entry.state in wanted, f"{name} is {entry.state} ({entry.reason}) and not {wanted}"
        assert entry.reason or entry.state in ("loaded", "empty"), f"{name} is {entry.state} for no reason"
        assert entry.balanced, f"rows of {name} have no fate: {entry}"
        if entry.state == "loaded":
            kept = {key for key, owner in folder.owners().items() if owner == name}
            assert entry.loaded == len(kept & set(file.rows or ())), f"{entry} has other rows in the table"
            assert set(entry.replaced) <= set(folder.files) | set(folder.records), f"{entry} names an unknown file"
