"""Hosts on one machine: network namespaces with an address, a name and a monotonic clock of their own, on one switch.

    with network(2) as net:
        process = net.hosts[0].start([...], env=...)  # reaches servers of this machine at net.address
        net.publish(5432)  # a port of this machine's loopback, for the hosts
        net.hosts[0].kill()

Needs root and iproute2 (`why_not` says what is missing). Tests and benchmarks use it.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any

APART_SECONDS = 86400
"""How far the monotonic clocks of neighbouring hosts are apart."""


def why_not() -> str | None:
    """Why hosts cannot be made here; None when they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, for network namespaces"
    if missing := [name for name in ("ip", "unshare") if shutil.which(name) is None]:
        return f"needs the program {missing[0]} (Debian packages iproute2 and util-linux)"
    name = f"md{os.getpid()}try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"network namespaces cannot be made here: {tried.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


@dataclass(frozen=True)
class Host:
    """A namespace; its processes see a monotonic clock and a host name of their own."""

    name: str
    address: str
    number: int
    switch: str
    port: str
    _started: "list[subprocess.Popen[str]]" = field(default_factory=list, compare=False, repr=False)

    def command(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` on this host."""
        clock = str(self.number * APART_SECONDS)
        apart = ["unshare", "--uts", "--time", "--monotonic", clock, "--boottime", clock, "--fork", "--kill-child"]
        named = 'echo "$0" > /proc/sys/kernel/hostname; exec "$@"'
        return ["ip", "netns", "exec", self.name, *apart, "sh", "-c", named, self.name, *command]

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.Popen[str]":
        """Start a process here."""
        given = None if env is None else dict(env)
        process = subprocess.Popen(self.command(command), env=given, text=True, **options)
        self._started.append(process)
        return process

    def forward(self, port: int, to: str) -> None:
        """Make `to`, another address and the same port, appear at this host's loopback, until the host is killed."""
        command = [sys.executable, "-m", "marketdata_demo.hosts", f"127.0.0.1:{port}", f"{to}:{port}"]
        relay = self.start(command, stdout=subprocess.PIPE)
        assert relay.stdout
        with relay.stdout:
            relay.stdout.readline()

    def add_address(self, address: str) -> None:
        """Give the host one more address of the network, such as that of a service which moves between hosts."""
        _ip("-n", self.name, "address", "add", f"{address}/24", "dev", "eth0")

    def cut(self) -> None:
        """Take the link down: nothing arrives and nothing is answered any more, in both directions."""
        _ip("-n", self.switch, "link", "set", self.port, "down")

    def join(self) -> None:
        """Take the link up again."""
        _ip("-n", self.switch, "link", "set", self.port, "up")

    def kill(self) -> None:
        """SIGKILL for every process of the host, and no link any more, as when its power fails."""
        self.cut()
        for pid in _ip("netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for process in self._started:
            process.wait()


@dataclass
class Network:
    """The hosts, and the address at which they reach this machine."""

    address: str
    hosts: list[Host]
    _relays: "list[_Relay]" = field(default_factory=list)

    def publish(self, *ports: int) -> None:
        """Make ports of this machine's loopback appear at `address`."""
        self._relays += [_Relay(self.address, port, "127.0.0.1", port) for port in ports]

    def close(self) -> None:
        for relay in self._relays:
            relay.close()


@contextmanager
def network(count: int = 2) -> Iterator[Network]:
    """So many hosts on one switch. At the end their processes are killed, and nothing of the network is left.

    The switch is a bridge in a namespace of its own, where no packet filter of this machine applies.
    """
    own = os.getpid()
    uplink, switch, subnet = f"md{own}", f"md{own}-switch", f"10.213.{own % 250}"
    hosts = [Host(f"md{own}-{n}", f"{subnet}.{n + 1}", n, switch, f"port{n}") for n in range(1, count + 1)]
    net = Network(f"{subnet}.1", hosts)
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        _ip("link", "add", uplink, "type", "veth", "peer", "name", "port0", "netns", switch)
        _ip("-n", switch, "link", "set", "port0", "master", "bridge", "up")
        _ip("address", "add", f"{net.address}/24", "dev", uplink)
        _ip("link", "set", uplink, "up")
        for host in hosts:
            _join(host)
        yield net
    finally:
        net.close()
        for host in hosts:
            with suppress(subprocess.CalledProcessError):
                host.kill()
        subprocess.run(["ip", "link", "delete", uplink], capture_output=True)
        for name in (*(host.name for host in hosts), switch):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _join(host: Host) -> None:
    _ip("netns", "add", host.name)
    _ip("-n", host.switch, "link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    _ip("-n", host.switch, "link", "set", host.port, "master", "bridge", "up")
    inside = ["-n", host.name]
    _ip(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "eth0", "up")
    _ip(*inside, "link", "set", "lo", "up")


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


class _Relay:
    """Connections to one address, passed on to another, in a thread of its own."""

    def __init__(self, host: str, port: int, to_host: str, to_port: int) -> None:
        self._to = to_host, to_port
        self._serving: set[asyncio.Task[Any] | None] = set()  # the loop itself holds no task
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, host, port), self._loop)
        self._server = serving.result()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._serving.add(task)
        _keep_alive(writer.get_extra_info("socket"))
        try:
            theirs, ours = await asyncio.open_connection(*self._to)
            try:
                await asyncio.gather(_copy(reader, ours), _copy(theirs, writer))
            finally:
                ours.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._serving.discard(task)


def _keep_alive(line: socket.socket) -> None:
    """Notice a host that is gone within 25 s, as a server does that is configured for several hosts."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(1 << 16):
        target.write(data)
        await target.drain()
    with suppress(OSError):
        target.write_eof()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main(listens: str, to: str, out: IO[str]) -> None:
    """Relay until this process is killed."""
    relay = _Relay(*_address(listens), *_address(to))
    out.write("ready\n")
    out.flush()
    relay._thread.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.stdout)
