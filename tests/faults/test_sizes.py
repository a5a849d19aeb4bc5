"""Sizes of a loop's parts are checked when it is made, not when it first needs them."""

from __future__ import annotations

import pytest
from loop.helpers import Echo, connected

import netloop

OUT_OF_RANGE = {
    "buffer_count": [0, -1],
    "buffer_count_max": [0, 65536],
    "submission_entries": [0, -1, 1 << 20],
    "completion_entries": [0, -1, 1 << 31],
}


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, sizes in OUT_OF_RANGE.items() for size in sizes])
def test_a_size_out_of_range_is_refused_with_the_range(loop_name, name, size):
    with pytest.raises(ValueError, match=f"{name} must be from 1 to [0-9]+, not {size}$"):
        netloop.EventLoop(**{name: size})


@pytest.mark.parametrize("spin", [-0.1, 1.5, float("nan")])
def test_a_spin_out_of_range_is_refused_with_the_range(loop_name, spin):
    with pytest.raises(ValueError, match="spin must be from 0 to 1 second"):
        netloop.EventLoop(spin=spin)


@pytest.mark.parametrize(
    "options",
    [
        {"spin": 200e-6},
        {"spin": 1.0},
        {"buffer_count": 8192},
        {"buffer_count": 65536},
        {"buffer_count_max": 32768},
        {"fixed_files": 4},
    ],
    ids=str,
)
def test_a_size_within_the_range_works(new_loop, options):
    loop = new_loop(lambda: netloop.EventLoop(**options))

    async def main():
        async with connected(server=Echo) as (client, _):
            client.transport.write(b"works")
            return await client.until_received(5)

    assert loop.run_until_complete(main()) == b"works"
