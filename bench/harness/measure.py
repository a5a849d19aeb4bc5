"""One measurement: a fresh server, one load window, a handful of figures."""

from dataclasses import dataclass

from harness import load
from harness.contenders import Contender
from harness.errors import BenchError
from harness.processes import Server
from harness.rows import Row
from harness.settings import Settings

#: The figures of a sample that are summarised and compared, by attribute name.
FIGURES = ("messages_per_second", "cpu_us", "p50_us", "p99_us", "p999_us", "memory_mib", "server_busy", "load_busy")


@dataclass(frozen=True)
class Sample:
    """What one measurement gave.

    ``cpu_us`` is the server's CPU time per message; ``server_busy`` and ``load_busy`` are the shares of the window
    (0 to 1) in which the two processes ran; ``memory_mib`` is the server's peak resident set.
    """

    contender: str
    row: str
    repeat: int
    messages_per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float
    p999_us: float
    memory_mib: float
    server_busy: float
    load_busy: float


def measure(contender: Contender, row: Row, repeat: int, settings: Settings) -> Sample:
    """Measure a contender in a row once.

    Raises:
        BenchError: the server or the load failed, or a reply was wrong.
    """
    with Server(contender.command(row, settings.programs), contender.environment, settings.server_cpu) as server:
        try:
            load.prime(server.port, row)
            window = load.run(settings.programs, server, row, settings.seconds, settings.warmup, settings.load_cpu)
        except BenchError as error:
            raise BenchError("; ".join(filter(None, (str(error), server.complaint())))) from None
        if (complaint := server.complaint()) is not None:
            raise BenchError(complaint)
        memory = server.peak_memory()
    return Sample(
        contender=contender.name,
        row=row.name,
        repeat=repeat,
        messages_per_second=window.messages_per_second,
        cpu_us=window.server_cpu / window.messages / 1e3,
        p50_us=window.p50,
        p99_us=window.p99,
        p999_us=window.p999,
        memory_mib=memory,
        server_busy=window.server_cpu / window.seconds / 1e9,
        load_busy=window.load_cpu / window.seconds / 1e9,
    )
