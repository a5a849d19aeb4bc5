#!/usr/bin/env bash
# Linux 6.18, IORING_SETUP_SQPOLL: the thread that polls the submission queue goes to sleep as soon as it has looked at
# the queue of a new ring once, and does not wait for sq_thread_idle to pass. A program that counts on the idle time and
# submits a moment after set-up without looking at IORING_SQ_NEED_WAKEUP waits for ever. Once it was woken, though there
# was nothing to submit, the same thread stays awake for as long as it was told.
#
# Seen, with an idle time of 10 s: "0.2 s after set-up: asleep; 1 s after it was woken: awake". Exits with 1 if that
# changes.
set -euo pipefail
python3 - <<'PYTHON'
import ctypes, mmap, struct, sys, time

SETUP, ENTER = 425, 426  # io_uring_setup(2) and io_uring_enter(2), by number
SQPOLL, SQ_WAKEUP, NEED_WAKEUP = 2, 2, 1
libc = ctypes.CDLL(None, use_errno=True)

params = (ctypes.c_uint32 * 30)()
params[2], params[4] = SQPOLL, 10_000  # flags, sq_thread_idle in milliseconds
ring = libc.syscall(SETUP, 4, ctypes.byref(params))
if ring < 0:
    sys.exit(f"no ring: errno {ctypes.get_errno()}")
queues = mmap.mmap(ring, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)

def state():
    (flags,) = struct.unpack_from("I", queues, params[10 + 4])  # sq_off.flags
    return "asleep" if flags & NEED_WAKEUP else "awake"

time.sleep(0.2)
first = state()
libc.syscall(ENTER, ring, 0, 0, SQ_WAKEUP, None, 0)
time.sleep(1)
then = state()
print(f"0.2 s after set-up: {first}; 1 s after it was woken: {then}")
sys.exit((first, then) != ("asleep", "awake"))
PYTHON
