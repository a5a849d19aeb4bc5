"""Watchers of descriptors: add_reader() and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVarTuple

from netloop.hosted.loop_mixin import LoopMixin
from netloop.operations.watch import WatchSet

if TYPE_CHECKING:
    from weakref import WeakValueDictionary

__all__ = ["Watchers"]

_Ts = TypeVarTuple("_Ts")


class Watchers(LoopMixin):
    """The methods of a loop that call back when a descriptor can be read or written."""

    _transports: WeakValueDictionary[int, Any]

    def __init__(self) -> None:
        super().__init__()
        self._watches = WatchSet(self)

    def add_reader(self, fd: Any, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` whenever ``fd`` can be read; see asyncio.loop.add_reader.

        Raises:
            OSError: ``fd`` is closed, or (PermissionError) it is a file that cannot be polled.
            RuntimeError: it is a transport's, or the loop is closed.
        """
        self._watches.add(fd, self._open_number(fd), True, callback, args)

    def add_writer(self, fd: Any, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` whenever ``fd`` can be written; see asyncio.loop.add_writer and add_reader()."""
        self._watches.add(fd, self._open_number(fd), False, callback, args)

    def remove_reader(self, fd: Any) -> bool:
        """Stop watching for reading; says whether there was a watcher. A socket may have been closed before."""
        return not self.is_closed() and self._watches.remove(fd, self._number_of(fd), True)

    def remove_writer(self, fd: Any) -> bool:
        """Stop watching for writing; says whether there was a watcher. A socket may have been closed before."""
        return not self.is_closed() and self._watches.remove(fd, self._number_of(fd), False)

    def _open_number(self, fd: Any) -> int:
        self._check_closed()
        number = self._number_of(fd)
        if number < 0:
            raise ValueError(f"Invalid file descriptor: {number}")
        return number

    def _number_of(self, fd: Any) -> int:
        """The number of a descriptor that may be watched; -1 for a socket that is closed."""
        if isinstance(fd, int):
            number = fd
        else:
            try:
                number = int(fd.fileno())
            except (AttributeError, TypeError, ValueError):
                raise ValueError(f"Invalid file object: {fd!r}") from None
        self._check_no_transport(number, fd)
        return number

    def _check_no_transport(self, number: int, fd: Any = None) -> None:
        """A transport's descriptor is the transport's: a second reader would take its data."""
        transport = self._transports.get(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {number if fd is None else fd!r} is used by transport {transport!r}")

    # What the loop itself asks for ----------------------------------------------------------------------------------

    def _watcher_count(self) -> int:
        return len(self._watches)

    def _leave_thread(self) -> None:
        self._watches.rest()
        super()._leave_thread()

    def _abandon(self) -> None:
        self._watches.abandon()
        super()._abandon()

    def _close_watchers(self) -> None:
        self._watches.close()
