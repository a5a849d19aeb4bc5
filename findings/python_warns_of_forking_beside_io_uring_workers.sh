#!/usr/bin/env bash
# CPython 3.12.1, 3.13.0, 3.14.10 and 3.15.2 (3.11 warns of no threads), Linux 6.18: os.fork() warns that the process is
# multi-threaded, though no thread of it can run any code of it. io_uring's workers are threads of the process to the
# kernel, which Python asks for their number. An ordinary ring has none until it gets a request that cannot be done
# without waiting (SPLICE, say), and keeps the last one until it is closed; a ring with SQPOLL has one from the
# beginning. So a program that makes errors of warnings forks or fails by what its ring has done before, with one thread
# all the time.
#
# Seen: "fork() beside a new ring: silent; after a request by a worker: warns; ring closed: silent; beside a ring with
# SQPOLL: warns; threads that Python knows: 1", and with 3.11.7 always silent. Exits with 1 if that changes.
set -euo pipefail
python3 - <<'PYTHON'
import ctypes, mmap, os, struct, sys, threading, time, warnings

SETUP, ENTER = 425, 426  # io_uring_setup(2) and io_uring_enter(2), by number
SQPOLL, GETEVENTS, BY_WORKER, SUBMISSIONS_AT = 2, 1, 1 << 4, 0x10000000
libc = ctypes.CDLL(None, use_errno=True)

def new_ring(flags):
    params = (ctypes.c_uint32 * 30)()
    params[2] = flags
    ring = libc.syscall(SETUP, 1, ctypes.byref(params))
    if ring < 0:
        sys.exit(f"no ring: errno {ctypes.get_errno()}")
    return ring, params

def fork():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    return "warns" if any("multi-threaded" in str(warning.message) for warning in told) else "silent"

ring, params = new_ring(0)
new = fork()
queues, requests = (mmap.mmap(ring, mmap.PAGESIZE, offset=offset) for offset in (0, SUBMISSIONS_AT))
struct.pack_into("BB", requests, 0, 0, BY_WORKER)  # a NOP, but not from within the system call
struct.pack_into("I", queues, params[11], 1)  # sq_off.tail
assert libc.syscall(ENTER, ring, 1, 1, GETEVENTS, None, 0) == 1
worked = fork()
queues.close()
requests.close()
os.close(ring)
end = time.monotonic() + 5
while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < end:
    time.sleep(0.05)
closed = fork()
new_ring(SQPOLL)
polled = fork()
print(f"Python {sys.version.split()[0]}: fork() beside a new ring: {new}; after a request by a worker: {worked}; ring "
      f"closed: {closed}; beside a ring with SQPOLL: {polled}; threads that Python knows: {threading.active_count()}")
expected = ("silent", "warns", "silent", "warns") if sys.version_info >= (3, 12) else ("silent",) * 4
sys.exit((new, worked, closed, polled) != expected)
PYTHON
