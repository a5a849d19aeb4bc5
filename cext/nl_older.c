#include "nl_older.h"

#include <errno.h>

#include "nl_ring.h"

/* Numbers that no kernel knows. */
#define UNKNOWN_OPERATION 255
#define UNKNOWN_ACCEPT_FLAG (1U << 14)
#define UNKNOWN_COMMAND 0xffffU

static int older_setup(struct nl_sys *sys, unsigned entries, struct io_uring_params *params)
{
    struct nl_older *older = (struct nl_older *)sys;
    if (params->flags & older->unknown_flags)
        return -EINVAL;
    struct nl_sys real;
    nl_sys_real(&real);
    return real.setup(&real, entries, params);
}

/* That files go late cannot be pretended, only that it is found: the trial is what updates the table. */
static int older_control(struct nl_sys *sys, int fd, unsigned opcode, const void *arg, unsigned count)
{
    struct nl_older *older = (struct nl_older *)sys;
    if ((opcode == IORING_REGISTER_FILES_UPDATE && older->lacking & NL_LACKS_RELEASE) ||
        (opcode == IORING_REGISTER_RESTRICTIONS && older->lacking & NL_LACKS_RESTRICTIONS))
        return -EINVAL;
    if (opcode == NL_REGISTER_NAPI && older->lacking & NL_LACKS_NAPI)
        return -EINVAL;
    struct nl_sys real;
    nl_sys_real(&real);
    return real.control(&real, fd, opcode, arg, count);
}

/* The kernel then answers as the older one would: EINVAL, or EOPNOTSUPP to a command. */
static void make_unknown(struct io_uring_sqe *sqe, unsigned lacking)
{
    if ((sqe->opcode == NL_OP_FIXED_FD_INSTALL && lacking & NL_LACKS_INSTALL) ||
        (sqe->opcode == NL_OP_READ_MULTISHOT && lacking & NL_LACKS_READ_MULTISHOT))
        sqe->opcode = UNKNOWN_OPERATION;
    if (sqe->opcode == IORING_OP_ACCEPT && sqe->ioprio & NL_ACCEPT_DONTWAIT && lacking & NL_LACKS_ACCEPT_NOW)
        sqe->ioprio |= UNKNOWN_ACCEPT_FLAG;
    if (sqe->opcode != IORING_OP_URING_CMD)
        return;
    if (sqe->off == NL_SOCKET_GETSOCKNAME ? lacking & NL_LACKS_NAMES : lacking & NL_LACKS_OPTIONS)
        sqe->off = UNKNOWN_COMMAND;
}

static void older_review(struct nl_sys *sys, struct nl_ring *ring)
{
    struct nl_older *older = (struct nl_older *)sys;
    for (unsigned i = ring->sqe_tail - nl_ring_unsubmitted(ring); i != ring->sqe_tail; i++)
        make_unknown(&ring->sqes[i & ring->sq_mask], older->lacking);
}

void nl_older_init(struct nl_older *older, unsigned lacking, unsigned unknown_flags)
{
    nl_sys_real(&older->sys);
    older->sys.setup = older_setup;
    older->sys.control = older_control;
    older->sys.review = older_review;
    older->lacking = lacking;
    older->unknown_flags = unknown_flags;
}
