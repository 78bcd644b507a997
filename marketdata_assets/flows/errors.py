"""What can be wrong with a flow, its files, its handlers and its table: each a FlowError, and so a LoadError."""

from collections.abc import Sequence

from marketdata_assets.loading.errors import LoadError


class FlowError(LoadError):
    """Anything wrong with a flow that a person has to correct."""


class BadFunction(FlowError):
    """A handler names a function that cannot be imported."""

    def __init__(self, function: str, cause: str) -> None:
        super().__init__(
            f"{function}: {cause}. Write package.module.function, or .module.function beside the flow's file."
        )


class UnknownUnit(FlowError):
    """A run requested a file that is not among the flow's."""

    def __init__(self, flow: str, unit: str, folder: str) -> None:
        super().__init__(f"flow {flow}: no file {unit!r} in {folder}. Deliver it, or request an existing file.")


class NoFolder(FlowError):
    """The folder of the flow's files is missing."""

    def __init__(self, folder: str) -> None:
        super().__init__(f"{folder}: no such folder. Create it, or correct loader.folder or MARKETDATA_FLOWS_DATA.")


class NoFiles(FlowError):
    """The folder has no file of the flow."""

    def __init__(self, folder: str, patterns: Sequence[str]) -> None:
        super().__init__(
            f"{folder}: no file matches {', '.join(patterns)}. Deliver files, or correct loader.folder or loader.glob;"
            " rows loaded before are kept."
        )


class HandlerFailed(FlowError):
    """A handler raised. Names flow, unit, handler and the shape of the frame it was given."""

    def __init__(self, flow: str, place: str, handler: str, shape: tuple[int, int], cause: str) -> None:
        super().__init__(
            f"flow {flow}, {place}: handler {handler} on {shape[0]} rows x {shape[1]} columns: {cause}. Nothing of the"
            " file is loaded; correct the handler or the file and run the flow again."
        )


class SourceFailed(FlowError):
    """The source of a flow's files cannot be read, or some of its files cannot be copied."""

    def __init__(self, flow: str, url: str, cause: str) -> None:
        super().__init__(
            f"flow {flow}, source {url}: {cause}. What is copied is kept; correct source and run the flow again."
        )


class ReaderFailed(FlowError):
    """The user's function that reads a file raised. Names file and function."""

    def __init__(self, place: str, function: str, cause: str) -> None:
        super().__init__(
            f"{place}: loader.function {function}: {cause}. Nothing of the file is loaded; correct the function or the"
            " file and run the flow again."
        )


class MissingColumn(FlowError):
    """The frame after the last handler lacks columns of the target."""

    def __init__(self, flow: str, place: str, missing: Sequence[str], given: Sequence[str]) -> None:
        super().__init__(
            f"flow {flow}, {place}: the handlers give no column {', '.join(missing)}; they give {', '.join(given)}."
            " Add it by derive or call, or take it out of target.columns."
        )


class NewColumns(FlowError):
    """A file has columns that the flow does not declare, and the flow rejects such files."""

    def __init__(self, place: str, columns: Sequence[str]) -> None:
        super().__init__(
            f"{place}: undeclared columns {', '.join(columns)}, and loader.new_columns is fail. Nothing of the file is"
            " loaded; name them in loader.columns or loader.ignored_columns, and run the flow again."
        )


class CannotAddColumn(FlowError):
    """A new column of a file is not added to the table of a flow that adds them."""

    def __init__(self, place: str, column: str, cause: str) -> None:
        super().__init__(
            f"{place}: new column {column} is not added: {cause}. Nothing of the file is loaded; name it in"
            " loader.columns and target.columns, or in loader.ignored_columns, and run the flow again."
        )


class WrongType(FlowError):
    """A column after the last handler is not what the target's column holds."""

    def __init__(self, flow: str, place: str, column: str, given: str, wanted: str, cause: str) -> None:
        super().__init__(
            f"flow {flow}, {place}: column {column} is {given}, the target has {wanted}: {cause}. Make it {wanted} by"
            " parse, derive or call, or change target.columns."
        )


class AppendedFileChanged(FlowError):
    """A file whose rows were appended has other bytes now."""

    def __init__(self, place: str, table: str) -> None:
        super().__init__(
            f"{place}: changed after its rows were appended to {table}, where mode append replaces none."
            " Deliver new rows in a new file, or declare mode: replace or upsert."
        )


class KeyTaken(FlowError):
    """A key of the unit belongs to rows of another."""

    def __init__(self, place: str, table: str, mode: str, detail: str) -> None:
        super().__init__(
            f"{place}: {table} has a row of the same key from another file ({detail}), and mode {mode} overwrites none."
            " Take it out of one file, or declare mode: upsert."
        )


class SchemaDrift(FlowError):
    """The table in the database is another than the flow declares."""

    def __init__(self, flow: str, table: str, differences: Sequence[str]) -> None:
        super().__init__(
            f"flow {flow}: table {table} in the database differs from target: {'; '.join(differences)}. Nothing is"
            f' changed; rebuild it with "marketdata flows rebuild {flow}", or change the flow back.'
        )


class TargetTaken(FlowError):
    """Two flows load into one store, which names rows by their unit."""

    def __init__(self, flow: str, place: str, other: str) -> None:
        super().__init__(
            f"flow {flow}: {place} has the rows of flow {other}. Give target.table or target.folder another name."
        )


class NoAddress(FlowError):
    """A flow is used without the address of its target."""

    def __init__(self, flow: str, kind: str) -> None:
        super().__init__(f"flow {flow}: the address of its target, of kind {kind}, is unknown; pass it with .at(...).")


class TargetDiffers(FlowError):
    """A table outside Postgres has other columns than declared, and is not altered."""

    def __init__(self, table: str, differences: Sequence[str], drop: Sequence[str]) -> None:
        super().__init__(
            f"table {table} of ClickHouse differs from target: {'; '.join(differences)}. Nothing is changed; drop"
            f" {' and '.join(drop)} there and run the flow again: all its files are loaded into new ones."
        )


class CannotAlter(FlowError):
    """The database does not take a change of the table, since something depends on it; the table is as it was."""

    def __init__(self, flow: str, table: str, change: str, cause: str) -> None:
        super().__init__(
            f"flow {flow}: table {table}: {change}: {cause}. The table is unchanged; drop what depends on it, run the"
            " flow again, and make it again."
        )


class CannotRebuild(FlowError):
    """A table is not rebuilt; it is as it was."""

    def __init__(self, flow: str, table: str, cause: str) -> None:
        super().__init__(f"flow {flow}: table {table} is not rebuilt: {cause}. Its rows are unchanged.")


class CannotForget(FlowError):
    """A file of a flow is not forgotten."""

    def __init__(self, flow: str, cause: str) -> None:
        super().__init__(f"flow {flow}: {cause}")


class CannotWrite(FlowError):
    """A new flow is not written."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"no new flow {name!r}: {cause}")
