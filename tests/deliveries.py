"""Random folders and what must become of them, said without the package: deliveries, faults, and the rules as a dict.

A row is a key and a value, both small numbers; a domain writes them in a file of its own shape.
"""

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from hypothesis import strategies as st

from marketdata_assets.loading.file_ledger import FileEntry
from tests import permissions

Rows = dict[int, int]
Fault = Literal["", "empty file", "no rows", "cut", "foreign", "other suffix", "dead link", "pipe", "closed", "loop"]
FAULTS: tuple[Fault, ...] = (
    *("empty file", "no rows", "cut", "foreign", "other suffix"),
    *("dead link", "pipe", "closed", "loop"),
)
EPOCH = 1_700_000_000

Action = Literal["deliver", "grow", "rename", "link", "touch", "delete", "forget", "load", "kill"]


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
    action=st.sampled_from(["deliver"] * 4 + ["grow", "rename", "link", "touch", "delete", "forget", "load", "kill"]),
    slot=st.integers(0, 4),
    rows=ROWS,
    fault=st.one_of(st.just(""), st.just(""), st.sampled_from(FAULTS)),
    age=st.integers(1, 3),
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
    """Whether rows that a redelivery no longer has leave the table; where it depends, of a key and the new rows."""
    old_rows_yield: bool
    """Whether rows that their file no longer has make way for those of any file; else they compete as before."""
    by_age: bool
    """Whether of two files with a key the one that changed last wins; else the one whose name sorts last."""
    is_staged: bool
    """Whether what a killed load has read is kept outside of the table, where it cannot be seen."""
    forgets: bool
    """Whether a file can be taken back."""
    stays_forgotten: bool
    """Whether a forgotten file is loaded again only when it is delivered again."""
    follows_deleted: bool
    """Whether the rows of a deleted file leave, as soon as a load finds files and can tell what each entry is."""
    extra_rows: int
    """How many rows `content` adds to a file that has any: rejected ones and copies."""

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
    is_file: bool = True


@dataclass(frozen=True)
class Row:
    """A row of the table: the file that it belongs to, its value, and the modification time with which it competes."""

    file: str
    value: int
    age: int


