#!/usr/bin/env bash
# Hypercorn 0.18.0, CPython 3.12 and later: `graceful_timeout` bounds nothing. When it is told to stop, it awaits
# asyncio.Server.wait_closed() first and only then begins to count. Until Python 3.11 that returned at once; since 3.12
# it returns when the last connection has ended, so that a request that takes 4 s is waited for with a timeout of 1 s.
#
# Seen: "stopped after 1.0 s" with Python 3.11.7, "stopped after 3.7 s" with 3.13.0 and 3.15.2. Exits with 1 if that
# changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check hypercorn==0.18.0
"$folder/env/bin/python" - <<'PYTHON'
import asyncio, socket, sys, time
from hypercorn.asyncio import serve
from hypercorn.config import Config

async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    await asyncio.sleep(4)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})

async def main():
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    config, stop = Config(), asyncio.Event()
    config.bind, config.graceful_timeout, config.loglevel = [f"fd://{listening.detach()}"], 1, "ERROR"
    serving = asyncio.ensure_future(serve(application, config, shutdown_trigger=stop.wait))
    _, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.sleep(0.3)
    begun = time.monotonic()
    stop.set()
    await asyncio.wait({serving})
    return time.monotonic() - begun

took = asyncio.run(main())
print(f"Python {sys.version.split()[0]}, graceful_timeout 1 s: stopped after {took:.1f} s")
sys.exit(not (took > 3 if sys.version_info >= (3, 12) else took < 2))
PYTHON
