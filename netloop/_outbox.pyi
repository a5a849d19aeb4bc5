from typing_extensions import disjoint_base

@disjoint_base
class Outbox:
    @property
    def size(self) -> int: ...

@disjoint_base
class DatagramOutbox:
    @property
    def size(self) -> int: ...
