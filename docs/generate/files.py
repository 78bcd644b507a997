"""Files that people write: the shipped ones in full, since each of their keys has its default and a word on it."""

from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "marketdata_assets"
COLLECTOR = PACKAGE / "collector" / "collector.yaml"
PROVIDERS = PACKAGE / "ticks" / "providers.yaml"
STOCK_DAILY = PACKAGE / "defs" / "flows" / "stock_daily" / "defs.yaml"


def page() -> str:
    return f"""# Files of configuration

Every key is read. One that is not known is an error that names the file, the key and the nearest one there is.

## The collector

`marketdata collect --config FILE`; without one it is the file that comes with the package, below.
[What the keys do](../concepts/collector.md#configuration), and `marketdata collect check` prints what is in effect.

{_yaml(COLLECTOR)}
## Providers of ticks

`MARKETDATA_PROVIDERS`, or `--providers-config`; without one it is the file that comes with the package, below.
[What the keys do](../concepts/ticks.md#providers-file).

{_yaml(PROVIDERS)}
## A flow

A `defs.yaml` in a folder of `MARKETDATA_FLOWS_DIR`. [What the keys do](../concepts/flows.md#the-file), and
`marketdata flows check` says what is wrong. This one comes with the package:

{_yaml(STOCK_DAILY)}
## Accounts and credentials

JSON files for [alphas](../concepts/alphas.md#accounts-credentials-logins), and a YAML file for
[the collector](../concepts/collector.md#servers-and-secrets).
"""


def _yaml(file: Path) -> str:
    return f"```yaml\n{file.read_text().strip()}\n```\n"
