#!/usr/bin/env bash
# asyncio, CPython 3.11 to 3.13, Linux: a descriptor that was closed while it was watched (no remove_reader()) leaves its
# key in the selector. add_reader() for the next socket that gets the same number then takes the call for a change of
# that key, and changes nothing, because epoll has dropped the closed file: no error, and the callback never comes.
#
# Seen: "callback of the new socket: never". Exits with 1 if that changes.
set -euo pipefail
python3 - <<'PYTHON'
import asyncio, socket, sys

async def main():
    loop = asyncio.get_running_loop()
    old, old_peer = socket.socketpair()
    number = old.fileno()
    loop.add_reader(number, print, "the old callback")
    old.close()
    new, new_peer = socket.socketpair()
    assert new.fileno() == number, "the number was not used again"
    came = asyncio.Event()
    loop.add_reader(new, came.set)
    new_peer.send(b"x")
    try:
        await asyncio.wait_for(came.wait(), 1)
        return "called"
    except asyncio.TimeoutError:
        return "never"

seen = asyncio.run(main())
print(f"Python {sys.version.split()[0]}, callback of the new socket: {seen}")
sys.exit(seen != "never")
PYTHON
