/* Every system call of a ring's life fails once, in turn: each failure is told, and nothing is left behind. */
#include "nl_buffers.h"
#include "nl_files.h"
#include "nl_pool.h"
#include "nl_probe.h"
#include "nl_registered.h"
#include "support.h"

/* Everything a loop holds, opened in the order in which a loop opens it. */
struct session {
    struct nl_ring ring;
    struct nl_files files;
    struct nl_buffers buffers;
    struct nl_pool pool;
    struct nl_registered registered;
};

static int open_session(struct session *session, struct nl_sys *sys)
{
    memset(session, 0, sizeof(*session));
    int error = nl_ring_setup(&session->ring, sys, 8, 16, 0);
    if (error)
        return error;
    error = nl_ring_enable(&session->ring);
    if (error)
        return error;
    nl_ring_register_fd(&session->ring);
    error = nl_files_open(&session->files, &session->ring, 8, 0);
    if (error)
        return error;
    error = nl_buffers_open(&session->buffers, &session->ring, 0, 256, 2, 4);
    if (error)
        return error;
    error = nl_pool_open(&session->pool, NULL, 2, 4096);
    if (error)
        return error;
    error = nl_pool_serve(&session->pool, &session->ring, 1);
    if (error)
        return error;
    int index = nl_registered_add(&session->registered, &session->ring, session->pool.memory, 2 * 4096);
    return index < 0 ? index : 0;
}

static void close_session(struct session *session)
{
    nl_registered_remove(&session->registered, &session->ring, 0);
    nl_ring_close(&session->ring);
    nl_pool_close(&session->pool);
    nl_buffers_close(&session->buffers);
    nl_files_close(&session->files);
}

/* A connection whose data comes in two parts. Errors of an enter are told, and the enter is tried again. */
static unsigned receive_twice(struct session *session, int error)
{
    struct io_uring_cqe cqe;
    int pair[2];
    unsigned failures = 0, received = 0;
    bool armed = false;
    unix_pair(pair);
    CHECK_EQUAL(write(pair[1], "a", 1), 1);
    for (unsigned attempt = 0; received < 2; attempt++) {
        CHECK(attempt < 20);
        if (!armed)
            nl_prep_recv_multishot(nl_ring_sqe(&session->ring), nl_descriptor(pair[0]), 0, 1);
        armed = true;
        int result = nl_ring_enter(&session->ring, 1, PATIENCE);
        if (result < 0) {
            CHECK_EQUAL(result, -error);
            failures++;
        }
        while (nl_ring_next(&session->ring, &cqe)) {
            CHECK_EQUAL(cqe.res, 1);
            CHECK_EQUAL(*nl_buffers_take(&session->buffers, cqe.flags), received ? 'b' : 'a');
            nl_buffers_give(&session->buffers, cqe.flags);
            armed = cqe.flags & IORING_CQE_F_MORE;
            if (!received++)
                CHECK_EQUAL(write(pair[1], "b", 1), 1);
        }
    }
    close_pair(pair);
    return failures;
}

/* Fail the first, second, third ... watched call until there is none left to fail; says how many there were. */
static unsigned fail_each(unsigned watched, int error)
{
    unsigned descriptors = count_descriptors(), told = 0;
    long pinned = status_kib("VmPin:");
    for (uint64_t nth = 1;; nth++) {
        struct nl_fault fault;
        struct session session;
        CHECK(nth < 100);
        nl_fault_init(&fault, watched, nth, error);
        int result = open_session(&session, &fault.sys);
        if (result)
            CHECK_EQUAL(result, -error);
        else
            told += receive_twice(&session, error);
        told += result != 0;
        close_session(&session);
        CHECK_EQUAL(count_descriptors(), descriptors);
        if (fault.calls < nth) {
            /* Closing the ring gives its pinned pages back, a little later. */
            for (unsigned wait = 0; wait < 500 && status_kib("VmPin:") != pinned; wait++)
                usleep(10000);
            CHECK_EQUAL(status_kib("VmPin:"), pinned);
            return told;
        }
    }
}

