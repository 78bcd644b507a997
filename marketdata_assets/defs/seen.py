"""What a run found outside: an observation of the files or the feed that it read."""

from collections.abc import Iterable
from pathlib import Path

import dagster as dg


def files(asset: str, folder: Path, paths: Iterable[Path]) -> dg.AssetObservation:
    """The files as they are now; those that are gone meanwhile are left out."""
    found = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue
        found.append((stat.st_mtime, stat.st_size, path))
    metadata: dict[str, dg.MetadataValue | int | str] = {
        "folder": dg.MetadataValue.path(folder),
        "files": len(found),
        "megabytes": round(sum(size for _, size, _ in found) / 1e6),
    }
    if found:
        modified, _, newest = max(found)
        metadata |= {"newest": newest.name, "modified": dg.MetadataValue.timestamp(modified)}
    return dg.AssetObservation(asset, metadata=metadata)
