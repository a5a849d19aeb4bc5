#include "nl_probe.h"

#include <errno.h>
#include <stdlib.h>

#include "nl_buffers.h"
#include "nl_files.h"
#include "nl_registered.h"

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

    struct nl_registered pool;
    probe->registered_buffers = nl_registered_open(&pool, ring, 1, 4096) == 0;
    nl_registered_close(&pool, ring);

    nl_ring_register_fd(ring);
    probe->registered_rings = ring->enter_flags != 0;
    nl_ring_unregister_fd(ring);
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
    }
    nl_ring_close(&ring);
    if (probe->buffer_groups)
        nl_buffers_close(&buffers);
    return error;
}
