#!/usr/bin/env bash
# Linux 6.18: an ICMP socket (SOCK_DGRAM, IPPROTO_ICMP) takes sendmsg(2) with a UDP_SEGMENT control message and ignores
# it, without an error. On a UDP socket the same call sends a datagram for every segment; here all segments leave as one
# request, whose answer is as long as all of them. Who gathers datagrams of one size into one call, whatever kind of
# datagram socket he was given, finds out by the answers only. (Run in a network of its own, because such sockets are for
# the groups in net.ipv4.ping_group_range, which mostly are none.)
#
# Seen: "3 segments of 28 bytes: UDP receives [28, 28, 28], ICMP [84]". Exits with 1 if that changes.
set -euo pipefail
unshare --net bash -euc 'echo 0 0 >/proc/sys/net/ipv4/ping_group_range; ip link set lo up; exec python3 -' <<'PYTHON'
import socket, struct, sys

UDP_SEGMENT = 103
pieces = [struct.pack("!BBHHH", 8, 0, 0, 0, number) + bytes(20) for number in range(3)]
segment = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", len(pieces[0])))]

def lengths(receiver):
    """Of all that arrives until nothing has for a while."""
    receiver.settimeout(0.3)
    found = []
    try:
        while True:
            found.append(len(receiver.recv(2000)))
    except TimeoutError:
        return found

with socket.socket(type=socket.SOCK_DGRAM) as sender, socket.socket(type=socket.SOCK_DGRAM) as receiver:
    receiver.bind(("127.0.0.1", 0))
    sender.sendmsg(pieces, segment, 0, receiver.getsockname())
    udp = lengths(receiver)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as ping:
    ping.sendmsg(pieces, segment, 0, ("127.0.0.1", 0))
    icmp = lengths(ping)
print(f"3 segments of 28 bytes: UDP receives {udp}, ICMP {icmp}")
sys.exit((udp, icmp) != ([28, 28, 28], [84]))
PYTHON
