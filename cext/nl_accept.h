/*
 * What is asked of listening sockets, and of the connections they accept, by system calls beside the ring.
 */
#ifndef NL_ACCEPT_H
#define NL_ACCEPT_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* How many connections wait in a TCP socket's queue, and how many may; 1, and 0, if the kernel does not say. */
static inline unsigned nl_accept_queue(int fd, unsigned *limit)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);
    *limit = 0;
    /* Of a listening socket these fields hold the length of the queue and its limit. */
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) || size < sizeof(info))
        return 1;
    *limit = info.tcpi_sacked;
    return info.tcpi_unacked;
}

/* Accept without waiting, into a descriptor; on kernels where the ring cannot. Returns the descriptor, or -errno. */
static inline int nl_accept_now(int fd, struct sockaddr *address, socklen_t *length)
{
    int descriptor = accept4(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

/* Ask for the name of a socket, and close the descriptor. Returns 0 or an errno. */
static inline int nl_name_of(int descriptor, struct sockaddr *address, socklen_t *length)
{
    int error = getsockname(descriptor, address, length) ? errno : 0;
    close(descriptor);
    return error;
}

#endif
