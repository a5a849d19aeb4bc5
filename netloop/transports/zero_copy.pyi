from typing import final

@final
class Route: ...

@final
class ZeroCopySender: ...
