"""Load generators that are connected and warm, and measure the same window of one server when they are told to."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from harness.errors import BenchError
from harness.processes import pinned, read_line, stop

#: Connecting, warming up, draining and ending may take this long beyond the window itself.
MARGIN = 45.0

Report = Mapping[str, Any]


def read_report(line: str) -> Report:
    """Read a load generator's JSON.

    Raises:
        BenchError: it is not what it should be, or it reports errors.
    """
    try:
        report: Report = json.loads(line)
        total, first = report["error_total"], report["first_error"]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"the load generator's report cannot be read ({error!r}): {line[:200]!r}") from None
    if total:
        raise BenchError(f"{total} errors under load, the first: {first}")
    return report


class GatedLoads:
    """Load generators of their own processes, from their start until the end of the ``with`` block.

    ``commands`` are their command lines without ``--gate``, ``cpus`` what each is pinned to, if anything. What they
    write to standard error is dropped: the reports have it.
    """

    def __init__(self, commands: Sequence[list[str]], cpus: Sequence[int | None]) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for command, cpu in zip(commands, cpus, strict=True):
                with pinned(cpu):
                    self._processes.append(
                        subprocess.Popen(
                            [*command, "--gate"],
                            bufsize=0,
                            stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL,
                        )
                    )
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def wait_until_ready(self, warmup: float = 0.0) -> None:
        """Wait until all of them are connected and warm, and quiet.

        Raises:
            BenchError: one could not connect.
        """
        for process in self._processes:
            line = self._line(process, warmup + MARGIN, "waiting for the load generator to be ready")
            if line != "ready":
                read_report(line)
                raise BenchError("the load generator reported before it was asked to begin")

    def measure(self, seconds: float) -> list[Report]:
        """Have all of them measure the same window, and return what they report; the connections stay open.

        Raises:
            BenchError: errors under load, or one of them has ended.
        """
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(b"\n")
            except BrokenPipeError:
                raise BenchError("the load generator has ended too early") from None
        what = "waiting for the load generator's report"
        return [read_report(self._line(process, seconds + MARGIN, what)) for process in self._processes]

    def _line(self, process: subprocess.Popen[bytes], limit: float, what: str) -> str:
        assert process.stdout is not None
        return read_line(process.stdout, limit, what)

    def _stop(self) -> None:
        for process in self._processes:
            stop(process)
