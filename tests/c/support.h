/* What the tests that use a real ring share: opening one, waiting for its completions, sockets, descriptors. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "nl_prep.h"
#include "nl_ring.h"
#include "nl_token.h"

#define SECOND 1000000000LL
#define PATIENCE (5 * SECOND) /* how long a completion that must come may take */
#define NOBODY nl_descriptor(-1)

OUT_OF_LINE struct nl_sys *real_sys(void)
{
    static struct nl_sys sys;
    nl_sys_real(&sys);
    return &sys;
}

OUT_OF_LINE void open_ring(struct nl_ring *ring, unsigned sq_entries, unsigned cq_entries)
{
    CHECK_EQUAL(nl_ring_setup(ring, real_sys(), sq_entries, cq_entries, 0), 0);
    CHECK_EQUAL(nl_ring_enable(ring), 0);
}

/* An entry to write, after making room for it. */
OUT_OF_LINE struct io_uring_sqe *next_sqe(struct nl_ring *ring)
{
    while (!nl_ring_space(ring))
        CHECK(nl_ring_enter(ring, 0, 0) > 0);
    return nl_ring_sqe(ring);
}

OUT_OF_LINE void add_nop(struct nl_ring *ring, uint64_t token)
{
    nl_prep(next_sqe(ring), IORING_OP_NOP, NOBODY, NULL, 0, 0, token);
}

/* The next completion that is somebody's; it must come. */
OUT_OF_LINE void next_completion(struct nl_ring *ring, struct io_uring_cqe *cqe)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        while (nl_ring_next(ring, cqe))
            if (cqe->user_data != NL_TOKEN_NONE)
                return;
        CHECK(nl_ring_enter(ring, 1, PATIENCE) >= 0);
    }
    CHECK(!"a completion came in time");
}

/* The next completion, which must be the one with this token; returns its result. */
OUT_OF_LINE int32_t next_result(struct nl_ring *ring, uint64_t token)
{
    struct io_uring_cqe cqe;
    next_completion(ring, &cqe);
    CHECK_EQUAL(cqe.user_data, token);
    return cqe.res;
}

/* Submit what is written and check that nothing completes. */
OUT_OF_LINE void expect_no_completion(struct nl_ring *ring)
{
    CHECK(nl_ring_enter(ring, 0, 0) >= 0);
    CHECK_EQUAL(nl_ring_ready(ring), 0);
}

OUT_OF_LINE unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* A figure of /proc/self/status in KiB, such as "VmPin:". */
OUT_OF_LINE long status_kib(const char *name)
{
    char line[256];
    long value = -1;
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof(line), status))
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtol(line + strlen(name), NULL, 10);
    fclose(status);
    CHECK(value >= 0);
    return value;
}

OUT_OF_LINE int listen_on_loopback(struct sockaddr_in *address)
{
    socklen_t length = sizeof(*address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0);
    CHECK_EQUAL(bind(listener, (struct sockaddr *)address, sizeof(*address)), 0);
    CHECK_EQUAL(listen(listener, 64), 0);
    CHECK_EQUAL(getsockname(listener, (struct sockaddr *)address, &length), 0);
    return listener;
}

/* A connected client; the kernel completes the handshake before anybody accepts. */
OUT_OF_LINE int connect_to(const struct sockaddr_in *address)
{
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    CHECK(client >= 0);
    CHECK_EQUAL(connect(client, (const struct sockaddr *)address, sizeof(*address)), 0);
    CHECK_EQUAL(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
    return client;
}

OUT_OF_LINE void tcp_pair(int pair[2])
{
    struct sockaddr_in address;
    int listener = listen_on_loopback(&address);
    pair[0] = connect_to(&address);
    pair[1] = accept(listener, NULL, NULL);
    CHECK(pair[1] >= 0);
    close(listener);
}

OUT_OF_LINE void unix_pair(int pair[2])
{
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

OUT_OF_LINE void close_pair(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

/* Everything in flight on the ring is cancelled and its completions are thrown away. */
OUT_OF_LINE void cancel_everything(struct nl_ring *ring)
{
    struct io_uring_cqe cqe;
    nl_prep_cancel_all(next_sqe(ring), UINT64_MAX);
    do
        next_completion(ring, &cqe);
    while (cqe.user_data != UINT64_MAX);
    CHECK(nl_ring_enter(ring, 0, 0) >= 0);
    while (nl_ring_next(ring, &cqe))
        ;
}

#endif
