"""The rows without a network: a program measures its own loop and prints what it found."""

import json
import subprocess
import sys

from harness.contenders import SERVERS, Contender
from harness.errors import BenchError
from harness.processes import pinned, server_environment
from harness.rows import Row
from harness.settings import Settings

_MARGIN = 30.0


def measure(contender: Contender, row: Row, settings: Settings) -> dict[str, float]:
    """Run the program once and return its figures; a message is one operation.

    Raises:
        BenchError: the program failed, complained or did not end.
    """
    command = [sys.executable, str(SERVERS / row.program.server), "--loop", contender.loop_name, "--what", row.kind]
    command += ["--seconds", f"{settings.seconds:g}", "--warmup", f"{settings.warmup:g}"]
    limit = settings.seconds + settings.warmup + _MARGIN
    with pinned(settings.server_cpu):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=server_environment(contender.surroundings(settings)),
        )
    try:
        output, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the program did not end within {limit:.0f} s") from None
    finally:
        process.kill()
        process.communicate()
    if process.returncode != 0 or said.strip():
        words = said.strip().splitlines()
        raise BenchError(f"the program ended with status {process.returncode}: {words[-1] if words else ''}")
    found = json.loads(output)
    return {
        "messages_per_second": found["operations"] / found["seconds"],
        "cpu_us": found["cpu_ns"] / found["operations"] / 1e3,
        "per_cpu_second": found["operations"] / found["cpu_ns"] * 1e9,
        "server_busy": found["cpu_ns"] / found["seconds"] / 1e9,
    }
