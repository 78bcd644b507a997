"""Every environment variable: those of `settings`, those of the collector, and the few that others give their names."""

import re
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from docs.generate.markdown import code, codes, paragraph, table
from marketdata_assets.alphas import credentials
from marketdata_assets.settings import CollectorSettings, Settings
from marketdata_assets.ticks.tushare_answers import TOKEN_VARIABLE

PROJECT = Path(__file__).parents[2]
HEAD = ("variable", "meaning", "default")
DEFAULT = "; default "


def page() -> str:
    account = [name.replace("KEY", "<KEY>") for name in credentials.variables("KEY")]
    return f"""# Configuration

Everything is optional. Unset means the local stack, or a folder under `MARKETDATA_HOME` (in the tables: `HOME`). An
empty variable counts as unset. A server that a variable names is used as it is and never started or stopped. No
command, log or page shows passwords.

In the place of any of the variables below, `NAME_FILE` may name a file that holds the value alone, as containers and
systemd hand secrets over. The variable itself goes before its file.

The value of a variable may stand in a file: set the variable's name with `_FILE` behind it to the path, as
`MARKETDATA_POSTGRES_DSN_FILE=/run/secrets/postgres_dsn`. The variable itself goes before its file.

## Project

{_fields(Settings, "MARKETDATA_", "none")}
## Credentials of data providers

{
        table(
            HEAD,
            [
                (code(TOKEN_VARIABLE), "the token of your account at Tushare", "none: Tushare is not asked"),
                (
                    codes(account),
                    "credentials of a BRAIN account; `<KEY>` is its name in capitals, any other character than letters"
                    " and digits as `_`",
                    "the file of `MARKETDATA_BRAIN_CREDENTIALS`",
                ),
            ],
        )
    }
## Collector

These are stronger than the keys of [its file](files.md#the-collector).

{_fields(CollectorSettings, "", "what the file says")}
## Dagster's storage

{paragraph(f"`dagster.yaml` reads {codes(_of_dagster())}. `marketdata up` sets them to the local PostgreSQL.")}
## Tests

{
        table(
            ("variable", "meaning"),
            [
                ("`MARKETDATA_FIXTURES`", "folder of recorded payloads; without it their tests skip"),
                (
                    "`MARKETDATA_TEST_TIMESCALE_DSN`",
                    "a TimescaleDB community server, where tests make and drop databases; without it they skip",
                ),
            ],
        )
    }"""


def _fields(settings: type[Any], prefix: str, unset: str) -> str:
    return table(HEAD, [_row(prefix + name.upper(), field, unset) for name, field in settings.model_fields.items()])


def _row(variable: str, field: FieldInfo, unset: str) -> tuple[str, str, str]:
    """A default that is None is said by the description, behind `; default`."""
    meaning, _, default = (field.description or "").partition(DEFAULT)
    value = field.default
    if isinstance(value, str | int | float | Path):
        default = code(f"{value:g}" if isinstance(value, float) else str(value))
    return code(variable), meaning, default or unset


def _of_dagster() -> list[str]:
    return sorted(set(re.findall(r"env: (\w+)", (PROJECT / "dagster.yaml").read_text())))
