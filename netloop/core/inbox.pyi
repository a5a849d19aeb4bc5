from typing import Self, final

from netloop.core.scheduler import ReadyQueue

@final
class Inbox:
    def __new__(cls, ready: ReadyQueue) -> Self: ...
