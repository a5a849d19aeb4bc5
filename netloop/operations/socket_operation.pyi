from typing import final

from typing_extensions import disjoint_base

from netloop.operations.operation import Operation

@disjoint_base
class SocketOperation(Operation): ...

@disjoint_base
class BufferOperation(SocketOperation): ...

@disjoint_base
class Message(BufferOperation): ...

@final
class Receive(SocketOperation): ...

@final
class ReceiveFrom(Message): ...

@final
class ReceiveInto(Message): ...

@final
class SendAll(BufferOperation):
    @property
    def sent(self) -> int: ...

@final
class SendTo(Message): ...

@final
class Readiness(SocketOperation): ...

@final
class Connect(SocketOperation): ...
