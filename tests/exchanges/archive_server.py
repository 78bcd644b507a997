"""A public archive as a server: zips with one CSV each, their checksums, and 404 for all else."""

import io
import zipfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import PurePosixPath

from aiohttp import web

from marketdata_demo.servers.loopback import ProviderServer


def zipped(name: str, lines: Iterable[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name.removesuffix(".zip") + ".csv", "\n".join(lines) + "\n")
    return buffer.getvalue()


class ArchiveServer(ProviderServer):
    """`files` by path."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}

    def put(self, path: str, lines: Iterable[str]) -> None:
        """A zip and its checksum."""
        name = PurePosixPath(path).name
        self.files[path] = zipped(name, lines)
        self.files[f"{path}.CHECKSUM"] = f"{sha256(self.files[path]).hexdigest()}  {name}\n".encode()

    async def line(self, request: web.Request) -> str:
        return request.path

    def too_many(self, limit: str) -> web.StreamResponse:
        return web.Response(status=429)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = self.files.get(request.path)
        return web.Response(body=body) if body is not None else web.Response(status=404)
