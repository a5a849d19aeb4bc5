from typing import final

from netloop.transports.datagram_base import DatagramBase

@final
class ForeignDatagramTransport(DatagramBase): ...
