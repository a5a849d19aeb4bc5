"""Signal handlers: add_signal_handler() and its counterpart. How signals wake the loop is in ``netloop.core.wake``."""

from __future__ import annotations

import errno
import inspect
import signal
import sys
import warnings
from collections.abc import Callable
from typing import TypeVarTuple

from netloop.hosted.loop_mixin import LoopMixin

__all__ = ["SignalHandlers"]

_Ts = TypeVarTuple("_Ts")


class SignalHandlers(LoopMixin):
    """The signal methods of a loop."""

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call ``callback(*args)`` in the loop when a signal arrives; see asyncio.loop.add_signal_handler.

        Raises:
            ValueError: there is no such signal.
            RuntimeError: it cannot be caught, or this is not the main thread.
        """
        if inspect.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        try:
            # Refused outside the main thread, before anything is changed.
            self._wakeup_fd().keep()
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from error
        self._signal_handlers[sig] = self._new_handle(callback, args)
        try:
            # CPython writes to the wake-up descriptor only for signals that have a Python handler.
            signal.signal(sig, _ignore)
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            if not self._signal_handlers:
                self._wakeup_fd().release()
            raise _uncatchable(sig, error) from error

    def remove_signal_handler(self, sig: int) -> bool:
        """Give a signal its default effect back; says whether there was a handler."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        try:
            signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)
        except OSError as error:
            raise _uncatchable(sig, error) from error
        if not self._signal_handlers:
            self._wakeup_fd().release()
        return True

    def _remove_all_signal_handlers(self) -> None:
        if sys.is_finalizing():
            if self._signal_handlers:
                warnings.warn(
                    f"closing {self!r} while the interpreter shuts down: its signal handlers are left in place",
                    ResourceWarning,
                    source=self,
                    stacklevel=2,
                )
                self._signal_handlers.clear()
            return
        for sig in list(self._signal_handlers):
            self.remove_signal_handler(sig)

    @staticmethod
    def _check_signal(sig: int) -> None:
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")


def _uncatchable(sig: int, error: OSError) -> Exception:
    return RuntimeError(f"sig {sig} cannot be caught") if error.errno == errno.EINVAL else error


def _ignore(sig: int, frame: object) -> None:
    """The Python-level handler; the loop's own runs when the number comes through the pipe."""
