#!/usr/bin/env bash
# asyncio, CPython 3.11.7, 3.12.1, 3.13.0, 3.14.10 and 3.15.2, Linux 6.18: TCP_NODELAY, which every TCP transport gets,
# is not set on Multipath TCP (IPPROTO_MPTCP), because asyncio looks for IPPROTO_TCP by name. The kernel would take it,
# and uvloop 0.23.0 sets it. A request that is written in two small pieces so waits for the peer's delayed
# acknowledgement, 44 ms on loopback instead of 0.1. A server that listens by MPTCP loses the option for its plain TCP
# clients too: the kernel hands out TCP sockets for those, but Python's keep the protocol of the listening one.
#
# Seen, the option at client and server: "asyncio: TCP 1 1, MPTCP 0 0, TCP to MPTCP 1 0; uvloop: TCP 1 1, MPTCP 1 1, TCP
# to MPTCP 1 1". Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check uvloop==0.23.0
"$folder/env/bin/python" - <<'PYTHON'
import asyncio, socket, sys
import uvloop

IPPROTO_MPTCP, SO_PROTOCOL = 262, 38
TCP = socket.IPPROTO_TCP

def made(protocol):
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)

async def nodelay(here, there):
    """TCP_NODELAY of a transport over a client's socket of the one protocol, and of one from a server of the other."""
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.set_result(transport)

    listening, client = made(there), made(here)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    server = await loop.create_server(Server, sock=listening)
    client.connect(listening.getsockname())
    client.setblocking(False)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=client)
    sockets = [end.get_extra_info("socket") for end in (transport, await accepted)]
    # What is not Multipath TCP at both ends is plain TCP.
    assert all(sock.getsockopt(socket.SOL_SOCKET, SO_PROTOCOL) == min(here, there) for sock in sockets)
    seen = tuple(sock.getsockopt(TCP, socket.TCP_NODELAY) for sock in sockets)
    transport.close()
    (await accepted).close()
    server.close()
    return seen

async def main():
    return [await nodelay(*pair) for pair in ((TCP, TCP), (IPPROTO_MPTCP, IPPROTO_MPTCP), (TCP, IPPROTO_MPTCP))]

found = []
for name, factory in (("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
    loop = factory()
    found.append(loop.run_until_complete(main()))
    loop.close()
    told = zip(("TCP", "MPTCP", "TCP to MPTCP"), found[-1])
    print(f"{name}: " + ", ".join(f"{which} {client} {server}" for which, (client, server) in told))
sys.exit(found != [[(1, 1), (0, 0), (1, 0)], [(1, 1), (1, 1), (1, 1)]])
PYTHON
