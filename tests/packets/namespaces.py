"""Networks of two hosts, made of network namespaces and a pair of virtual devices; for root, where the kernel has them.

The test's thread itself moves from namespace to namespace: a socket stays in the one where it was made.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest
from loop.patience import stretched

__all__ = ["Host", "Network", "network"]

_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL = 0x8946
# Of <linux/ethtool.h>: switches of a device that are known by a command of their own.
_SWITCHES = {"checksums": 0x17, "scatter": 0x19, "segmentation": 0x24}

_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """One end: a namespace, with a device ``name`` that has the addresses."""

    def __init__(self, name: str, four: str, six: str) -> None:
        self.name, self.four, self.six = name, four, six
        if _libc.unshare(_CLONE_NEWNET):
            number = ctypes.get_errno()
            pytest.skip(f"no network namespace can be made here: {os.strerror(number)}")
        self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is on this host, for what it opens and runs meanwhile."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _enter(self.descriptor)
        try:
            yield
        finally:
            _enter(before)
            os.close(before)

    def run(self, *command: str) -> None:
        """Run a command on the host; the test is skipped where there is no such program, or the kernel lacks it."""
        with self.inside():
            try:
                done = subprocess.run(command, capture_output=True, text=True)
            except FileNotFoundError:
                pytest.skip(f"there is no program {command[0]} here")
        if done.returncode:
            pytest.skip(f"{' '.join(command)} failed: {done.stderr.strip()}")

    def queue(self, *discipline: str) -> None:
        """Give the device a queueing discipline."""
        self.run("tc", "qdisc", "replace", "dev", self.name, "root", *discipline)

    def socket(self, host: str, port: int = 0) -> socket.socket:
        """A datagram socket on the host, bound to an address of its own."""
        with self.inside():
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            sock.settimeout(10)
            sock.bind((host, port))
            return sock

    def switch_off(self, what: str) -> None:
        """Have the device do without something that it offers."""
        name = self.name.encode()
        data = ctypes.create_string_buffer(struct.pack("II", _SWITCHES[what], 0))
        with self.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP", name, ctypes.addressof(data)))


class Network:
    """Two hosts, ``near`` and ``far``, between which there is nothing but a cable."""

    def __init__(self) -> None:
        self.far = Host("nl-far", "10.77.0.2", "fd77::2")
        self.near = Host("nl-near", "10.77.0.1", "fd77::1")
        other_end = f"/proc/{os.getpid()}/fd/{self.far.descriptor}"
        pair = ("type", "veth", "peer", "name", "nl-far", "netns", other_end)
        self.near.run("ip", "link", "add", "nl-near", *pair)
        for host in (self.near, self.far):
            host.run("ip", "address", "add", f"{host.four}/24", "dev", host.name)
            host.run("ip", "address", "add", f"{host.six}/64", "dev", host.name, "nodad")
            for name in ("lo", host.name):
                host.run("ip", "link", "set", name, "up")
        for family in ("four", "six"):
            self._meet(getattr(self.near, family), getattr(self.far, family))

    def _meet(self, near: str, far: str) -> None:
        """Wait until the cable is plugged in and the hosts know each other's devices: until then packets are lost."""
        with self.near.socket(near) as sender, self.far.socket(far) as receiver:
            receiver.settimeout(0.02)
            for _ in range(int(stretched(500))):
                with contextlib.suppress(OSError):
                    sender.sendto(b"x", receiver.getsockname())
                    receiver.recv(1)
                    return
        pytest.skip("nothing that is sent over a pair of virtual devices arrives here")

    def close(self) -> None:
        for host in (self.near, self.far):
            os.close(host.descriptor)

    def set_mtu(self, mtu: int) -> None:
        """On both ends."""
        for host in (self.near, self.far):
            host.run("ip", "link", "set", host.name, "mtu", str(mtu))


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of two hosts; the test runs on neither."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    made = None
    try:
        made = Network()
        _enter(before)
        yield made
    finally:
        _enter(before)
        os.close(before)
        if made is not None:
            made.close()
