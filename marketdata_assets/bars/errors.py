"""What can be wrong with a delivered file of minute bars.

MarketDataError
└── TerminalError
    └── BarsError
        ├── BadFile            the file cannot be read at all: truncated, not a zip, empty
        ├── BadMember          one member cannot be read: CRC, duplicate name, unsafe name
        ├── BadHeader          the header line is not the vendor's
        ├── TooManyRejects     over the threshold: nothing of the unit lands
        └── DefinitionDrift    the K-line in the database was made from another definition
"""

from marketdata_assets.errors import TerminalError


class BarsError(TerminalError):
    """Anything wrong with minute bars that a person has to mend."""


class BadFile(BarsError):
    """The file cannot be read at all."""

    def __init__(self, source: str, cause: str) -> None:
        self.source = source
        super().__init__(f"{source}: {cause}. Deliver the file again; what was loaded from it before stays as it is.")


class BadMember(BarsError):
    """One member of a zip cannot be read; its neighbours can."""

    def __init__(self, place: str, cause: str) -> None:
        self.place = place
        super().__init__(f"{place}: {cause}. Deliver the file again; the other members are loaded.")


class BadHeader(BarsError):
    """The first line does not name the eleven columns."""

    def __init__(self, place: str, cause: str, remedy: str) -> None:
        self.place = place
        super().__init__(f"{place}:1: {cause}. {remedy}")


class TooManyRejects(BarsError):
    """More than 1 % or more than 1000 rows were refused, so the file itself is doubted."""

    def __init__(self, place: str, rejected: int, rows: int, examples: list[str]) -> None:
        self.place = place
        self.rejected = rejected
        self.rows = rows
        listed = "; ".join(examples)
        super().__init__(
            f"{place}: {rejected} of {rows} rows refused, over the limit of 1 % or 1000, so nothing of it is loaded."
            f" First: {listed}. Mend the file and deliver it again."
        )


class DefinitionDrift(BarsError):
    """The K-line in the database was made from another definition than this version's."""

    def __init__(self, relation: str, found: str, wanted: str) -> None:
        self.relation = relation
        super().__init__(
            f"{relation} in the database was made from definition {found}, this version has {wanted}. Its rows may mean"
            f' something else. Rebuild it: "marketdata kline rebuild", or run stock_monthly_kline with config'
            f" rebuild: true."
        )
