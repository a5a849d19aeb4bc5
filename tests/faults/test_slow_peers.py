"""Peers that read nothing or send a byte at a time; memory stays bounded."""

from __future__ import annotations

import asyncio

import pytest
from loop.helpers import Echo, Recorder, address_of, connected, first, pattern, peer_of, serving, turns

from .child import memory_peak, run_child

MIB = 1024 * 1024
SLACK = 16 * MIB


def write_to_a_peer_that_never_reads(how):
    """Write far more than the kernel takes; how much the peak of memory rose, and the transport's figures."""
    import netloop

    class Obedient(Recorder):
        """Writes until told to pause."""

        may_write = True

        def pause_writing(self):
            self.may_write = False
            super().pause_writing()

    async def main():
        async with serving(Obedient) as (server, protocols):
            with peer_of(server):
                protocol = await first(protocols)
                transport = protocol.transport
                await turns()
                before = memory_peak()
                written = 0
                if how == "obeying":
                    chunk = bytes(64 * 1024)
                    while written < 1024 * MIB and protocol.may_write:
                        transport.write(chunk)
                        written += len(chunk)
                        await turns(1)
                else:
                    transport.write(bytes(64 * MIB) if how == "bytes" else bytearray(64 * MIB))
                    written = 64 * MIB
                await protocol.until_called("pause_writing")
                await asyncio.sleep(0.1)
                held, limit = transport.get_write_buffer_size(), transport.get_write_buffer_limits()[1]
                return memory_peak() - before, written, held, limit

    return netloop.run(main())


def test_a_writer_that_obeys_holds_little():
    rose, written, held, limit = run_child(write_to_a_peer_that_never_reads, "obeying")
    assert rose < SLACK
    assert written < 64 * MIB
    assert held <= limit + 64 * 1024


def test_bytes_are_not_copied():
    rose, written, held, _ = run_child(write_to_a_peer_that_never_reads, "bytes")
    assert rose < 64 * MIB + SLACK
    assert 0 < held < written


def test_a_bytearray_is_copied_once():
    rose, *_ = run_child(write_to_a_peer_that_never_reads, "bytearray")
    assert rose < 2 * 64 * MIB + SLACK


async def test_a_trickling_peer_hinders_nobody(loop):
    class Lines(Recorder):
        """Answers each complete line."""

        def data_received(self, data):
            super().data_received(data)
            if self.data.endswith(b"\n"):
                self.transport.write(bytes(self.data).upper())

    async with serving(Lines) as (server, _), connected(server=Echo) as (busy, _):
        with peer_of(server) as peer:
            total = 0
            for byte in b"a slow line\n":
                await loop.sock_sendall(peer, bytes([byte]))
                for _ in range(5):
                    busy.transport.write(b"x" * 1000)
                    total += 1000
                    await busy.until_received(total)
            assert await loop.sock_recv(peer, 100) == b"A SLOW LINE\n"


@pytest.mark.parametrize("share", [2, 10])
async def test_stuck_peers_hinder_nobody(loop, share):
    """Of forty connections some never read; the others get all of theirs."""
    payload = pattern(1_000_000)
    async with serving() as (server, protocols):
        clients = [(await loop.create_connection(Recorder, *address_of(server)))[1] for _ in range(40)]
        for client in clients[::share]:
            client.transport.pause_reading()
        while len(protocols) < 40:
            await asyncio.sleep(0.001)
        for protocol in protocols:
            await protocol.made
            protocol.transport.write(payload)
            protocol.transport.write(payload)
        for number, client in enumerate(clients):
            if number % share:
                assert await client.until_received(2_000_000) == payload + payload
        for client in clients:
            client.transport.abort()
        for client in clients:
            await client.lost
