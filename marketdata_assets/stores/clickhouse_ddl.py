"""The scripts that create something in ClickHouse: what they say of a table, and their statements for a cluster.

Only text is read and made here; which cluster a client is of, and what is rejected there, is in `clickhouse_cluster`.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files

import polars as pl

REPLICA_PATH = "/clickhouse/tables/{shard}/marketdata/{database}/{table}"
"""Of a table in Keeper. The name is in it instead of a UUID, so that a replica that is added later joins the others."""

_CREATE = re.compile(
    r"^(CREATE (?:OR REPLACE )?(?:(?:MATERIALIZED )?VIEW|TABLE) (?:IF NOT EXISTS )?)(`?\w+`?)", re.MULTILINE
)
_ENGINE = re.compile(r"\bENGINE = (\w*)MergeTree(?:\(([^()]*)\))?")
_REPLICATED = re.compile(r"^Replicated(\w*)MergeTree\('(?:[^'\\]|\\.)*', '(?:[^'\\]|\\.)*'(?:, ([^()]*))?\)")
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window\b")
_COLUMN = re.compile(r"^    (\w+) +((?:\w+\()*)([A-Z]\w*(?:\(\d[^)]*\))?)(.*)$", re.MULTILINE)
_TYPES: dict[str, pl.DataType] = {
    **{kind.__name__: kind() for kind in (pl.String, pl.Date, pl.Float64, pl.Int64, pl.UInt8, pl.UInt32, pl.UInt64)},
    "Bool": pl.Boolean(),
    "DateTime64(3, 'UTC')": pl.Datetime("ms", "UTC"),
    "DateTime64(6, 'UTC')": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class Table:
    """A table that `sql/SCRIPT.sql` of a package creates; without a `script`, that of the table's name."""

    name: str
    package: str
    script: str = ""

    @cached_property
    def ddl(self) -> str:
        """The whole script, with that of other tables."""
        return files(self.package).joinpath(f"sql/{self.script or self.name}.sql").read_text("utf-8")

    @cached_property
    def columns(self) -> pl.Schema:
        """Its columns, but for those that the server fills with its clock."""
        return pl.Schema(
            {
                name: pl.List(_TYPES[kind]) if wrappers == "Array(" else _TYPES[kind]
                for name, wrappers, kind, rest in self._declared
                if "DEFAULT now64(" not in rest
            }
        )

    @cached_property
    def types(self) -> dict[str, str]:
        """The type of each column in ClickHouse's words."""
        return {name: f"{wrappers}{kind}{')' * wrappers.count('(')}" for name, wrappers, kind, _ in self._declared}

    @cached_property
    def dictionaries(self) -> tuple[str, ...]:
        """Its columns of few values."""
        return tuple(name for name, wrappers, *_ in self._declared if wrappers.startswith("LowCardinality("))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns of its ORDER BY."""
        return tuple(self._statement[2].split(", "))

    def fit(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The columns of the table that a frame has among others, with their types."""
        return frame.select(self.columns.names()).cast(self.columns)

    @property
    def _statement(self) -> re.Match[str]:
        form = rf"^CREATE TABLE IF NOT EXISTS {self.name} \(\n(.*?)^\) ENGINE = [^;]*? ORDER BY \(?([\w, ]*\w)"
        found = re.search(form, self.ddl, re.MULTILINE | re.DOTALL)
        assert found, f"no statement creates {self.name}"
        return found

    @property
    def _declared(self) -> list[tuple[str, str, str, str]]:
        """Of each column: its name, what is around its type, the type, and what follows."""
        return _COLUMN.findall(self._statement[1])


def name_of(statement: str) -> str | None:
    """The table or view that a statement creates; None if it creates none."""
    found = _CREATE.search(statement)
    return found[2].strip("`") if found else None


def comment_of(statement: str) -> str:
    """What a view has as its comment, by which it is known to be the newest; empty of other statements."""
    return sha256(statement.encode()).hexdigest()[:16] if "CREATE OR REPLACE VIEW" in statement else ""


def rendered(statement: str, cluster: str) -> str:
    """The statement as it is for one server, or, with the name of a cluster, on all of its replicas.

    There a table of the MergeTree family is replicated, and deduplicates inserts as the plain one does: not at all
    unless it says so.
    """
    digest = comment_of(statement)
    comment = f" COMMENT '{digest}'" if digest else ""
    if not cluster:
        return f"{statement.rstrip().rstrip(';')}{comment}" if comment else statement
    on_cluster = _CREATE.sub(rf"\g<1>\g<2> ON CLUSTER `{cluster}`", statement.rstrip().rstrip(";"), count=1)
    text, replaced = _ENGINE.subn(_replicated, on_cluster, count=1)
    if not replaced:
        return f"{text}{comment}"
    if _WINDOW.search(text):
        return _WINDOW.sub("replicated_deduplication_window", text)
    if "SETTINGS " in text[text.index("ENGINE = Replicated") :]:
        head, _, settings = text.rpartition("SETTINGS ")
        return f"{head}SETTINGS replicated_deduplication_window = 0, {settings}"
    return f"{text} SETTINGS replicated_deduplication_window = 0"


def unreplicated(engine: str) -> str:
    """The engine of a replicated table, as `system.tables.engine_full` has it, without the replication."""
    return _REPLICATED.sub(lambda found: f"{found[1]}MergeTree" + (f"({found[2]})" if found[2] else ""), engine)


def _replicated(engine: re.Match[str]) -> str:
    arguments = ", ".join([f"'{REPLICA_PATH}'", "'{replica}'", *filter(None, [engine[2]])])
    return f"ENGINE = Replicated{engine[1]}MergeTree({arguments})"
