from collections.abc import Iterable

from typing_extensions import disjoint_base

def ask_kernel(faults: FaultPlan | None = None) -> tuple[int, int, list[bool], list[bool], list[bool]]: ...

@disjoint_base
class FaultPlan:
    def __init__(self, call: str, nth: int, errno: int) -> None: ...
    @property
    def calls(self) -> int: ...

@disjoint_base
class OlderKernel(FaultPlan):
    def __init__(self, lacking: Iterable[str] = (), unknown_flags: int = 0) -> None: ...

@disjoint_base
class Endpoint: ...

@disjoint_base
class BufferGroup: ...

@disjoint_base
class Ring:
    def __new__(
        cls,
        *,
        submission_entries: int,
        completion_entries: int,
        buffer_count: int,
        buffer_count_max: int,
        buffer_size: int,
        fixed_files: int,
        faults: FaultPlan | None = None,
    ) -> Ring: ...
    def before_fork(self) -> None: ...
    def after_fork(self, in_child: bool) -> None: ...
    def abandon(self) -> None: ...
    def close(self) -> None: ...
    def counters(self) -> dict[str, int]: ...
