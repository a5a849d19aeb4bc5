/*
 * The two ends of what wakes a loop: whatever is written to the one, the ring reads from the other.
 *
 * A pipe costs least. But a kernel that cannot be told to read a pipe without waiting (before Linux 6.4) has the ring's
 * reads done by a thread of its own, so that what was written is read some time later and not by the next
 * io_uring_enter(2). There it is a pair of sockets, which every kernel reads at once.
 */
#ifndef NL_WAKE_H
#define NL_WAKE_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8 /* <linux/fs.h>; C libraries before glibc 2.26 and musl 1.2.5 lack it and preadv2() */
#endif

/* Asks the kernel by a read from an empty pipe. */
static inline bool nl_reads_at_once(int pipe)
{
    char byte;
    struct iovec iovec = {.iov_base = &byte, .iov_len = 1};
    return syscall(SYS_preadv2, pipe, &iovec, 1UL, -1L, -1L, RWF_NOWAIT) == 0 || errno != EOPNOTSUPP;
}

/* Gives the end to read from and the end to write to, both closed by exec; 0, or -1 with errno set. */
static inline int nl_wake_ends(int *ends)
{
    if (pipe2(ends, O_CLOEXEC))
        return -1;
    if (nl_reads_at_once(ends[0]))
        return 0;
    close(ends[0]);
    close(ends[1]);
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
}

#endif
