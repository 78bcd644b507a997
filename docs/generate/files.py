"""Configuration files that people write: the shipped ones in full, with each key, its default and a comment."""

from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "marketdata_assets"
COLLECTOR = PACKAGE / "collector" / "collector.yaml"
BARS = PACKAGE / "bars" / "bars.yaml"
PROVIDERS = PACKAGE / "ticks" / "providers.yaml"
STOCK_DAILY = PACKAGE / "defs" / "flows" / "stock_daily" / "defs.yaml"


def page() -> str:
    return f"""# Configuration files

An unknown key is an error that names the file, the key and the nearest valid key.

## The collector

`marketdata collect --config FILE`; without this option, the shipped file below is used.
[What the keys do](../collector.md#configuration). `marketdata collect check` prints the effective
configuration.

{_yaml(COLLECTOR)}
## Profiles of minute bars

`MARKETDATA_BARS_PROFILES` names a file with others, or with changed keys of these.
[What the keys do](../bar-files.md#keys-of-a-profile).

{_yaml(BARS)}
## Providers of ticks

`MARKETDATA_PROVIDERS` or `--providers-config`; without either, the shipped file below is used.
[What the keys do](../ticks.md#providers-file).

{_yaml(PROVIDERS)}
## A flow

A `defs.yaml` in a folder of `MARKETDATA_FLOWS_DIR`. [What the keys do](../flows.md#the-definition-file).
`marketdata flows check` reports mistakes. This flow ships with the package:

{_yaml(STOCK_DAILY)}
## Accounts and credentials

JSON files for [alphas](../alphas.md#accounts-credentials-logins), and a YAML file for
[the collector](../collector.md#servers-and-secrets).
"""


def _yaml(file: Path) -> str:
    return f"```yaml\n{file.read_text().strip()}\n```\n"
