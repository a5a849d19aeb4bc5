#include "nl_allowed.h"

#define OPERATION(name) {IORING_OP_##name, #name}
#define NEWER(name) {NL_OP_##name, #name} /* than the headers that netloop is built with */
#define FLAG(name) {IOSQE_##name, #name}
#define REGISTRATION(name) {IORING_##name, #name}

const struct nl_allowed nl_allowed_operations[] = {
    OPERATION(NOP), /* in the place of an entry that is withdrawn */
    OPERATION(SENDMSG),
    OPERATION(RECVMSG),
    OPERATION(POLL_ADD),
    OPERATION(WRITEV),
    OPERATION(ACCEPT),
    OPERATION(ASYNC_CANCEL),
    OPERATION(CONNECT),
    OPERATION(CLOSE),
    OPERATION(READ),
    OPERATION(WRITE),
    OPERATION(SEND),
    OPERATION(RECV),
    OPERATION(SHUTDOWN),
    OPERATION(URING_CMD),
    OPERATION(SEND_ZC),
    OPERATION(SENDMSG_ZC),
    NEWER(READ_MULTISHOT),
    NEWER(FIXED_FD_INSTALL),
    {0, NULL},
};

const struct nl_allowed nl_allowed_flags[] = {
    FLAG(FIXED_FILE),
    FLAG(BUFFER_SELECT),
    FLAG(CQE_SKIP_SUCCESS),
    {0, NULL},
};

/*
 * Of a ring that is enabled; before, everything may be registered. None is younger than Linux 6.1: a kernel that does
 * not know one of them would refuse all restrictions.
 */
const struct nl_allowed nl_allowed_registrations[] = {
    REGISTRATION(REGISTER_FILES2),
    REGISTRATION(REGISTER_FILES_UPDATE),
    REGISTRATION(REGISTER_BUFFERS2),
    REGISTRATION(REGISTER_BUFFERS_UPDATE),
    REGISTRATION(REGISTER_RING_FDS),
    REGISTRATION(UNREGISTER_RING_FDS),
    REGISTRATION(REGISTER_PBUF_RING),
    REGISTRATION(UNREGISTER_PBUF_RING),
    {0, NULL},
};

#define COUNT(table) (sizeof(table) / sizeof(*(table)))
/* Each operation and registration, and one more for all flags; the ends of the tables leave room for that. */
#define ENTRIES (COUNT(nl_allowed_operations) + COUNT(nl_allowed_registrations))

struct restrictions {
    struct io_uring_restriction entries[ENTRIES];
    unsigned count;
};

static void add(struct restrictions *restrictions, unsigned kind, unsigned number)
{
    struct io_uring_restriction *entry = &restrictions->entries[restrictions->count++];
    *entry = (struct io_uring_restriction){.opcode = (uint16_t)kind, .register_op = (uint8_t)number};
}

static void fill(struct restrictions *restrictions, unsigned last_operation)
{
    unsigned flags = 0;
    for (const struct nl_allowed *each = nl_allowed_operations; each->name; each++)
        /* One that the kernel does not know it refuses anyway. */
        if (each->number <= last_operation)
            add(restrictions, IORING_RESTRICTION_SQE_OP, each->number);
    for (const struct nl_allowed *each = nl_allowed_registrations; each->name; each++)
        add(restrictions, IORING_RESTRICTION_REGISTER_OP, each->number);
    for (const struct nl_allowed *each = nl_allowed_flags; each->name; each++)
        flags |= each->number;
    add(restrictions, IORING_RESTRICTION_SQE_FLAGS_ALLOWED, flags);
}

int nl_ring_restrict(struct nl_ring *ring)
{
    struct restrictions restrictions = {.count = 0};
    struct io_uring_probe kernel = {0};
    /* With room for no operation, it tells only the number of the last one. */
    int error = nl_ring_control(ring, IORING_REGISTER_PROBE, &kernel, 0);
    if (error < 0)
        return error;
    fill(&restrictions, kernel.last_op);
    error = nl_ring_control(ring, IORING_REGISTER_RESTRICTIONS, restrictions.entries, restrictions.count);
    if (error < 0)
        return error;
    ring->restricted = 1;
    return 0;
}
