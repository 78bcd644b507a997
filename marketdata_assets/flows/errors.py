"""What can be wrong with a flow, its files, its handlers and its table: each a FlowError, and so a LoadError."""

from collections.abc import Sequence

from marketdata_assets.loading.errors import LoadError
from marketdata_assets.secret_values import masked, without_password


class FlowError(LoadError):
    """Anything wrong with a flow that a person has to correct."""


class BadFunction(FlowError):
    """A handler names a function that cannot be imported."""

    def __init__(self, function: str, cause: str) -> None:
        super().__init__(
            f"{function}: {cause}. Write package.module.function, or .module.function beside the flow's file."
        )


class NoFiles(FlowError):
    """The folder has no file of the flow."""

    def __init__(self, folder: str, patterns: Sequence[str]) -> None:
        super().__init__(
            f"{folder}: no file matches {', '.join(patterns)}. Deliver files, or correct loader.folder or loader.glob;"
            " rows loaded before are kept."
        )


class SourceFailed(FlowError):
    """The source of a flow's files cannot be read, or some of its files cannot be copied."""

    def __init__(self, flow: str, url: str, cause: str) -> None:
        said = f"flow {flow}, source {url}: {cause}. What is copied is kept; correct source and run the flow again."
        super().__init__(masked(without_password(said)))


class MissingColumn(FlowError):
    """The frame after the last handler lacks columns of the target."""

    def __init__(self, flow: str, place: str, missing: Sequence[str], given: Sequence[str]) -> None:
        super().__init__(
            f"flow {flow}, {place}: the handlers give no column {', '.join(missing)}; they give {', '.join(given)}."
            " Add it by derive or call, or take it out of target.columns."
        )


class CannotAddColumn(FlowError):
    """A new column of a file is not added to the table of a flow that adds them."""

    def __init__(self, place: str, column: str, cause: str) -> None:
        super().__init__(
            f"{place}: new column {column} is not added: {cause}. Nothing of the file is loaded; name it in"
            " loader.columns and target.columns, or in loader.ignored_columns, and run the flow again."
        )


class CannotRebuild(FlowError):
    """A table is not rebuilt; it is as it was."""

    def __init__(self, flow: str, table: str, cause: str) -> None:
        super().__init__(f"flow {flow}: table {table} is not rebuilt: {cause}. Its rows are unchanged.")


class CannotWrite(FlowError):
    """A new flow is not written."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"no new flow {name!r}: {cause}")
