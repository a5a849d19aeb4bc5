"""A DNS server: dnspython parses and writes the messages, netloop hands over the packets.

It listens on all addresses of the machine with one socket, and each answer leaves from the address that was asked,
which resolvers insist on. Run it with ``python examples/dns_server.py --record www.example.test=192.0.2.1`` and ask it
with ``dig @127.0.0.1 -p 5300 www.example.test``. ``pip install dnspython``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

import netloop

TTL_SECONDS = 300
#: What a client takes that says nothing of a size (RFC 1035, section 4.2.1), and what we send at most (RFC 9715).
SMALLEST_LIMIT, LARGEST_LIMIT = 512, 1232

Zone = dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset]


def read_zone(records: list[str]) -> Zone:
    """Read records such as ``www.example.test=192.0.2.1``, several of them for several addresses of a name.

    Raises:
        ValueError: one of them is not of this form.
    """
    zone: Zone = {}
    for record in records:
        text, equals, address = record.partition("=")
        if not text or not equals or not address:
            raise ValueError(f"a record is NAME=ADDRESS, not {record!r}")
        name = dns.name.from_text(text)
        kind = dns.rdatatype.AAAA if ":" in address else dns.rdatatype.A
        found = zone.setdefault((name, kind), dns.rrset.RRset(name, dns.rdataclass.IN, kind))
        found.add(dns.rdata.from_text(dns.rdataclass.IN, kind, address), TTL_SECONDS)
    return zone


def answer(zone: Zone, query: dns.message.Message) -> bytes:
    """Return the answer to a query, as it is sent."""
    response = dns.message.make_response(query, our_payload=LARGEST_LIMIT)
    if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
        response.set_rcode(dns.rcode.NOTIMP)
        return response.to_wire()
    question = query.question[0]
    response.flags |= dns.flags.AA
    found = zone.get((question.name, question.rdtype))
    if found is not None and question.rdclass == dns.rdataclass.IN:
        response.answer.append(found)
    elif not any(name == question.name for name, _ in zone):
        response.set_rcode(dns.rcode.NXDOMAIN)
    limit = min(max(query.payload, SMALLEST_LIMIT), LARGEST_LIMIT)
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()


class DnsServer(netloop.PacketProtocol):
    """Answers what arrives, each packet from the address that it was sent to."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def packets_received(self, batch: netloop.PacketBatch) -> None:
        """Answer all of them."""
        for packet in batch:
            try:
                query = dns.message.from_wire(packet.payload)
            except (dns.exception.DNSException, ValueError):
                continue  # not DNS; whoever sent it may not even have meant us
            if not query.flags & dns.flags.QR:
                self._transport.send_packets((answer(self._zone, query),), packet.source, source=packet.destination[0])

    def error_received(self, exc: OSError) -> None:
        """An answer did not arrive, such as at a client that has gone."""


async def main(options: argparse.Namespace) -> None:
    """Serve until interrupted."""
    loop: Any = asyncio.get_running_loop()
    zone = read_zone(options.record)
    transport, _ = await loop.create_packet_endpoint(
        lambda: DnsServer(zone), (options.host, options.port), fields=("destination",)
    )
    try:
        print(f"listening on {transport.get_extra_info('sockname')}", flush=True)
        await loop.create_future()
    finally:
        transport.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A DNS server.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on; all of them unless given")
    parser.add_argument("--port", type=int, default=5300)
    parser.add_argument("--record", action="append", default=[], metavar="NAME=ADDRESS", help="may be given repeatedly")
    options = parser.parse_args()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            netloop.run(main(options))
    except ValueError as error:
        parser.error(str(error))
