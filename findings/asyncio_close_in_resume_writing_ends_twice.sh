#!/usr/bin/env bash
# asyncio, CPython 3.11.7, 3.12.1 and 3.13.0, Linux (no more with 3.14.10 and 3.15.2): a protocol that closes its
# transport in resume_writing(), when all has been sent, ends the connection twice. close() schedules the end, because
# nothing is left to send; the writer that has called resume_writing() then finds the transport closing and ends it at
# once. The protocol is told once, but the end that was scheduled fails on the socket that is gone, and the error goes to
# the loop's exception handler.
#
# Seen: "connection_lost() called 1 time; the exception handler was told: 'NoneType' object has no attribute 'close'",
# and with the later ones that it was told nothing. Exits with 1 if that changes.
set -euo pipefail
python3 - <<'PYTHON'
import asyncio, socket, sys

class Sender(asyncio.Protocol):
    ends = 0

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=0)
        transport.write(bytes(5_000_000))

    def resume_writing(self):
        self.transport.close()

    def connection_lost(self, error):
        self.ends += 1

async def main():
    loop = asyncio.get_running_loop()
    told = []
    loop.set_exception_handler(lambda _, context: told.append(str(context.get("exception"))))
    near, far = socket.socketpair()
    far.setblocking(False)
    near.setblocking(False)
    _, protocol = await loop.create_connection(Sender, sock=near)
    while await loop.sock_recv(far, 1 << 20):
        pass
    await asyncio.sleep(0.05)
    far.close()
    return protocol.ends, told

ends, told = asyncio.run(main())
print(f"Python {sys.version.split()[0]}: connection_lost() called {ends} time; the exception handler was told: {told}")
before = ["'NoneType' object has no attribute 'close'"]
sys.exit((ends, told) != (1, before if sys.version_info < (3, 14) else []))
PYTHON
