"""Signal handlers: add_signal_handler() and the descriptor through which signals wake the loop.

CPython's C-level handler writes each signal's number to the descriptor set with signal.set_wakeup_fd(). A loop that
runs in the main thread sets its own for that time, whether it has signal handlers or not: otherwise a Ctrl-C that
arrives just before the kernel's wait begins would stay unnoticed until the next event.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import inspect
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVarTuple

from netloop.hosted.loop_mixin import LoopMixin

__all__ = ["SignalHandlers"]

_Ts = TypeVarTuple("_Ts")


class SignalHandlers(LoopMixin):
    """The signal methods of a loop."""

    _previous_wakeup_fd = -1

    def __init__(self) -> None:
        super().__init__()
        self._signal_handlers: dict[int, tuple[contextvars.Context, Callable[..., object], tuple[Any, ...]]] = {}

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
            signal.set_wakeup_fd(self._wakeup_fd(), warn_on_full_buffer=False)
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from error
        self._signal_handlers[sig] = (contextvars.copy_context(), callback, args)
        try:
            # CPython writes to the wake-up descriptor only for signals that have a Python handler.
            signal.signal(sig, _ignore)
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
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
        return True

    def _handle_signal(self, sig: int) -> None:
        """A signal's number has come through the wake-up pipe."""
        handler = self._signal_handlers.get(sig)
        if handler is not None:
            context, callback, args = handler
            self.call_soon(callback, *args, context=context)

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
        if threading.current_thread() is threading.main_thread():
            current = signal.set_wakeup_fd(-1)
            if current != self._wakeup_fd():
                _restore(current)

    def _claim_wakeup_fd(self) -> bool:
        """Have signals wake this loop while it runs; only the main thread may, and only it gets signals."""
        if threading.current_thread() is not threading.main_thread():
            return False
        self._previous_wakeup_fd = signal.set_wakeup_fd(self._wakeup_fd(), warn_on_full_buffer=False)
        return True

    def _release_wakeup_fd(self) -> None:
        if not self._signal_handlers:
            _restore(self._previous_wakeup_fd)

    @staticmethod
    def _check_signal(sig: int) -> None:
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")


def _restore(descriptor: int) -> None:
    # The descriptor of an earlier owner may be closed by now: then there is nothing to restore.
    with contextlib.suppress(ValueError, OSError):
        signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)


def _uncatchable(sig: int, error: OSError) -> Exception:
    return RuntimeError(f"sig {sig} cannot be caught") if error.errno == errno.EINVAL else error


def _ignore(sig: int, frame: object) -> None:
    """The Python-level handler; the loop's own runs when the number comes through the pipe."""
