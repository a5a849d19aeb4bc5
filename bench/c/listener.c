#define _GNU_SOURCE
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "fail.h"

/* More connections than this are not measured, and the tables are indexed by descriptor. */
#define DESCRIPTORS_MAX 65536u

int listener_open(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail(errno, "cannot create a socket");
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        fail(errno, "cannot listen on 127.0.0.1");
    return fd;
}

void listener_announce(int fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        fail(errno, "cannot read the port");
    printf("%u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
}

void connection_no_delay(int fd)
{
    const int one = 1;
    /* Fails only when the peer is gone already, which the next receive reports. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

unsigned descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(errno, "cannot read the limit of open files");
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(errno, "cannot raise the limit of open files");
    return (unsigned)limit.rlim_cur;
}
