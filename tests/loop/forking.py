"""Children of the process that runs the tests."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable


def forked(function: Callable[[], object]) -> int:
    """Fork, call the function in the child, and return the child's number of process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        function()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def succeeded(pid: int) -> bool:
    """Wait for the child's end; whether its function has returned."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
