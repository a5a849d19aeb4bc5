"""Several load generators that measure the same window of one server."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from harness.errors import BenchError
from harness.processes import pinned, read_line, stop

#: Connecting, warming up and ending may take this long beyond the window itself.
MARGIN = 30.0

Report = Mapping[str, Any]


class Loads:
    """Load generators of their own processes, from their start until the end of the ``with`` block.

    ``commands`` are their command lines without ``--gate``, ``cpus`` what each is pinned to, if anything.
    """

    def __init__(self, commands: Sequence[list[str]], cpus: Sequence[int | None]) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for command, cpu in zip(commands, cpus, strict=True):
                with pinned(cpu):
                    self._processes.append(
                        subprocess.Popen([*command, "--gate"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
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

    def wait_until_ready(self) -> None:
        """Wait until all of them are connected and warm.

        Raises:
            BenchError: one could not connect.
        """
        for process in self._processes:
            line = self._line(process, MARGIN)
            if line != "ready":
                raise BenchError(f"a load generator could not connect: {line}")

    def measure(self, seconds: float) -> list[Report]:
        """Have all of them measure the same window, and return what they report.

        Raises:
            BenchError: errors under load, or one of them has ended.
        """
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
        reports = [json.loads(self._line(process, seconds + MARGIN)) for process in self._processes]
        if any(report["error_total"] for report in reports):
            raise BenchError(f"errors under load: {[report['first_error'] for report in reports]}")
        return reports

    def _line(self, process: subprocess.Popen[bytes], limit: float) -> str:
        assert process.stdout is not None
        return read_line(process.stdout, limit, "waiting for a load generator")

    def _stop(self) -> None:
        for process in self._processes:
            stop(process)