CASE(a_failing_setup_is_told_and_leaves_nothing)
{
    CHECK_EQUAL(fail_each(NL_CALL_SETUP, EPERM), 1);
    CHECK_EQUAL(fail_each(NL_CALL_SETUP, ENOMEM), 1);
    CHECK_EQUAL(fail_each(NL_CALL_SETUP, EMFILE), 1);
    /* This one only starts the search for flags that work. */
    CHECK_EQUAL(fail_each(NL_CALL_SETUP, EINVAL), 0);
}

CASE(a_failing_enter_is_told_and_loses_nothing)
{
    /* Setting up needs no enter; at least one is needed to receive. */
    CHECK(fail_each(NL_CALL_ENTER, ENOMEM) >= 1);
    CHECK(fail_each(NL_CALL_ENTER, EINTR) >= 1);
    CHECK(fail_each(NL_CALL_ENTER, EBUSY) >= 1);
}

CASE(a_failing_registration_is_told_and_leaves_nothing)
{
    /* Enabling, the files, the buffers, the pool, the table of pinned memory and its entry. A refused ring descriptor costs
       only speed. */
    CHECK_EQUAL(fail_each(NL_CALL_CONTROL, ENOMEM), 6);
    CHECK_EQUAL(fail_each(NL_CALL_CONTROL, EPERM), 6);
}

CASE(any_call_can_fail)
{
    CHECK(fail_each(NL_CALL_ANY, ENFILE) >= 6);
}

CASE(a_failure_during_the_search_for_flags_is_told)
{
    unsigned before = count_descriptors();
    for (uint64_t nth = 1; nth <= 7; nth++) {
        struct nl_fault fault;
        unsigned flags;
        nl_fault_init(&fault, NL_CALL_SETUP, nth, EMFILE);
        CHECK_EQUAL(nl_ring_probe_flags(&fault.sys, &flags), -EMFILE);
        CHECK_EQUAL(count_descriptors(), before);
    }
}

CASE(a_refused_flag_is_left_out_and_the_others_are_found)
{
    for (uint64_t nth = 2; nth <= 7; nth++) {
        struct nl_fault fault;
        struct nl_ring ring;
        unsigned flags = 0;
        nl_fault_init(&fault, NL_CALL_SETUP, nth, EINVAL);
        CHECK_EQUAL(nl_ring_probe_flags(&fault.sys, &flags), 0);
        CHECK(flags & IORING_SETUP_R_DISABLED);
        CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 4, 8, flags), 0);
        CHECK_EQUAL(ring.setup_flags, flags);
        CHECK_EQUAL(nl_ring_enable(&ring), 0);
        add_nop(&ring, 1);
        CHECK_EQUAL(next_result(&ring, 1), 0);
        nl_ring_close(&ring);
    }
}

CASE(the_probe_survives_any_failure)
{
    unsigned before = count_descriptors();
    for (uint64_t nth = 1;; nth++) {
        struct nl_fault fault;
        struct nl_probe probe;
        CHECK(nth < 100);
        nl_fault_init(&fault, NL_CALL_ANY, nth, ENOMEM);
        int result = nl_probe_run(&probe, &fault.sys);
        CHECK_EQUAL(count_descriptors(), before);
        if (fault.calls < nth) {
            CHECK_EQUAL(result, 0);
            return;
        }
        /* What cannot be asked counts as absent; a failure of what everything needs is told. */
        if (result)
            CHECK_EQUAL(result, -ENOMEM);
        else
            CHECK(probe.fixed_files + probe.buffer_groups + probe.registered_buffers + probe.registered_rings >= 3);
    }
}

CASE(the_shim_counts_only_the_calls_it_watches)
{
    struct nl_fault fault;
    struct nl_ring ring;
    nl_fault_init(&fault, NL_CALL_ENTER, 2, EINTR);
    CHECK_EQUAL(nl_ring_setup(&ring, &fault.sys, 4, 8, 0), 0);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    CHECK_EQUAL(fault.calls, 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), -EINTR);
    CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), 0);
    CHECK_EQUAL(fault.calls, 3);
    CHECK_EQUAL(ring.counters.enters, 3);
    CHECK_EQUAL(ring.counters.interrupted, 1);
    nl_ring_close(&ring);
}
