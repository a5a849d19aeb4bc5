"""loop.sendfile() and loop.sock_sendfile(): by sendfile(2), or over the ring with file reads and sends that overlap.

A large file goes from a transport's socket by sendfile(2), which copies nothing; the ring tells when there is room.
Else the next part is read while the last one is being sent. A part in the page cache is read in the system call that
submits the read, without a thread. splice(2) through the ring is not used: the kernel runs it on an io-worker thread.

Receiving goes on meanwhile (asyncio's own loop pauses it), so a peer that leaves ends the transfer at once.

What the ring cannot read, and what goes over TLS, asyncio sends: it reads the file in a thread.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netloop.hosted.loop_mixin import LoopMixin
from netloop.operations.operation import Poll, ReadFile

if TYPE_CHECKING:
    from netloop.operations.socket_calls import SocketCalls

__all__ = ["SendFile"]

# Read and sent at a time, bytes: what a send covers at most, so that a part is one send.
PART = 256 * 1024

# From so many bytes on a file is sent by sendfile(2).
UNCOPIED = 128 * 1024

# The most that sendfile(2) is asked for between two turns.
AT_ONCE = 1024 * 1024


@dataclass
class _Transfer:
    """How far a file is sent, and up to where it is to be."""

    descriptor: int
    position: int
    end: int


class SendFile(LoopMixin):
    """The part of a loop that sends files."""

    _socket_calls: SocketCalls

    async def _sendfile_native(self, transport: Any, file: Any, offset: int, count: int | None) -> int:
        """Send ``count`` bytes, or what there is, from ``offset`` on; see asyncio.loop.sendfile.

        However the transfer ends, the file's position tells how much was sent.

        Raises:
            SendfileNotAvailableError: this is no regular file; asyncio then reads it itself.
            TypeError, ValueError: the file is open for text, or ``offset`` or ``count`` is no number that can be.
            RuntimeError: write_eof() was called, or a file is being sent already.
            ConnectionError: the connection was lost.
        """
        self._check_sendfile_params(transport.get_extra_info("socket"), file, offset, count)
        descriptor, size = _regular_file(file)
        transfer = _Transfer(descriptor, offset, size if count is None else min(size, offset + count))
        transport._begin_sendfile()
        try:
            await _drained(transport, 0)
            if transfer.end - offset >= UNCOPIED:
                await self._send_uncopied(transport, transfer)
            while reading := self._read_part(descriptor, transfer.position, transfer.end):
                part = await reading
                if not part:
                    break  # the file has become shorter
                transfer.position += len(part)
                transport._send_part(part)
                await _drained(transport, PART)
            await _drained(transport, 0)
            return transfer.position - offset
        finally:
            lost = transport._end_sendfile()
            os.lseek(descriptor, max(offset, transfer.position - lost), os.SEEK_SET)

    async def _send_uncopied(self, transport: Any, transfer: _Transfer) -> None:
        """Send by sendfile(2) what it can send."""
        try:
            socket_descriptor = transport._sock.fileno()
        except OSError:
            return  # no descriptor to spare for a connection that has none
        begin = transfer.position
        while transfer.position < transfer.end:
            length = min(transfer.end - transfer.position, AT_ONCE)
            try:
                sent = os.sendfile(socket_descriptor, transfer.descriptor, transfer.position, length)
            except BlockingIOError:
                await self._writable(transport, Poll(self, socket_descriptor, True))
                continue
            except OSError as error:
                if transfer.position == begin and error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    return  # not from a file of this kind
                if isinstance(error, ConnectionError):
                    # The kernel tells an error of the socket once: the transport would find no more than an end.
                    transport._fatal_error(error, "Fatal write error on socket transport")
                raise
            if not sent:
                return  # the file has become shorter
            transfer.position += sent
            await self._writable(transport, None)

    async def _writable(self, transport: Any, poll: Poll | None) -> None:
        """Wait for a poll that tells of room, or for a turn if there is none, or until the end: a ConnectionError."""
        try:
            transport._check_connected()
        except ConnectionError:
            if poll is not None:
                poll.close()
            raise
        waiter = transport._file_waiter(-1)

        def wake(_: object = None) -> None:
            if not waiter.done():
                waiter.set_result(None)

        if poll is None:
            self.call_soon(wake)
        else:
            poll.add_done_callback(wake)
        try:
            await waiter
        finally:
            if poll is not None:
                poll.cancel()
        transport._check_connected()

    async def _sock_sendfile_native(self, sock: socket.socket, file: Any, offset: int, count: int | None) -> int:
        """Send ``count`` bytes, or what there is, from ``offset`` on; see asyncio.loop.sock_sendfile.

        However the transfer ends, the file's position tells how much was sent.

        Raises:
            SendfileNotAvailableError: this is no regular file; asyncio then reads it itself.
            OSError: the socket or the file failed.
        """
        descriptor, size = _regular_file(file)
        end = size if count is None else min(size, offset + count)
        position = offset
        reading = self._read_part(descriptor, position, end)
        try:
            while reading is not None and (part := await reading):
                reading = self._read_part(descriptor, position + len(part), end)
                sending = self._socket_calls.send_all(sock, part)
                try:
                    if sending is not None:
                        await sending
                finally:
                    position += len(part) if sending is None else sending.sent
            return position - offset
        finally:
            if reading is not None:
                reading.close()
            os.lseek(descriptor, position, os.SEEK_SET)

    async def _sendfile_fallback(self, transport: Any, file: Any, offset: int, count: int | None) -> int:
        """Send by asyncio's own method, with its flow control put right.

        asyncio lets a protocol of its own stand in for the connection's. If writing is paused when that one goes,
        because the call was cancelled or the last part was large, the connection's protocol is not told, and is later
        told to resume what it has never paused.
        """
        protocol = transport.get_protocol()
        try:
            return await super()._sendfile_fallback(transport, file, offset, count)  # type: ignore[misc, no-any-return]
        finally:
            if transport._protocol_paused and not transport.is_closing():
                protocol.pause_writing()

    def _read_part(self, descriptor: int, position: int, end: int) -> ReadFile | None:
        """Begin to read what is sent next; None at the end."""
        return ReadFile(self, descriptor, position, min(PART, end - position)) if position < end else None


async def _drained(transport: Any, limit: int) -> None:
    """Wait until no more than ``limit`` bytes are left to send, or until the end, which is a ConnectionError."""
    waiter = transport._file_waiter(limit)
    if waiter is not None:
        await waiter


def _regular_file(file: Any) -> tuple[int, int]:
    """The file's descriptor and its size in bytes."""
    try:
        descriptor = file.fileno()
        status = os.fstat(descriptor)
    except (AttributeError, OSError, io.UnsupportedOperation):
        raise asyncio.SendfileNotAvailableError("not a regular file") from None
    if not stat.S_ISREG(status.st_mode):
        raise asyncio.SendfileNotAvailableError("not a regular file")
    return descriptor, status.st_size
