/* A ring that is restricted does what the table says, and the kernel refuses it everything else. */
#include "nl_allowed.h"
#include "nl_older.h"
#include "support.h"

#define REGISTRATIONS 64 /* more than any kernel knows */

static void open_restricted(struct nl_ring *ring)
{
    CHECK_EQUAL(nl_ring_setup(ring, real_sys(), 4, 8, 0), 0);
    CHECK(!ring->restricted);
    CHECK_EQUAL(nl_ring_restrict(ring), 0);
    CHECK(ring->restricted);
    CHECK_EQUAL(nl_ring_enable(ring), 0);
}

static bool lists(const struct nl_allowed *table, unsigned number)
{
    for (; table->name; table++)
        if (table->number == number)
            return true;
    return false;
}

/* The last operation that the kernel knows. */
static unsigned last_operation(void)
{
    struct nl_ring ring;
    struct io_uring_probe probe = {0};
    open_ring(&ring, 4, 8);
    CHECK(nl_ring_control(&ring, IORING_REGISTER_PROBE, &probe, 0) >= 0);
    nl_ring_close(&ring);
    return probe.last_op;
}

CASE(an_operation_is_refused_if_and_only_if_it_is_not_listed)
{
    struct nl_ring ring;
    struct io_uring_cqe cqe, notice;
    unsigned last = last_operation(), listed = 0;
    open_restricted(&ring);
    for (unsigned operation = 0; operation <= last; operation++) {
        bool allowed = lists(nl_allowed_operations, operation);
        listed += allowed;
        /* On no file: what is allowed fails too, for its own reason. */
        nl_prep(next_sqe(&ring), operation, NOBODY, NULL, 0, 0, operation + 1);
        next_completion(&ring, &cqe);
        CHECK_EQUAL(cqe.user_data, operation + 1);
        CHECK_EQUAL(cqe.res == -EACCES, !allowed);
        /* A send without a copy completes once more, even if it has failed. */
        if (cqe.flags & IORING_CQE_F_MORE)
            next_completion(&ring, &notice);
    }
    CHECK(listed > 10);
    nl_prep(next_sqe(&ring), last + 1, NOBODY, NULL, 0, 0, 1);
    CHECK_EQUAL(next_result(&ring, 1), -EINVAL);
    nl_ring_close(&ring);
}

CASE(a_flag_is_refused_if_and_only_if_it_is_not_listed)
{
    struct nl_ring ring;
    open_restricted(&ring);
    for (unsigned bit = 0; bit < 7; bit++) {
        struct io_uring_sqe *sqe = next_sqe(&ring);
        nl_prep(sqe, IORING_OP_NOP, NOBODY, NULL, 0, 0, bit + 1);
        sqe->flags = (uint8_t)(1U << bit);
        bool allowed = lists(nl_allowed_flags, 1U << bit);
        if (allowed && sqe->flags == IOSQE_CQE_SKIP_SUCCESS)
            expect_no_completion(&ring);
        else
            CHECK_EQUAL(next_result(&ring, bit + 1) == -EACCES, !allowed);
    }
    nl_ring_close(&ring);
}

CASE(a_refused_operation_leaves_those_around_it_alone)
{
    struct nl_ring ring;
    struct io_uring_cqe cqe;
    int32_t results[4] = {1, 1, 1, 1};
    open_restricted(&ring);
    add_nop(&ring, 1);
    nl_prep(next_sqe(&ring), IORING_OP_SOCKET, nl_descriptor(AF_INET), NULL, 0, SOCK_STREAM, 2);
    add_nop(&ring, 3);
    for (unsigned seen = 0; seen < 3; seen++) {
        next_completion(&ring, &cqe);
        results[cqe.user_data] = cqe.res;
    }
    CHECK_EQUAL(results[1], 0);
    CHECK_EQUAL(results[2], -EACCES);
    CHECK_EQUAL(results[3], 0);
    nl_ring_close(&ring);
}

CASE(a_registration_is_refused_if_and_only_if_it_is_not_listed)
{
    struct nl_ring ring;
    unsigned refused = 0;
    open_restricted(&ring);
    for (unsigned number = 0; number < REGISTRATIONS; number++) {
        /* Without an argument, what is allowed fails for that reason. What no kernel knows is EINVAL. */
        int result = nl_ring_control(&ring, number, NULL, 0);
        if (lists(nl_allowed_registrations, number))
            CHECK(result < 0 && result != -EACCES);
        else
            CHECK(result == -EACCES || result == -EINVAL);
        refused += result == -EACCES;
    }
    CHECK(refused > 15);
    CHECK_EQUAL(nl_ring_control(&ring, IORING_REGISTER_PERSONALITY, NULL, 0), -EACCES);
    nl_ring_close(&ring);
}

