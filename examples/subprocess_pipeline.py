"""Programs that work on each other's output, as in the shell's ``sort FILE | uniq -c``.

Run it with ``python examples/subprocess_pipeline.py README.md``: it counts the lines that are alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator
from pathlib import Path

import netloop

CHUNK = 65536


@contextlib.asynccontextmanager
async def sort_and_count() -> AsyncIterator[tuple[Process, Process]]:
    """Two programs, the first of which writes to the second; they are ended if they are still there at the end."""
    processes = []
    # What goes from one program to the other does not pass through this one.
    reading, writing = os.pipe()
    try:
        try:
            processes.append(await create_subprocess_exec("sort", stdin=PIPE, stdout=writing))
            processes.append(await create_subprocess_exec("uniq", "-c", stdin=reading, stdout=PIPE))
        finally:
            os.close(reading)
            os.close(writing)
        yield processes[0], processes[1]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def feed(path: Path, writer: asyncio.StreamWriter) -> None:
    """Write a file to a program, no faster than the program reads."""
    with path.open("rb") as file:
        # A read from a file may block, so a thread does it.
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def main(path: Path) -> None:
    """Print how often each line of a file occurs, while the numbers come in."""
    async with sort_and_count() as (sort, count), asyncio.TaskGroup() as group:
        assert sort.stdin is not None and count.stdout is not None
        group.create_task(feed(path, sort.stdin))
        async for line in count.stdout:
            print(line.decode(errors="replace"), end="", flush=True)
        if await sort.wait() or await count.wait():
            raise SystemExit(f"sort ended with {sort.returncode}, uniq with {count.returncode}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    netloop.run(main(parser.parse_args().file))
