from typing_extensions import disjoint_base

from netloop.core.turn import LoopCore

@disjoint_base
class Kept:
    def __init__(self, loop: LoopCore) -> None: ...
    def close(self) -> None: ...
