#!/usr/bin/env bash
# Linux 6.18, and alike Debian's 6.1 (SENDMSG only), 6.12 and 7.3: io_uring's SEND and SENDMSG lose what they are to send
# to an AF_UNIX datagram socket whose queue is full (net.unix.max_dgram_qlen). The first, non-blocking attempt takes the
# bytes from the request before it finds the queue full, and the attempt after the wait goes on where the first one
# ended: the receiver gets an empty datagram, and the request completes with 0. send(2) waits and sends all of it, and so
# does WRITE through the ring, which winds the request back. With MSG_DONTWAIT the request fails with EAGAIN at once, and
# nothing is lost. Socket pairs are not concerned: they are bounded by bytes, not by the number of datagrams.
#
# Seen, of 5 bytes: "SEND 0, received b''; SENDMSG 0, received b''; WRITE 5, received b'hello'". Exits with 1 if that
# changes.
set -euo pipefail
python3 - <<'PYTHON'
import ctypes, mmap, platform, socket, struct, sys, time

SETUP, ENTER = 425, 426  # io_uring_setup(2) and io_uring_enter(2), by number
GETEVENTS, SUBMISSIONS_AT = 1, 0x10000000
SENDMSG, WRITE, SEND = 9, 23, 26
libc = ctypes.CDLL(None, use_errno=True)

class Ring:
    """For one request."""

    def __init__(self):
        self.params = params = (ctypes.c_uint32 * 30)()
        self.ring = libc.syscall(SETUP, 1, ctypes.byref(params))
        if self.ring < 0:
            sys.exit(f"no ring: errno {ctypes.get_errno()}")
        self.queues = mmap.mmap(self.ring, mmap.PAGESIZE, offset=0)
        self.requests = mmap.mmap(self.ring, mmap.PAGESIZE, offset=SUBMISSIONS_AT)

    def submit(self, code, descriptor, address, length):
        struct.pack_into("BBHiQQI", self.requests, 0, code, 0, 0, descriptor, 0, address, length)
        struct.pack_into("I", self.queues, self.params[11], 1)  # sq_off.tail
        assert libc.syscall(ENTER, self.ring, 1, 0, 0, None, 0) == 1

    def result(self):
        """Of the request, or None while it has none."""
        libc.syscall(ENTER, self.ring, 0, 0, GETEVENTS, None, 0)
        (tail,) = struct.unpack_from("I", self.queues, self.params[21])  # cq_off.tail
        return struct.unpack_from("i", self.queues, self.params[25] + 8)[0] if tail else None  # cq_off.cqes

payload = ctypes.create_string_buffer(b"hello", 5)
vector = (ctypes.c_uint64 * 2)(ctypes.addressof(payload), 5)
message = (ctypes.c_uint64 * 7)(0, 0, ctypes.addressof(vector), 1, 0, 0, 0)

def delayed(code, address, length):
    """The result of a request that had to wait for room, and what was received."""
    ring = Ring()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind("")  # to a name that the kernel chooses
        receiver.setblocking(False)
        sender.connect(receiver.getsockname())
        before = 0
        try:
            while True:
                sender.send(b"before", socket.MSG_DONTWAIT)
                before += 1
        except BlockingIOError:
            pass
        ring.submit(code, sender.fileno(), address, length)
        time.sleep(0.1)
        assert ring.result() is None, "it did not wait"
        for _ in range(before):
            assert receiver.recv(100) == b"before"
        for _ in range(100):
            time.sleep(0.02)
            if ring.result() is not None:
                break
        return ring.result(), receiver.recv(100)

seen = [
    delayed(SEND, ctypes.addressof(payload), 5),
    delayed(SENDMSG, ctypes.addressof(message), 1),
    delayed(WRITE, ctypes.addressof(payload), 5),
]
told = (f"{name} {result}, received {got}" for name, (result, got) in zip(("SEND", "SENDMSG", "WRITE"), seen))
print(f"Linux {platform.release()}: " + "; ".join(told))
sys.exit(seen != [(0, b""), (0, b""), (5, b"hello")])
PYTHON
