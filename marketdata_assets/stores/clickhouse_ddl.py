"""The text of every statement that creates something in ClickHouse, for one server or for the replicas of a cluster.

Only text is made here; which cluster a client is of, and what is rejected there, is in `clickhouse_cluster`.
"""

import re
from hashlib import sha256

REPLICA_PATH = "/clickhouse/tables/{shard}/marketdata/{database}/{table}"
"""Of a table in Keeper. The name is in it instead of a UUID, so that a replica that is added later joins the others."""
REPLICA_NAME = "{replica}"

_CREATE = re.compile(
    r"^(CREATE (?:OR REPLACE )?(?:(?:MATERIALIZED )?VIEW|TABLE) (?:IF NOT EXISTS )?)(`?\w+`?)", re.MULTILINE
)
_ENGINE = re.compile(r"\bENGINE = (\w*)MergeTree(?:\(([^()]*)\))?")
_REPLICATED = re.compile(r"^Replicated(\w*)MergeTree\('(?:[^'\\]|\\.)*', '(?:[^'\\]|\\.)*'(?:, ([^()]*))?\)")
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window\b")


def name_of(statement: str) -> str | None:
    """The table or view that a statement creates; None if it creates none."""
    found = _CREATE.search(statement)
    return found[2].strip("`") if found else None


def comment_of(statement: str) -> str:
    """What a view has as its comment on a cluster, by which it is known to be the newest; empty of other statements."""
    return sha256(statement.encode()).hexdigest()[:16] if "CREATE OR REPLACE VIEW" in statement else ""


def rendered(statement: str, cluster: str) -> str:
    """The statement as it is for one server, or, with the name of a cluster, on all of its replicas.

    There a table of the MergeTree family is replicated, and deduplicates inserts as the plain one does: not at all
    unless it says so.
    """
    if not cluster:
        return statement
    on_cluster = _CREATE.sub(rf"\g<1>\g<2> ON CLUSTER `{cluster}`", statement.rstrip().rstrip(";"), count=1)
    text, replaced = _ENGINE.subn(_replicated, on_cluster, count=1)
    if not replaced:
        return f"{text} COMMENT '{comment}'" if (comment := comment_of(statement)) else text
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
    arguments = ", ".join([f"'{REPLICA_PATH}'", f"'{REPLICA_NAME}'", *filter(None, [engine[2]])])
    return f"ENGINE = Replicated{engine[1]}MergeTree({arguments})"
