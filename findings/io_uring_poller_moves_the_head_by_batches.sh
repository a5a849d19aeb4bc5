#!/usr/bin/env bash
# Linux 6.18, IORING_SETUP_SQPOLL: the thread that polls the submission queue moves its head only when it has carried out
# all that it found there, however much that is, and not entry by entry. So a queue that was full stays full although
# most of what was in it is done. Where two rings share the thread (IORING_SETUP_ATTACH_WQ), it takes eight entries of a
# queue at a time, also when the other ring has nothing to do: the head then moves by eight.
#
# Seen, with 4096 entries that do nothing: "alone: by 4096; with an idle ring beside it: by 8". Exits with 1 if that
# changes.
set -euo pipefail
python3 - <<'PYTHON'
import ctypes, mmap, struct, sys

SETUP, ENTER = 425, 426  # io_uring_setup(2) and io_uring_enter(2), by number
SQPOLL, ATTACH_WQ, SQ_WAKEUP, NEED_WAKEUP, SUBMISSIONS_AT = 2, 32, 2, 1, 0x10000000
ENTRIES, TRIES = 4096, 50
libc = ctypes.CDLL(None, use_errno=True)

class Ring:
    def __init__(self, beside=None):
        self.params = params = (ctypes.c_uint32 * 30)()
        params[2], params[4] = SQPOLL, 2000  # flags, sq_thread_idle in milliseconds
        if beside:
            params[2], params[6] = SQPOLL | ATTACH_WQ, beside.ring  # flags, wq_fd
        self.ring = libc.syscall(SETUP, ENTRIES, ctypes.byref(params))
        if self.ring < 0:
            sys.exit(f"no ring: errno {ctypes.get_errno()}")
        self.queues = mmap.mmap(self.ring, params[16] + ENTRIES * 4)  # up to the end of sq_off.array
        self.entries = mmap.mmap(self.ring, ENTRIES * 64, offset=SUBMISSIONS_AT)
        for index in range(ENTRIES):  # the opcode of a NOP is 0, and so is all else of it
            struct.pack_into("I", self.queues, params[16] + 4 * index, index)  # sq_off.array

    def word(self, offset):
        return struct.unpack_from("I", self.queues, offset)[0]

    def heads(self):
        """Where the head of the queue was seen while a full queue was carried out."""
        first = self.word(self.params[10])  # sq_off.head
        struct.pack_into("I", self.queues, self.params[11], (first + ENTRIES) & 0xFFFFFFFF)  # sq_off.tail
        if self.word(self.params[14]) & NEED_WAKEUP:  # sq_off.flags
            libc.syscall(ENTER, self.ring, 0, 0, SQ_WAKEUP, None, 0)
        seen = set()
        while (head := self.word(self.params[10]) - first) < ENTRIES:
            seen.add(head)
        # The completions are given back: cq_off.head goes where cq_off.tail is.
        struct.pack_into("I", self.queues, self.params[20], self.word(self.params[21]))
        return seen

def step(ring):
    """By how much the head moves: what all its places are multiples of."""
    seen = set().union(*(ring.heads() for _ in range(TRIES))) - {0}
    return min((head & -head for head in seen), default=ENTRIES)

ring = Ring()
alone = step(ring)
beside = Ring(ring)
shared = step(ring)
print(f"alone: by {alone}; with an idle ring beside it: by {shared}")
sys.exit((alone, shared) != (ENTRIES, 8))
PYTHON
