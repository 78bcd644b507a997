"""Every environment variable: those of `settings`, of the collector, and the few with names of their own."""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from docs.generate.markdown import code, codes, paragraph, table
from marketdata_assets.alphas import accounts
from marketdata_assets.collector.config import Variables
from marketdata_assets.dagster_storage import LOGS, POSTGRES
from marketdata_assets.settings import Settings
from marketdata_assets.ticks.providers_file import ALPACA_KEYS as KEYS
from marketdata_assets.ticks.tushare import TOKEN_VARIABLE

HEAD = ("variable", "meaning", "default")
DEFAULT = "; default "


def page() -> str:
    account = [name.replace("KEY", "<KEY>") for name in accounts.credential_variables("KEY")]
    return f"""# Configuration

All variables are optional. An unset variable selects the local stack, or a folder under `MARKETDATA_HOME` (in the
tables: `HOME`). An empty variable counts as unset. A server that a variable names is used as is and never started or
stopped. No command, log or page shows passwords.

The value of any variable may be in a file, as containers and systemd provide secrets: append `_FILE` to the variable's
name and set it to the path, for example `MARKETDATA_POSTGRES_DSN_FILE=/run/secrets/postgres_dsn`. The variable itself
takes precedence over its file.

## Project

{_fields(Settings, "MARKETDATA_", "none")}
## Credentials of data providers

{
        table(
            HEAD,
            [
                (
                    code(TOKEN_VARIABLE),
                    "the token of your Tushare account, or several with commas between",
                    "none: Tushare is not used",
                ),
                (codes(KEYS), "id and secret of the keys of your Alpaca account", "none: Alpaca is not used"),
                (
                    codes(account),
                    "credentials of a BRAIN account; `<KEY>` is its name in capitals, with `_` instead of every"
                    " character that is not a letter or digit",
                    "the file of `MARKETDATA_BRAIN_CREDENTIALS`",
                ),
            ],
        )
    }
## Collector

These override the keys of [its file](files.md#the-collector).

{_fields(Variables, "", "the value in the file")}
## Dagster's storage

{
        paragraph(
            f"The storage that `dagster.yaml` names reads {codes(sorted([*POSTGRES.values(), LOGS]))}."
            " `marketdata up` sets them to the local PostgreSQL; without them Dagster keeps its records in SQLite,"
            " in the data folder."
        )
    }
## Tests

{
        table(
            ("variable", "meaning"),
            [
                ("`MARKETDATA_FIXTURES`", "folder of recorded payloads; tests that need it skip without it"),
                (
                    "`MARKETDATA_TEST_TIMESCALE_DSN`",
                    "a TimescaleDB community server, where tests create and drop databases; without it they skip",
                ),
                (
                    "`MARKETDATA_TEST_CLICKHOUSE_CLUSTER`",
                    "name of a ClickHouse cluster and the URLs of two nodes, separated by spaces; without it they skip",
                ),
            ],
        )
    }"""


def _fields(settings: type[Any], prefix: str, unset: str) -> str:
    return table(HEAD, [_row(prefix + name.upper(), field, unset) for name, field in settings.model_fields.items()])


def _row(variable: str, field: FieldInfo, unset: str) -> tuple[str, str, str]:
    """The description of a field whose default is None names the default after `; default`."""
    meaning, _, default = (field.description or "").partition(DEFAULT)
    value = field.default
    if isinstance(value, str | int | float | Path):
        default = code(f"{value:g}" if isinstance(value, float) else str(value))
    return code(variable), meaning, default or unset
