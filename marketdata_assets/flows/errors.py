"""What can be wrong with a flow, its files, its handlers and its table: each a FlowError, and so a LoadError."""

from marketdata_assets.loading.errors import LoadError
from marketdata_assets.secret_values import masked, without_password


class FlowError(LoadError):
    """Anything wrong with a flow that a person has to correct."""


class SourceFailed(FlowError):
    """The source of a flow's files cannot be read, or some of its files cannot be copied."""

    def __init__(self, flow: str, url: str, cause: str) -> None:
        said = f"flow {flow}, source {url}: {cause}. What is copied is kept; correct source and run the flow again."
        super().__init__(masked(without_password(said)))


class MissingColumn(FlowError):
    """The frame after the last handler lacks columns of the target."""
