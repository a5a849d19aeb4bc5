"""aioquic on packet endpoints: what ``http3_server.py`` and ``http3_client.py`` share.

aioquic itself takes and sends one datagram at a time. Here a batch of packets is handed to it as a whole, and only then
is it asked what to send, which leaves in one submission, cut into datagrams by the kernel (UDP_SEGMENT).

What the kernel tells beside the payload is used where aioquic can take it. A path of QUIC is a pair of addresses, and
to aioquic an address is a tuple that it compares and gives back; so a server's is the client's with the address that
the client has asked appended, from which the answer goes. With the congestion marks of ECN aioquic can do nothing: it
cannot report them to its peer, and reads over what the peer reports. Therefore packets leave unmarked, as RFC 9000
(section 13.4.2) wants it of who does not validate ECN, and marks that come all the same are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from aioquic.asyncio.client import connect as connect_by_datagrams
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.asyncio.server import serve as serve_by_datagrams
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

import netloop

Address = tuple[Any, ...]
CONGESTION_EXPERIENCED = 3


class PacketConnection(QuicConnectionProtocol):
    """aioquic's protocol of a connection, which sends what it has to after a whole batch.

    On a loop without packet endpoints it does what aioquic's own does.
    """

    def transmit(self) -> None:
        """Have everything sent that is to be sent by now."""
        packets = self._transport
        if not isinstance(packets, QuicPackets):
            super().transmit()
        elif not packets.postpones(self):
            super().transmit()
            packets.flush()


class QuicPackets(netloop.PacketProtocol):
    """Stands between a packet endpoint and a datagram protocol of aioquic's, to which it is the transport."""

    def __init__(self, protocol: asyncio.DatagramProtocol, *, serving: bool) -> None:
        self._protocol = protocol
        self._serving = serving
        self._transport: Any = None
        self._outgoing: dict[Address, list[bytes]] = {}
        # While a batch is being taken: the connections that are to send after it.
        self._postponed: dict[PacketConnection, None] | None = None
        #: Packets that a router has marked instead of dropping them.
        self.congestion_marks = 0
        #: Packets that the kernel has dropped because nobody took them in time.
        self.dropped = 0

    # What the packet endpoint calls

    def connection_made(self, transport: Any) -> None:
        """The socket is there."""
        self._transport = transport
        self._protocol.connection_made(cast(asyncio.DatagramTransport, self))

    def packets_received(self, batch: netloop.PacketBatch) -> None:
        """Give aioquic all of them, and then let the connections that they are of send."""
        self._postponed = {}
        self.dropped += batch.dropped
        receive, serving = self._protocol.datagram_received, self._serving
        try:
            for packet in batch:
                if packet.ecn == CONGESTION_EXPERIENCED:
                    self.congestion_marks += 1
                path = packet.source + packet.destination[:1] if serving else packet.source
                receive(packet.payload, path)
        finally:
            # After an error too: what the other packets have brought about must not wait for the next batch.
            due, self._postponed = self._postponed, None
            for connection in due:
                QuicConnectionProtocol.transmit(connection)
            self.flush()

    def error_received(self, exc: OSError) -> None:
        """A packet was lost on the way out; QUIC will notice and send it again."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._protocol.connection_lost(exc)

    # What aioquic calls, for which this is a transport

    def postpones(self, connection: PacketConnection) -> bool:
        """Whether this connection is to send later, because a batch is being taken."""
        if self._postponed is None:
            return False
        self._postponed[connection] = None
        return True

    def sendto(self, data: bytes, path: Address) -> None:
        """Keep a datagram until the next flush."""
        self._outgoing.setdefault(path, []).append(data)

    def flush(self) -> None:
        """Send what was kept: to each peer everything at once."""
        outgoing, self._outgoing = self._outgoing, {}
        for path, payloads in outgoing.items():
            if self._serving:
                self._transport.send_packets(payloads, path[:-1], source=path[-1])
            else:
                self._transport.send_packets(payloads)

    def close(self) -> None:
        """Close the socket, when everything is sent."""
        self.flush()
        self._transport.close()


def _has_packet_endpoints() -> bool:
    """Whether the running loop has packet endpoints; if not, say what is done instead."""
    loop = asyncio.get_running_loop()
    if hasattr(loop, "create_packet_endpoint"):
        return True
    name = f"{type(loop).__module__}.{type(loop).__qualname__}"
    print(f"{name} has no packet endpoints: aioquic sends and receives its datagrams one by one", flush=True)
    return False


async def serve(
    host: str, port: int, configuration: QuicConfiguration, create_protocol: Callable[..., PacketConnection]
) -> tuple[QuicServer, Address]:
    """Start a QUIC server; return it, and the address that it has."""
    if not _has_packet_endpoints():
        server = await serve_by_datagrams(host, port, configuration=configuration, create_protocol=create_protocol)
        assert server._transport is not None
        return server, server._transport.get_extra_info("sockname")
    loop: Any = asyncio.get_running_loop()
    server = QuicServer(configuration=configuration, create_protocol=create_protocol)
    transport, _ = await loop.create_packet_endpoint(
        lambda: QuicPackets(server, serving=True), (host, port), fields=("destination", "tos"), dont_fragment=True
    )
    return server, transport.get_extra_info("sockname")


@contextlib.asynccontextmanager
async def connect(
    host: str, port: int, configuration: QuicConfiguration, create_protocol: Callable[..., PacketConnection]
) -> AsyncIterator[Any]:
    """Connect to a QUIC server; the connection ends with the block."""
    if not _has_packet_endpoints():
        async with connect_by_datagrams(
            host, port, configuration=configuration, create_protocol=create_protocol
        ) as protocol:
            yield protocol
        return
    configuration.server_name = configuration.server_name or host
    protocol = create_protocol(QuicConnection(configuration=configuration))
    loop: Any = asyncio.get_running_loop()
    transport, packets = await loop.create_packet_endpoint(
        lambda: QuicPackets(protocol, serving=False), remote_addr=(host, port), fields=("tos",), dont_fragment=True
    )
    try:
        protocol.connect(transport.get_extra_info("peername"))
        await protocol.wait_connected()
        yield protocol
    finally:
        protocol.close()
        await protocol.wait_closed()
        packets.close()
