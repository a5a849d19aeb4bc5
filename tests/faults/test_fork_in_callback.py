"""A callback forks, and the child goes on in the middle of the parent's run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings

import pytest
from loop.helpers import Echo, Recorder, address_of, serving

from .child import run_child

REFUSED = 7


def fork():
    """Fork without the warning that the thread of the hang guard brings about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def go_on_in_the_child(scene):
    """Fork in a coroutine that then simply goes on; how the child ended, and whether the parent's connection works."""
    import netloop

    loop = netloop.new_event_loop()
    parent = os.getpid()

    async def main():
        async with serving(Echo) as (server, _):
            _, client = await loop.create_connection(Recorder, *address_of(server))
            pid = fork()
            if scene == "wait for a timer":
                await asyncio.sleep(0.001)
            elif scene == "write":
                if pid == 0:
                    with contextlib.suppress(RuntimeError, OSError):
                        client.transport.write(b"from the child")
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0)
            if pid == 0:
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            client.transport.write(b"parent")
            received = bytes(await client.until_received(6)).decode()
            client.transport.close()
            await client.lost
            return os.waitstatus_to_exitcode(status), received

    try:
        result = loop.run_until_complete(main())
    except RuntimeError as error:
        os._exit(REFUSED if os.getpid() != parent and "fork" in str(error) else 1)
    loop.close()
    return result


@pytest.mark.parametrize("scene", ["next turn", "wait for a timer", "write"])
def test_the_child_gets_a_clear_error_and_the_parent_goes_on(scene):
    assert run_child(go_on_in_the_child, scene) == [REFUSED, "parent"]
