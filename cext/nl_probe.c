#include "nl_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nl_allowed.h"
#include "nl_buffers.h"
#include "nl_files.h"
#include "nl_prep.h"
#include "nl_registered.h"
#include "nl_token.h"

/* The token of every trial: one is over before the next begins. */
#define TRIAL nl_token(NL_CALL_SLOT, 1, NL_COMMAND, 0)

static int probe_operations(struct nl_probe *probe, struct nl_ring *ring)
{
    size_t bytes = sizeof(struct io_uring_probe) + NL_OPS_KNOWN * sizeof(struct io_uring_probe_op);
    struct io_uring_probe *answer = calloc(1, bytes);
    if (!answer)
        return -ENOMEM;
    int error = nl_ring_control(ring, IORING_REGISTER_PROBE, answer, NL_OPS_KNOWN);
    for (unsigned op = 0; error >= 0 && op < answer->ops_len && op < NL_OPS_KNOWN; op++)
        probe->operations[op] = answer->ops[op].flags & IO_URING_OP_SUPPORTED;
    free(answer);
    return error < 0 ? error : 0;
}

static void probe_registrations(struct nl_probe *probe, struct nl_ring *ring)
{
    struct nl_files files;
    probe->fixed_files = nl_files_open(&files, ring, 4, 0) == 0;
    nl_files_close(&files);

    static unsigned char memory[64];
    struct nl_registered table = {0};
    int index = nl_registered_add(&table, ring, memory, sizeof(memory));
    probe->registered_buffers = index >= 0;
    if (index >= 0)
        nl_registered_remove(&table, ring, (unsigned)index);

    probe->busy_polling = nl_ring_busy_poll(ring, 1) == 0;

    nl_ring_register_fd(ring);
    probe->registered_rings = ring->enter_flags != 0;
    nl_ring_unregister_fd(ring);
}

/* Ask on a socket that has no connection. */
static void try_commands(struct nl_probe *probe, struct nl_ring *ring)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int32_t result;
    int on = 1, sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return;
    nl_prep_sockopt(nl_ring_sqe(ring), nl_descriptor(sock), NL_SOCKET_SETSOCKOPT, SOL_SOCKET, SO_KEEPALIVE, &on,
                    sizeof(on), TRIAL);
    probe->sets_options = !nl_ring_call(ring, TRIAL, &result) && result == 0;
    nl_prep_getsockname(nl_ring_sqe(ring), nl_descriptor(sock), (struct sockaddr *)&address, &length, 0, TRIAL);
    probe->tells_names = !nl_ring_call(ring, TRIAL, &result) && result == 0;
    close(sock);
}

/* Ask of a file that is not there: who knows the flag answers EBADF, who does not EINVAL. */
static void try_accept(struct nl_probe *probe, struct nl_ring *ring)
{
    int32_t result;
    nl_prep_accept(nl_ring_sqe(ring), nl_descriptor(-1), NULL, NULL, -1, NL_ACCEPT_DONTWAIT, TRIAL);
    probe->accepts_now = !nl_ring_call(ring, TRIAL, &result) && result == -EBADF;
}

/* With a poll of the reading end of a pipe under way, is the writing end gone as soon as nobody refers to it? */
static int goes_at_once(struct nl_ring *ring, int *pipe)
{
    struct pollfd reader = {.fd = pipe[0]};
    int32_t result;
    int error = nl_files_put(ring, 0, pipe[0]);
    if (!error)
        error = nl_files_put(ring, 1, pipe[1]);
    if (error)
        return error;
    close(pipe[1]);
    pipe[1] = -1;
    nl_prep_poll(nl_ring_sqe(ring), nl_fixed_file(0), POLLIN, TRIAL);
    error = nl_ring_call(ring, TRIAL, &result);
    /* It has begun, and there is nothing to be read. */
    if (error == -EAGAIN)
        error = nl_files_put(ring, 1, -1);
    return error ? error : poll(&reader, 1, 0) == 1 && reader.revents & POLLHUP;
}

int nl_probe_release(struct nl_sys *sys, unsigned flags)
{
    struct nl_ring ring;
    struct nl_files files;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return -errno;
    int result = nl_ring_setup(&ring, sys, 4, 8, flags);
    if (!result) {
        result = nl_files_open(&files, &ring, 2, 0);
        if (!result) {
            result = nl_ring_enable(&ring);
            if (!result)
                result = goes_at_once(&ring, ends);
            nl_files_close(&files);
        }
        nl_ring_close(&ring);
    }
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    return result;
}

int nl_probe_run(struct nl_probe *probe, struct nl_sys *sys)
{
    memset(probe, 0, sizeof(*probe));
    int error = nl_ring_probe_flags(sys, &probe->setup_flags);
    if (error)
        return error;
    struct nl_ring ring;
    error = nl_ring_setup(&ring, sys, 4, 8, probe->setup_flags);
    if (error)
        return error;
    probe->features = ring.features;
    error = probe_operations(probe, &ring);
    struct nl_buffers buffers;
    if (!error) {
        probe_registrations(probe, &ring);
        probe->buffer_groups = nl_buffers_open(&buffers, &ring, 0, 4096, 1, 1) == 0;
        /* From here on, what is tried is tried under them, as a loop does it. */
        probe->restrictions = nl_ring_restrict(&ring) == 0;
        if (nl_ring_enable(&ring) == 0) {
            try_accept(probe, &ring);
            try_commands(probe, &ring);
        }
    }
    nl_ring_close(&ring);
    if (probe->buffer_groups)
        nl_buffers_close(&buffers);
    if (error)
        return error;
    int released = nl_probe_release(sys, probe->setup_flags);
    probe->releases_files = released == 1;
    return released == -ENOMEM ? -ENOMEM : 0;
}
