"""Find out what keeps an event loop from going on.

Run it with ``python examples/stall_report.py``. It serves nothing: it has one task that ticks, and one that computes
without ever awaiting. While that one is at it ``python -m netloop stacks PID`` shows the very line.
"""

from __future__ import annotations

import asyncio
import os

import netloop


def count_primes(limit: int) -> int:
    """Count the prime numbers below a limit, slowly."""
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, limit))


async def tick() -> None:
    """Do something small again and again, as a server does."""
    while True:
        await asyncio.sleep(0.01)


async def answer_request(limit: int) -> int:
    """A request that takes long, and does not let the loop go on meanwhile."""
    return count_primes(limit)


async def main() -> None:
    """Stall the loop once, and say what was reported."""
    loop = asyncio.get_running_loop()
    reports: list[netloop.StallReport] = []
    assert isinstance(loop, netloop.EventLoop)
    loop.set_stall_handler(reports.append)
    ticking = asyncio.create_task(tick())
    print(f"to look at it from outside: python -m netloop stacks {os.getpid()}", flush=True)
    limit = 100_000
    # A report without a stack is of a stall that had ended before anybody could look.
    while not any(report.stack for report in reports):
        # On a fast computer it takes more numbers to be slow.
        await asyncio.create_task(answer_request(limit), name="a slow request")
        await asyncio.sleep(0.05)
        limit *= 2
    report = next(report for report in reports if report.stack)
    ticking.cancel()
    print(f"{report.task}, in {report.callback}, {report.kind} the loop for {report.seconds:.2f} s: {report.why}")
    print(f"the line: {report.stack[-1]}")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=lambda: netloop.EventLoop(stall_threshold=0.1, inspect=True)) as runner:
        runner.run(main())
