#!/usr/bin/env bash
# Linux, AF_NETLINK: getpeername() of a socket that was never connected succeeds and gives (0, 0), where an unconnected
# UDP socket gives ENOTCONN. asyncio (CPython 3.11 to 3.13) takes a socket with a peer's name for connected, and drops
# each address that is given to DatagramTransport.sendto(): a message for another process goes to the kernel.
#
# Seen: "(0, 0); for the other socket: nothing". Exits with 1 if that changes.
set -euo pipefail
python3 - <<'PYTHON'
import asyncio, socket, sys

NETLINK_USERSOCK = 2

async def main():
    here = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_USERSOCK)
    other = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_USERSOCK)
    for sock in (here, other):
        sock.bind((0, 0))
        sock.setblocking(False)
    peer = here.getpeername()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, sock=here)
    transport.sendto(b"for the other", other.getsockname())
    await asyncio.sleep(0.2)
    try:
        came = other.recv(100)
    except BlockingIOError:
        came = "nothing"
    transport.close()
    other.close()
    return peer, came

peer, came = asyncio.run(main())
print(f"Python {sys.version.split()[0]}: getpeername() {peer}; for the other socket: {came}")
sys.exit((peer, came) != ((0, 0), "nothing"))
PYTHON