@dataclass
class Folder:
    """The folder, and the table that the rules demand.

    A load lets the rows of all readable files compete, and with them the rows of the table whose file cannot be read
    any more or, where rows do not leave, no longer has them.
    """

    domain: Domain
    files: dict[str, File] = field(default_factory=dict)
    held: dict[int, Row] = field(default_factory=dict)
    loaded: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    delivered: list[str] = field(default_factory=list)

    def apply(self, step: Step) -> None:
        """Carry out one step in the folder, and in the model."""
        name = self.domain.names[step.slot]
        act: dict[str, Callable[[], None]] = {
            "deliver": lambda: self._deliver(name, step),
            "grow": lambda: self._grow(name, step),
            "rename": lambda: self._rename(step.slot),
            "link": lambda: self._link(name, step),
            "touch": lambda: self._touch(name, step),
            "delete": lambda: self._delete(name),
            "forget": lambda: self._forget(name),
            "load": self.load,
            "kill": lambda: self._kill(step.steps),
        }
        act[step.action]()

    def load(self) -> None:
        """A load: the last row of each key is in the table."""
        if not self.domain.stays_forgotten:
            self.forgotten.clear()
        self.domain.load()
        present = self._present()
        taken = [file for file in self.files.values() if file.states != {"not taken"}]
        if self.domain.follows_deleted and taken and all(file.is_file for file in taken):
            self.held = {key: row for key, row in self.held.items() if row.file in self.files}
        stay = [
            (key, row)
            for key, row in self.held.items()
            if row.file not in present or not (key in present[row.file] or self._leaves(key, present[row.file]))
        ]
        rows = [(key, self._row(name, value)) for name in present for key, value in present[name].items()]
        self.held = dict(self._ordered([*stay, *rows]))
        if self.domain.old_rows_yield:
            self.held |= dict(self._ordered(rows))
        self.loaded |= present.keys()
        assert self.domain.table() == self.table()

    def table(self) -> Rows:
        """The values that the table must have."""
        return {key: row.value for key, row in self.held.items()}

    def own(self, name: str) -> set[int]:
        """The keys of the rows of the table that count as loaded with a file."""
        return {key for key, row in self.held.items() if row.file == name}

    def _ordered(self, rows: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
        """The last row of a key is that of the table."""
        return sorted(rows, key=lambda item: (item[1].age if self.domain.by_age else 0, item[1].file))

    def _leaves(self, key: int, now: Rows) -> bool:
        """Whether a row leaves the table of which a file has only other rows now."""
        leave = self.domain.rows_leave
        return leave(key, now) if callable(leave) else leave

    def _present(self) -> dict[str, Rows]:
        """The rows of the files that a load reads."""
        files = {name: file.rows for name, file in self.files.items() if name not in self.forgotten}
        return {name: rows for name, rows in files.items() if rows is not None}

    def _row(self, name: str, value: int) -> Row:
        return Row(name, value, self.files[name].age)

    def _kill(self, steps: int) -> None:
        """After a killed load, each row is that of before or one of a file; values tell which, as no two are alike."""
        if not self.domain.stays_forgotten:
            self.forgotten.clear()
        self.domain.kill(steps)
        if self.domain.is_staged:
            return self.load()
        present, table = self._present(), self.domain.table()
        for key in {*self.held, *table}:
            before = self.held.pop(key, None)
            offered = [self._row(name, rows[key]) for name, rows in present.items() if key in rows]
            if key in table:
                same = {row for row in (before, *offered) if row and row.value == table[key]}
                assert same, f"{key} has a value of no file"
                self.held[key] = max(same, key=lambda row: row.age)
                if len(same) > 1:  # whether the load came to know the new time of the file cannot be seen
                    return self.load()
            elif before:
                assert before.file in present and key not in present[before.file], f"{before} was lost"
        return None

    def _path(self, name: str) -> Path:
        path = self.domain.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def _stamp(self, path: Path, step: Step) -> int:
        """Give a file its modification time, which another content of the same size may have had; returns it."""
        time = (EPOCH + step.age) * 10**9
        os.utime(path, ns=(time, time))
        return time

    def _deliver(self, name: str, step: Step) -> None:
        if step.fault == "other suffix":
            name += ".bak"
        self.forgotten.discard(name)
        rows = self._numbered(name, step.rows)
        path = self._path(name)
        if step.fault == "dead link":
            path.symlink_to(path.parent / "absent")
            self.files[name] = File(None, {"failed"}, step.age, is_file=False)
            return
        if step.fault == "loop":
            path.symlink_to(path.name)
            self.files[name] = File(None, {"failed"}, step.age, is_file=False)
            return
        if step.fault == "pipe":
            os.mkfifo(path)
            self.files[name] = File(None, {"failed"}, step.age, is_file=False)
            return
        data = self.domain.content(self.domain.names[step.slot], {} if step.fault == "no rows" else rows)
        if step.fault == "empty file":
            data = b""
        elif step.fault == "cut":
            data = data[: len(data) // 3]
        elif step.fault == "foreign":
            data = b"<html><body>502 Bad Gateway</body></html>\n"
        path.write_bytes(data)
        path.chmod(0 if step.fault == "closed" else 0o644)
        age = self._stamp(path, step)
        states: dict[Fault, set[str]] = {
            "": {"loaded"},
            "no rows": {"empty"},
            "empty file": {"failed"},
            "other suffix": {"not taken"},
        }
        good = step.fault in ("", "no rows")
        taken = ({} if step.fault else rows) if good else None
        self.files[name] = File(taken, states.get(step.fault, {"failed"}), age)

    def _numbered(self, name: str, rows: Rows) -> Rows:
        """The rows with values that no other delivery has."""
        self.delivered.append(name)
        return {key: 10 * len(self.delivered) + value for key, value in rows.items()}

    def _grow(self, name: str, step: Step) -> None:
        """Rows are added to a file that is there, in place."""
        path, file = self.domain.folder / name, self.files.get(name)
        if file and file.rows is not None and not path.is_symlink():
            file.rows = self._numbered(name, step.rows) | file.rows
            path.write_bytes(self.domain.content(name, file.rows))
            file.states, file.age = {"loaded"}, self._stamp(path, step)
            self.forgotten.discard(name)

    def _rename(self, slot: int) -> None:
        """A file takes the name of the next slot of its format, and the place of the file that has it."""
        names = self.domain.names
        name = names[slot]
        suffix = Path(name).suffix.lower()
        other = next(one for one in names[slot + 1 :] + names[: slot + 1] if Path(one).suffix.lower() == suffix)
        if other != name and name in self.files:
            file = self.files.pop(name)
            (self.domain.folder / name).rename(self._path(other))
            self.files[other] = file
            self.delivered.append(other)
            self.forgotten.discard(other)

    def _link(self, name: str, step: Step) -> None:
        """The same file, as a link to one outside the folder."""
        outside = self.domain.folder.parent / "outside" / name
        outside.parent.mkdir(parents=True, exist_ok=True)
        rows = self._numbered(name, step.rows)
        outside.write_bytes(self.domain.content(name, rows))
        age = self._stamp(outside, step)
        self._path(name).symlink_to(outside)
        self.forgotten.discard(name)
        self.files[name] = File(rows, {"loaded"}, age)

    def _touch(self, name: str, step: Step) -> None:
        if (file := self.files.get(name)) and (self.domain.folder / name).is_file():
            file.age = self._stamp(self.domain.folder / name, step)

    def _delete(self, name: str) -> None:
        if self.files.pop(name, None):
            (self.domain.folder / name).unlink()

    def _forget(self, name: str) -> None:
        if self.domain.forgets and name in self.loaded:
            self.domain.forget(name)
            self.loaded.remove(name)
            self.held = {key: row for key, row in self.held.items() if row.file != name}
            self.forgotten.add(name)

    def has_loaded(self, entry: FileEntry, own: set[int], rows: Collection[int]) -> bool:
        """Whether a file with these `rows` has `own` ones in the table, as its entry says."""
        return entry.loaded in (len(own), len(own.intersection(rows)))


def assert_lawful(domain: Domain, steps: Sequence[Step], rules: Callable[[Domain], Folder] = Folder) -> None:
    """Carry out the steps and a last load, and judge what is left; `rules` say what the table must have."""
    folder = rules(domain)
    with permissions.enforced():
        for step in steps:
            folder.apply(step)
        folder.load()
        entries = {entry.file: entry for entry in domain.entries()}
    assert set(folder.files) <= set(entries), "a file of the folder has no state"
    for name, file in folder.files.items():
        entry = entries[name]
        wanted = {"not taken"} if name in folder.forgotten and file.rows is not None else file.states
        assert entry.state in wanted, f"{name} is {entry.state} ({entry.reason}) and not {wanted}"
        assert entry.reason or entry.state in ("loaded", "empty"), f"{name} is {entry.state} for no reason"
        assert entry.balanced, f"rows of {name} have no fate: {entry}"
        assert set(entry.replaced) <= {*folder.delivered} - {name}, f"{entry} names an unknown file"
        if entry.state == "loaded" and file.rows is not None:
            own = folder.own(name)
            read, older = len(file.rows) + (domain.extra_rows if file.rows else 0), len(own - file.rows.keys())
            exact = entry.read == read or (domain.rows_leave is False and entry.read >= read + older)
            assert exact, f"{entry} has {read} rows, and {older} of an earlier content"
            assert folder.has_loaded(entry, own, file.rows.keys()), f"{entry} has other rows in the table"
