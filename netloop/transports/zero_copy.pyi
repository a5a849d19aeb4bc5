from typing_extensions import disjoint_base

@disjoint_base
class Route: ...

@disjoint_base
class ZeroCopySender: ...
