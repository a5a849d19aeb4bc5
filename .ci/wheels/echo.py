"""Run by an interpreter in which a wheel is installed: data goes through a netloop loop, over TCP, and comes back."""

import asyncio
import importlib
import shutil
import sys
from pathlib import Path

import netloop

MESSAGE = bytes(range(256)) * 1024


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes until the peer ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def converse() -> bytes:
    """Serve and connect; what came back."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(MESSAGE)
    writer.write_eof()
    came_back = await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return came_back


def import_all(package: Path) -> int:
    """Import every compiled module; how many there are."""
    modules = sorted(path.relative_to(package.parent) for path in package.rglob("*.so"))
    for module in modules:
        importlib.import_module(".".join((*module.parts[:-1], module.name.partition(".")[0])))
    return len(modules)


def main() -> None:
    """Check what the arguments ask for: where the package is, and whether data is to be sent."""
    root, what = sys.argv[1:]
    package = Path(netloop.__file__).parent
    assert package.is_relative_to(root), f"{package} is not below {root}"
    assert not any(map(shutil.which, ("cc", "gcc", "clang"))), "a compiler is on the path"
    print(import_all(package), "modules imported")
    if what == "echo":
        assert asyncio.Runner(loop_factory=netloop.new_event_loop).run(converse()) == MESSAGE
        print("echo over TCP")


main()
