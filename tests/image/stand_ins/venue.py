#!/engines/bin/python
"""Stands in for www.deribit.com: the simulated venue behind TLS, with a certificate of the test's own authority."""

import asyncio
import ssl
import sys
from contextlib import suppress

sys.path.insert(0, "/source")

from marketdata_demo.venues.deribit_venue import DeribitVenue

NAMES = ["BTC-PERPETUAL", "ETH-PERPETUAL"]


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends."""
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    """Decrypt on 443 for the venue."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copied(reader, inner[1]), copied(inner[0], writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/certificate/venue.pem")
    async with await asyncio.start_server(connected, "0.0.0.0", 443, ssl=context) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with DeribitVenue(NAMES, seed=5, rate=20.0) as venue:
        asyncio.run(serve(venue.port))
