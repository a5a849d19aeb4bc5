#!/usr/bin/env bash
# Linux 6.18, with asyncio of CPython 3.11.7 to 3.15.2 and trio 0.35.0: poll(2) and epoll call an AF_UNIX datagram socket
# writable although its next sendto() would block, because they look at a peer's queue only where the socket is connected
# to that peer. A loop that waits for "writable" after EAGAIN therefore tries again at once, and takes a whole CPU until
# the peer reads: for a client of a slow log daemon, say, that names the daemon with each datagram. With connect(2) it
# sleeps.
#
# Seen in half a second with a full peer: "attempts of asyncio: 35392 by address, 1 connected; passes of trio: 28624 and
# 1". Exits with 1 if that changes (less than 500 by address).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check trio==0.35.0
"$folder/env/bin/python" - <<'PYTHON'
import asyncio, socket, sys
import trio

class Counted(socket.socket):
    """A UNIX datagram socket that counts the attempts to send."""

    attempts = 0

    def sendto(self, *arguments):
        self.attempts += 1
        return super().sendto(*arguments)

    def send(self, *arguments):
        self.attempts += 1
        return super().send(*arguments)

class Passes(trio.abc.Instrument):
    """Counts how often trio looks for events."""

    number = 0

    def before_io_wait(self, timeout):
        self.number += 1

def full():
    """A socket whose queue is full."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind("")  # to a name that the kernel chooses
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        try:
            while True:
                filler.sendto(b"before", socket.MSG_DONTWAIT, peer.getsockname())
        except BlockingIOError:
            return peer

async def attempts(connected):
    with full() as peer:
        sender = Counted(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.setblocking(False)
        if connected:
            sender.connect(peer.getsockname())
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, sock=sender)
        transport.sendto(b"late", None if connected else peer.getsockname())
        await asyncio.sleep(0.5)
        transport.abort()
        return sender.attempts

async def passes(connected):
    counting = Passes()
    with full() as peer, trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        if connected:
            await sender.connect(peer.getsockname())
        trio.lowlevel.add_instrument(counting)
        with trio.move_on_after(0.5):
            await (sender.send(b"late") if connected else sender.sendto(b"late", peer.getsockname()))
        trio.lowlevel.remove_instrument(counting)
    return counting.number

asked = [asyncio.run(attempts(connected)) for connected in (False, True)]
passed = [trio.run(passes, connected) for connected in (False, True)]
print(f"Python {sys.version.split()[0]}: attempts of asyncio: {asked[0]} by address, {asked[1]} connected; passes of "
      f"trio: {passed[0]} and {passed[1]}")
sys.exit(not (asked[0] > 500 and passed[0] > 500 and asked[1] < 5 and passed[1] < 10))
PYTHON
