"""What can go wrong with worker processes.

A retry may help against RayAway and RayLost. WorkerDied is in place of one item's result; the others continue.
"""

from pathlib import Path

from marketdata_assets.errors import TerminalError, TransientError

VARIABLE = "MARKETDATA_RAY_ADDRESS"


class NoRay(TerminalError):
    """Ray is configured and not installed."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{VARIABLE} is {address!r}, and Ray is not installed here: pip install 'marketdata-assets[ray]', or unset"
            f" {VARIABLE} to work in processes of this machine"
        )


class RayAway(TransientError):
    """Nothing answers at the address of the cluster."""

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(
            f"no Ray cluster at {address} ({cause}): start one with `ray start --head --port=6379`, correct {VARIABLE},"
            " or unset it to work in processes of this machine"
        )


class RayIncompatible(TerminalError):
    """Something answers at the address, and this process cannot work with it."""

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(
            f"Ray at {address} does not accept this process: {cause}. Every machine needs the same Ray and Python and"
            " the cluster's token (RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token); this one must be a"
            " node of the cluster unless the address begins with ray://"
        )


class FolderNotShared(TerminalError):
    """A machine of the cluster does not see the folder of the files."""

    def __init__(self, folder: Path, machine: str) -> None:
        super().__init__(
            f"{folder} does not exist on {machine}, a machine of the Ray cluster: share the folder, under the same path"
            f" on every machine, or unset {VARIABLE} to work in processes of this machine"
        )


class RayWithoutWorkers(TerminalError):
    """A cluster that has no CPU."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the Ray cluster at {address} has no CPU to work with: add a node with `ray start --address=...`, or set"
            " MARKETDATA_WORKERS to the number of units to submit at once if the cluster scales automatically"
        )


class RayLost(TransientError):
    """The cluster itself, not one of its workers, became unavailable; units loaded by then stay loaded."""

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(
            f"the Ray cluster at {address} was lost during the run: {cause}. Units loaded by then stay loaded; check"
            " `ray status`, and run the same partitions again"
        )


class WorkerDied(Exception):
    """The process that worked on an item was killed, first among others and then with this item alone."""

    def __init__(self, cause: str = "out of memory, or by hand") -> None:
        super().__init__(
            f"the worker process was killed, and again when it had this unit alone ({cause}); free memory or lower"
            " MARKETDATA_WORKERS, and run the same partitions again"
        )
