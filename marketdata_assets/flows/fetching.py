"""Bring what a flow's source has into the folder from which the flow loads."""

from collections.abc import Mapping
from pathlib import Path

from marketdata_assets.budget import BudgetPlace
from marketdata_assets.flows import paged_api, remote_files
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.remote_files import Fetched


def fetch(flow: FlowDefinition, data: Path, environ: Mapping[str, str], budgets: BudgetPlace | None = None) -> Fetched:
    """Copy new and changed files, or save new pages, below the folder `data`; nothing for a flow without a source.

    Secrets are read from `environ`. `budgets` are the rate limits of APIs; default files beside the pages. Raises
    SourceFailed when the source cannot be read at all.
    """
    if flow.source is None:
        return Fetched()
    folder = data / flow.loader.folder
    folder.mkdir(parents=True, exist_ok=True)
    if flow.source.api:
        return paged_api.fetch(flow.name, flow.source.api, flow.loader.rows, folder, environ, budgets)
    return remote_files.fetch(flow.name, flow.source, flow.loader.glob, folder, environ)
