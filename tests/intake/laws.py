"""The law of every intake: each file has a state, each row one fate, and the table is what the rules demand."""

from collections.abc import Sequence

from tests.intake.deliveries import Domain, Folder, Step


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
            assert entry.loaded == len(kept & set(folder.records[name].rows)), f"{entry} has other rows in the table"
            assert set(entry.replaced) <= set(folder.files) | set(folder.records), f"{entry} names an unknown file"
