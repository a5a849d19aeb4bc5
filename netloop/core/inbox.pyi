from typing import final

from netloop.core.scheduler import ReadyQueue

@final
class Inbox:
    def __init__(self, ready: ReadyQueue) -> None: ...
