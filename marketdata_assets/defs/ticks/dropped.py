"""Dropped files of ticks, as the sensor, the nightly repair and scheduled runs observe them while they are written."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from marketdata_assets.loading.watch import State
from marketdata_assets.resources import Ticks

if TYPE_CHECKING:
    from marketdata_assets.loading.files import FileState

NETWORK = ("tushare", "yahoo")


def states(ticks: Ticks) -> dict[str, State]:
    """Size and modification time of the dropped files that loads read."""
    return {key: [file.size, file.modified_ns] for key, file in found(ticks).items()}


def found(ticks: Ticks) -> "dict[str, FileState]":
    """The dropped files, by path; none when the providers file has no files."""
    section = ticks.config().files
    if section is None or not section.enabled:
        return {}
    files = ticks.files()
    return {f"{folder.path}/{file.name}": file for folder in (files.of_bars, files.of_books) for file in folder.files()}


def others(ticks: Ticks, wanted: Sequence[str] = ()) -> list[str]:
    """The providers on the network that the providers file has, of those `wanted`, or of all."""
    return [name for name in NETWORK if getattr(ticks.config(), name) and name in (wanted or NETWORK)]
