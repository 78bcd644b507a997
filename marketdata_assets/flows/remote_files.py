"""Copies of the files below a URL, by fsspec (extra `remote`): what is new or changed there since it was copied.

A file is written under its name when it is whole. One that is gone from the source stays.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import msgspec

from marketdata_assets import state_files
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import SourceFailed
from marketdata_assets.flows.sources import Source
from marketdata_assets.loading.member_names import is_hidden
from marketdata_assets.loading.run import describe
from marketdata_assets.secret_values import find, hide

STATE = Path(".source")
STAMPS = (
    *("ETag", "etag", "checksum", "md5", "Content-MD5", "Digest"),
    *("LastModified", "last_modified", "Last-Modified", "mtime", "modified"),
)
"""What file systems report of a file that changes with its content."""


Listed = tuple[str, tuple[str, dict[str, Any]]]
"""A file's name below the source, its path there, and what the file system reports of it."""


@dataclass(frozen=True)
class Fetched:
    """Names of the files that were copied, and the causes of those that could not be."""

    copied: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    def check(self, flow: FlowDefinition) -> None:
        """Raise SourceFailed when a file could not be copied."""
        if self.failed and flow.source:
            name, cause = min(self.failed.items())
            said = f"{len(self.failed)} files cannot be copied, such as {name}: {cause}"
            raise SourceFailed(flow.name, flow.source.url or "", said)


def fetch(flow: str, source: Source, globs: list[str], folder: Path, environ: Mapping[str, str]) -> Fetched:
    """Copy new and changed files into `folder`. Raises SourceFailed when they cannot be listed."""
    try:
        system, root = _file_system(flow, source, environ)
        one_file = not str(source.url).endswith("/") and system.isfile(root)
        found = dict(_matching(_one(system, root) if one_file else _below(system, root), globs))
        if not found:
            raise SourceFailed(flow, source.url or "", f"there is no file that matches {' or '.join(globs)}")
    except SourceFailed:
        raise
    except Exception as error:  # of any file system of fsspec
        raise SourceFailed(flow, source.url or "", describe(error)) from error
    state = folder / STATE / "files.json"
    known = state_files.read(state, msgspec.json.Decoder(dict[str, str]).decode) or {}
    copied, failed = [], {}
    for name, (path, info) in sorted(found.items()):
        try:
            stamp = _stamp(info) or _stamp(system.info(path))
            if stamp and known.get(name) == stamp and (folder / name).is_file():
                continue
            _copy(system, path, info, folder / name)
        except Exception as error:  # of any file system of fsspec
            failed[name] = describe(error)
            continue
        copied.append(name)
        known[name] = stamp
        state_files.write(state, json.dumps(known, ensure_ascii=False))
    return Fetched(tuple(copied), failed)


def _file_system(flow: str, source: Source, environ: Mapping[str, str]) -> tuple[Any, str]:
    secrets = {option: find(variable, environ) for option, variable in source.secrets.items()}
    if unset := [source.secrets[option] for option, value in secrets.items() if value is None]:
        raise SourceFailed(flow, source.url or "", f"the variable {unset[0]} is not set")
    try:
        from fsspec.core import url_to_fs

        options = {**source.options, **secrets}
        if urlsplit(hide(str(source.url))).scheme in ("http", "https"):
            options |= _guarded(options, source.redirect_hosts)
        system, root = url_to_fs(source.url, **options)
        system.invalidate_cache()
    except ImportError as error:
        cause = f'{error}; remote files need the extra remote: pip install "marketdata-assets[remote]"'
        raise SourceFailed(flow, source.url or "", cause) from error
    return system, str(root)


def _guarded(options: Mapping[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    """Options with which a redirect to another server is rejected, or carries nothing that we send to the first one."""
    import aiohttp
    from yarl import URL

    async def redirected(_: Any, __: Any, step: aiohttp.TraceRequestRedirectParams) -> None:
        to = step.url.join(URL(step.response.headers.get("Location", "")))
        same = (step.url.host, step.url.port) == (to.host, to.port)
        secured = step.url.host == to.host and step.url.scheme == "http" and to.scheme == "https"
        if (same and step.url.scheme == to.scheme) or (secured and step.url.is_default_port() and to.is_default_port()):
            return
        if to.host not in allowed:
            raise OSError(
                f"it redirects to another server, {to.origin()}, where nothing is requested; if you trust that, add its"
                " host to source.redirect_hosts"
            )
        step.headers.clear()

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(redirected)
    client = dict(options.get("client_kwargs", {}))
    headers = {**client.pop("headers", {}), **options.get("headers", {})}  # those of a client go with every request
    client["trace_configs"] = [*client.get("trace_configs", []), trace]
    return {"client_kwargs": client, "skip_instance_cache": True} | ({"headers": headers} if headers else {})


def _one(system: Any, path: str) -> Iterator[Listed]:
    yield PurePosixPath(urlsplit(path).path).name, (path, system.info(path))


def _below(system: Any, root: str) -> Iterator[Listed]:
    for path, info in system.find(root, detail=True).items():
        yield path.removeprefix(root.rstrip("/")).lstrip("/"), (path, info)


def _matching(files: Iterable[Listed], globs: list[str]) -> Iterator[Listed]:
    from fsspec.utils import glob_translate

    patterns = [re.compile(glob_translate(pattern)) for pattern in globs]
    for name, entry in files:
        safe = ".." not in PurePosixPath(name).parts and not is_hidden(name)
        if safe and any(pattern.match(name) for pattern in patterns):
            yield name, entry


def _stamp(info: Mapping[str, Any]) -> str:
    """What changes with the content of a file; empty when its file system reports no such thing."""
    found = {key: str(info[key]) for key in STAMPS if info.get(key) is not None}
    return json.dumps({**found, "size": info.get("size")}) if found else ""


def _copy(system: Any, path: str, info: Mapping[str, Any], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        system.get_file(path, str(part))
        size = info.get("size")
        if size is not None and part.stat().st_size != size:
            raise OSError(f"{part.stat().st_size} bytes were copied, of {size}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
