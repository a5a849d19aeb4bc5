"""A bad network between a UDP client and a UDP server: it drops packets at random, and delays some past later ones."""

from __future__ import annotations

import random
import select
import socket
import threading
from types import TracebackType
from typing import Self

RECEIVE_BUFFER = 4 << 20
#: Packets taken from one side before the other is looked at.
TURN = 64


class LossyRelay:
    """Passes packets on between one client and a server, in a thread of its own, until the end of the ``with`` block.

    Shares of the packets, in each direction, are dropped (``loss``), or let past by the next (``reordering``).
    """

    def __init__(self, server_port: int, *, loss: float, reordering: float, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._loss, self._reordering = loss, reordering
        self._front, self._back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for side in (self._front, self._back):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            side.setblocking(False)
        self._front.bind(("127.0.0.1", 0))
        self._back.connect(("127.0.0.1", server_port))
        self.port: int = self._front.getsockname()[1]
        self._client: tuple[str, int] | None = None
        self._held: dict[socket.socket, bytes] = {}
        self.passed = self.dropped = self.reordered = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._front.close()
        self._back.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            for side in select.select((self._front, self._back), (), (), 0.1)[0]:
                self._pass_on(side)

    def _pass_on(self, side: socket.socket) -> None:
        for _ in range(TURN):
            try:
                data, address = side.recvfrom(65536)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue  # the server has gone
            if side is self._front:
                self._client = address
            self._pass_one(self._back if side is self._front else self._front, data)

    def _pass_one(self, to: socket.socket, data: bytes) -> None:
        held = self._held.pop(to, None)
        luck = self._random.random()
        if luck < self._loss:
            self.dropped += 1
        elif luck < self._loss + self._reordering and held is None:
            self._held[to] = data
            self.reordered += 1
        else:
            self._send(to, data)
        if held is not None:
            self._send(to, held)

    def _send(self, to: socket.socket, data: bytes) -> None:
        self.passed += 1
        try:
            if to is self._back:
                to.send(data)
            elif self._client is not None:
                to.sendto(data, self._client)
        except (BlockingIOError, ConnectionRefusedError):
            self.dropped += 1
