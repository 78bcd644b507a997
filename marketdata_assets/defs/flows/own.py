"""The user's own flows: a folder with a defs.yaml each, in MARKETDATA_FLOWS_DIR.

One that cannot be read takes nothing else away: it is an asset that says what is wrong.
"""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg

from marketdata_assets.config_files import InvalidConfigFile, naming_failures
from marketdata_assets.defs.flows import build
from marketdata_assets.flows import discovery
from marketdata_assets.flows.discovery import FlowFile
from marketdata_assets.local.flow_addresses import placed


def find(folder: Path, taken: Collection[str] = ()) -> list[FlowFile]:
    """The flows in `folder`, by name; one that Dagster rejects, or whose name is `taken`, is invalid."""
    return [one.map(placed) for one in discovery.find(folder, taken, build.check)]


def names(defs: dg.Definitions) -> set[str]:
    """The names of all assets in `defs`."""
    found: set[str] = set()
    for one in defs.assets or ():
        keys = one.keys if isinstance(one, dg.AssetsDefinition) else [getattr(one, "key", dg.AssetKey("any"))]
        found |= {key.to_user_string() for key in keys}
    return found


def definitions(folder: Path, taken: Collection[str]) -> dg.Definitions:
    """Assets, checks and automation of the flows in `folder`; `taken` are the names of all other assets."""
    found, built = list[FlowFile](), list[dg.Definitions]()
    for one in find(folder, taken):
        try:
            with naming_failures(str(one.file)):
                built += [build.definitions(one.flow)] if one.flow else []
            found.append(one)
        except InvalidConfigFile as error:
            found.append(replace(one, flow=None, error=error))
    flows = [one.flow for one in found if one.flow is not None]
    specs = {build.files_key(flow): build.files_of(flow) for flow in reversed(flows)}
    dashed = [spec for key, spec in specs.items() if key not in taken and key not in {one.name for one in found}]
    with warnings.catch_warnings():
        # As Dagster itself does for what it loads from a folder.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(dg.Definitions(assets=[*dashed, *_broken(found, taken)]), *built)


def _broken(found: list[FlowFile], taken: Collection[str]) -> Iterator[dg.AssetsDefinition]:
    names = {*taken, *(one.name for one in found if one.flow)}
    for one in found:
        if one.error is not None:
            name = build.key_part(one.name)
            while name in names or not build.accepts(lambda name=name: dg.GraphDefinition(name=name)):  # type: ignore[misc]
                name += "_broken"
            names.add(name)
            yield _complaint(name, one.error)


def _complaint(name: str, error: InvalidConfigFile) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        group_name="flows",
        kinds={"yaml"},
        owners=build.OWNERS,
        description=f"This flow cannot be read; correct its file, then reload the definitions.\n\n```\n{error}\n```",
    )
    def broken() -> dg.MaterializeResult:
        raise dg.Failure(description=str(error), allow_retries=False)

    return broken
