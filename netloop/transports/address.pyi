# Its functions, which translate between Python's addresses and the kernel's, are for the other compiled modules only.
from typing_extensions import disjoint_base

@disjoint_base
class Peer: ...
