"""One owner at a time for some work on a NATS server, without timeouts: a claim ends with the connection of its owner.

The claim is an entry in a key-value bucket, replaced only at the revision that was read. Its owner answers requests on
a subject of its own; where nobody answers, the process is gone and the claim is free.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js import api
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from marketdata_assets.collector.errors import Claimed

BUCKET = "marketdata_claims"
ANSWER_SECONDS = 3.0
TRIES = 5


@asynccontextmanager
async def claim(client: Client, what: str, owner: str) -> AsyncIterator[None]:
    """Own `what` for a block; `owner` says for people who it is. Raises Claimed while another process owns it."""
    token = uuid.uuid4().hex
    about = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "since": int(time.time())}

    async def answer(message: Msg) -> None:
        await message.respond(b"")

    subscription = await client.subscribe(_subject(token), cb=answer)
    await client.flush()
    bucket = await _bucket(client)
    revision = await _take(client, bucket, what, about | {"token": token})
    try:
        yield
    finally:
        with suppress(NatsError):
            await bucket.delete(what, last=revision)
            await subscription.unsubscribe()


async def owner_of(client: Client, what: str) -> str | None:
    """Who owns it, for people; None when it is free."""
    try:
        bucket = await client.jetstream().key_value(BUCKET)
        entry = json.loads((await bucket.get(what)).value or b"{}")
    except (BucketNotFoundError, KeyNotFoundError):
        return None
    return _text(entry) if await _is_alive(client, entry) else None


async def _take(client: Client, bucket: KeyValue, what: str, about: dict[str, Any]) -> int:
    value = json.dumps(about).encode()
    for _ in range(TRIES):
        with suppress(KeyWrongLastSequenceError):
            try:
                entry = await bucket.get(what)
            except KeyNotFoundError:
                return await bucket.create(what, value)
            held = json.loads(entry.value or b"{}")
            if await _is_alive(client, held):
                raise Claimed(what, _text(held))
            return await bucket.update(what, value, last=entry.revision)
    raise Claimed(what, "others, which start at the same moment")


async def _is_alive(client: Client, entry: dict[str, Any]) -> bool:
    try:
        await client.request(_subject(entry.get("token", "")), timeout=ANSWER_SECONDS)
    except NoRespondersError:
        return False
    except TimeoutError:  # it is connected, and busy
        return True
    return True


async def _bucket(client: Client) -> KeyValue:
    manager = client.jetstream()
    try:
        return await manager.key_value(BUCKET)
    except BucketNotFoundError:
        return await manager.create_key_value(api.KeyValueConfig(BUCKET, storage=api.StorageType.MEMORY))


def _subject(token: str) -> str:
    return f"marketdata_claims.{token}"


def _text(entry: dict[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.get("since", 0)))
    return f"{entry.get('owner')} ({entry.get('host')}, pid {entry.get('pid')}, since {since} UTC)"
