"""What a loop with a stall detector reports, as ``EventLoop.set_stall_handler()`` hands it over."""

from __future__ import annotations

import traceback
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

__all__ = ["StackLine", "StallReport"]

_VERBS: Final = {"blocked": "has run for", "saturated": "is one of those that kept a turn busy for"}


class StackLine(NamedTuple):
    """One call of a Python stack."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


@dataclass(frozen=True, slots=True)
class StallReport:
    """One stall of an event loop: what kept it from going on, and for how long."""

    kind: Literal["blocked", "saturated"]
    """``blocked``: one callback ran for too long. ``saturated``: a turn did, with many callbacks, each of them short;
    then ``callback``, ``task`` and ``stack`` are those of whichever ran at that moment."""
    seconds: float
    """How long it has taken: until the report where it is logged, in all where a handler is given it."""
    threshold: float
    """The ``stall_threshold`` of the loop, in seconds."""
    cause: Literal["cpu", "gc", "waiting", "lock", "starved"]
    """What the loop's thread spent most of that time on: ``cpu``, computing; ``gc``, collecting garbage; ``waiting``,
    sleeping in the kernel; ``lock``, waiting while another thread had the interpreter lock; ``starved``, ready to run
    and not given a CPU."""
    cpu_share: float
    """Which part of the time the loop's thread was on a CPU, from 0 to 1."""
    gc_seconds: float
    """How long the garbage collector has run in this turn."""
    lock_seconds: float
    """How long the detector had to wait for the interpreter lock or, where there is none, until the loop's thread
    could be interrupted; without the time for which either was not given a CPU."""
    lock_held: bool
    """Did C code keep the interpreter lock to itself, or could it not be interrupted? The stall is then reported when
    that has ended."""
    channel: str
    """The function of the kernel in which the loop's thread slept; empty if it did not, or the kernel does not tell."""
    seen: bool
    """Is ``stack`` that of the stall? If not, the stall had ended before it could be looked at, and the stack is
    empty."""
    callback: str
    """What the loop called: a function, or the method of a protocol."""
    task: str | None
    """The name of the task, if it was a task's step."""
    awaits: tuple[StackLine, ...]
    """The coroutines of that task, each awaiting the next."""
    stack: tuple[StackLine, ...]
    """The Python stack from the callback on; the last line is the one that was being run."""
    waiting: int
    """How many callbacks and completions waited for their turn."""

    def as_dict(self) -> dict[str, Any]:
        """All of it in what JSON knows; each line of a stack is a text."""
        return {
            **asdict(self),
            "awaits": [str(line) for line in self.awaits],
            "stack": [str(line) for line in self.stack],
        }

    @property
    def why(self) -> str:
        """In words, what the time was spent on."""
        words = {
            "cpu": f"it computes, on a CPU for {self.cpu_share:.0%} of the time",
            "gc": f"the garbage collector has run for {self.gc_seconds:.3f} s of it",
            "waiting": "it waits" + (f", in the kernel's {self.channel}" if self.channel else ""),
            "lock": "it waits for the interpreter lock, which another thread has",
            "starved": f"it is ready to run and given a CPU for only {self.cpu_share:.0%} of the time",
        }[self.cause]
        if self.lock_held and self.cause != "lock":
            words += f"; C code could not be interrupted for {self.lock_seconds:.3f} s, and this is said after that"
        return words

    def __str__(self) -> str:
        of_task = f" in the task {self.task!r}" if self.task else ""
        calls = "1 callback waits" if self.waiting == 1 else f"{self.waiting} callbacks wait"
        text = (
            f"The event loop is {self.kind}: {self.callback}{of_task} {_VERBS[self.kind]} {self.seconds:.3f} s; "
            f"{self.why}; {calls}"
        )
        if not self.seen:
            return f"{text}; it had ended before its stack could be taken"
        frames = traceback.StackSummary.from_list([(line.file, line.line, line.function, None) for line in self.stack])
        return "\n".join([text, *(entry.rstrip() for entry in frames.format())])
