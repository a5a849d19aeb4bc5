#!/usr/bin/env bash
# asyncio, CPython 3.12.1, 3.13.0, 3.14.10 and 3.15.2 (not 3.11), and uvloop 0.23.0: what a socket's transport cannot
# send at once of a bytearray stays the caller's. Who fills the same buffer anew after write() or writelines() sends the
# new bytes in place of the old ones, and who appends to it gets a BufferError. asyncio's pipes copy, and so does rloop
# 0.5.0; uvloop's pipes do not. It shows only when the peer is slow: what fits into the socket's buffer is gone at once.
#
# Seen, of 4 MB of "a" that were then overwritten with "b": "asyncio: write changed, writelines changed, pipe kept;
# uvloop: changed, changed, changed; rloop: kept, kept, kept"; with 3.11.7, asyncio kept all. Exits with 1 if that
# changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check rloop==0.5.0 uvloop==0.23.0
"$folder/env/bin/python" - <<'PYTHON'
import asyncio, os, socket, sys
import rloop, uvloop

SIZE = 4_000_000

async def after_overwriting(way):
    """Whether what was written still arrives when it is overwritten as soon as the call is back."""
    loop = asyncio.get_running_loop()
    if way == "pipe":
        reading, writing = os.pipe()
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(writing, "wb", 0))
    else:
        near, far = socket.socketpair()
        near.setblocking(False)
        reading = far.detach()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    written = bytearray(b"a" * SIZE)
    if way == "writelines":
        transport.writelines([written])
    else:
        transport.write(written)
    written[:] = b"b" * SIZE
    try:
        written.append(0)
        resized = True
    except BufferError:
        resized = False
    transport.close()
    os.set_blocking(reading, False)
    arrived = b""
    with open(reading, "rb", 0) as stream:
        for _ in range(2000):
            arrived += stream.read(SIZE) or b""
            if len(arrived) == SIZE:
                break
            await asyncio.sleep(0.001)
    assert len(arrived) == SIZE and resized == (b"b" not in arrived)
    return "kept" if resized else "changed"

async def main():
    return [await after_overwriting(way) for way in ("write", "writelines", "pipe")]

found = {}
for name, factory in (
    ("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop), ("rloop", rloop.new_event_loop)
):
    loop = factory()
    found[name] = loop.run_until_complete(main())
    loop.close()
told = (f"{name}: write {write}, writelines {lines}, pipe {pipe}" for name, (write, lines, pipe) in found.items())
print(f"Python {sys.version.split()[0]}: " + "; ".join(told))
borrowed = ["changed", "changed", "kept"] if sys.version_info >= (3, 12) else ["kept"] * 3
sys.exit(found != {"asyncio": borrowed, "uvloop": ["changed"] * 3, "rloop": ["kept"] * 3})
PYTHON