CASE(the_restrictions_are_for_good)
{
    struct nl_ring ring;
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 4, 8, 0), 0);
    CHECK_EQUAL(nl_ring_restrict(&ring), 0);
    CHECK_EQUAL(nl_ring_restrict(&ring), -EBUSY);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    CHECK_EQUAL(nl_ring_restrict(&ring), -EACCES);
    CHECK(ring.restricted);
    nl_ring_close(&ring);
}

CASE(what_is_opened_before_and_after_works)
{
    struct nl_ring ring;
    int32_t result;
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 4, 8, 0), 0);
    CHECK_EQUAL(nl_ring_restrict(&ring), 0);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    nl_ring_register_fd(&ring);
    CHECK(ring.enter_flags != 0);
    add_nop(&ring, 1);
    CHECK_EQUAL(nl_ring_call(&ring, 1, &result), 0);
    nl_ring_unregister_fd(&ring);
    CHECK_EQUAL(ring.enter_flags, 0);
    add_nop(&ring, 2);
    CHECK_EQUAL(next_result(&ring, 2), 0);
    nl_ring_close(&ring);
}

CASE(where_restrictions_are_refused_the_ring_does_without)
{
    struct nl_older older;
    struct nl_ring ring;
    nl_older_init(&older, NL_LACKS_RESTRICTIONS, 0);
    CHECK_EQUAL(nl_ring_setup(&ring, &older.sys, 4, 8, 0), 0);
    CHECK_EQUAL(nl_ring_restrict(&ring), -EINVAL);
    CHECK(!ring.restricted);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    nl_prep(next_sqe(&ring), IORING_OP_SOCKET, nl_descriptor(AF_INET), NULL, 0, SOCK_STREAM, 1);
    int made = next_result(&ring, 1);
    CHECK(made >= 0);
    close(made);
    nl_ring_close(&ring);
}

CASE(a_failure_of_either_call_is_told)
{
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct nl_fault fault;
        struct nl_ring ring;
        nl_fault_init(&fault, NL_CALL_CONTROL, nth, EPERM);
        CHECK_EQUAL(nl_ring_setup(&ring, &fault.sys, 4, 8, 0), 0);
        CHECK_EQUAL(nl_ring_restrict(&ring), -EPERM);
        CHECK_EQUAL(fault.calls, nth);
        CHECK(!ring.restricted);
        CHECK_EQUAL(nl_ring_enable(&ring), 0);
        add_nop(&ring, 1);
        CHECK_EQUAL(next_result(&ring, 1), 0);
        nl_ring_close(&ring);
    }
}

/* A kernel that knows fewer operations than netloop uses, and refuses all restrictions if one of them is unknown. */
#define LAST_KNOWN IORING_OP_SENDMSG_ZC

static unsigned operations_named;

static int control_of_old_kernel(struct nl_sys *sys, int fd, unsigned opcode, const void *arg, unsigned count)
{
    const struct io_uring_restriction *entries = arg;
    struct nl_sys real;
    (void)sys;
    nl_sys_real(&real);
    if (opcode == IORING_REGISTER_PROBE) {
        ((struct io_uring_probe *)(uintptr_t)arg)->last_op = LAST_KNOWN;
        return 0;
    }
    for (unsigned i = 0; opcode == IORING_REGISTER_RESTRICTIONS && i < count; i++) {
        if (entries[i].opcode != IORING_RESTRICTION_SQE_OP)
            continue;
        if (entries[i].sqe_op > LAST_KNOWN)
            return -EINVAL;
        operations_named++;
    }
    return real.control(&real, fd, opcode, arg, count);
}

CASE(operations_that_the_kernel_does_not_know_are_not_named)
{
    struct nl_sys sys;
    struct nl_ring ring;
    unsigned known = 0, newer = 0;
    for (const struct nl_allowed *each = nl_allowed_operations; each->name; each++) {
        known += each->number <= LAST_KNOWN;
        newer += each->number > LAST_KNOWN;
    }
    CHECK(newer > 0);
    nl_sys_real(&sys);
    sys.control = control_of_old_kernel;
    CHECK_EQUAL(nl_ring_setup(&ring, &sys, 4, 8, 0), 0);
    CHECK_EQUAL(nl_ring_restrict(&ring), 0);
    CHECK_EQUAL(operations_named, known);
    nl_ring_close(&ring);
}
