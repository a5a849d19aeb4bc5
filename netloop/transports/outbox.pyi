from typing_extensions import disjoint_base

@disjoint_base
class PieceQueue: ...

@disjoint_base
class FileSend: ...

@disjoint_base
class DatagramOutbox:
    @property
    def size(self) -> int: ...
