/* Setting a ring up where the kernel refuses some of the flags that netloop wants. */
#include "nl_probe.h"
#include "support.h"

/* A kernel that does not know some set-up flags. */
struct old_kernel {
    struct nl_sys sys;
    struct nl_sys real;
    unsigned unknown;
    unsigned setups;
};

static int setup_on_old_kernel(struct nl_sys *sys, unsigned entries, struct io_uring_params *params)
{
    struct old_kernel *kernel = (struct old_kernel *)sys;
    kernel->setups++;
    if (params->flags & kernel->unknown)
        return -EINVAL;
    return kernel->real.setup(&kernel->real, entries, params);
}

static void init_old_kernel(struct old_kernel *kernel, unsigned unknown)
{
    nl_sys_real(&kernel->real);
    kernel->sys = kernel->real;
    kernel->sys.setup = setup_on_old_kernel;
    kernel->unknown = unknown;
    kernel->setups = 0;
}

/* Batches that wrap the queues around, and a receive that only an enter brings out. */
static void exercise(struct nl_ring *ring)
{
    uint64_t written = 0, seen = 0;
    int pair[2];
    char byte = 0;
    while (seen < 500) {
        for (unsigned i = 0; i < 3; i++)
            add_nop(ring, ++written);
        while (seen < written)
            CHECK_EQUAL(next_result(ring, ++seen), 0);
    }
    unix_pair(pair);
    nl_prep_recv(next_sqe(ring), nl_descriptor(pair[0]), &byte, 1, 0, 7);
    expect_no_completion(ring);
    CHECK_EQUAL(write(pair[1], "x", 1), 1);
    CHECK(nl_ring_needs_enter(ring) || nl_ring_ready(ring));
    CHECK_EQUAL(next_result(ring, 7), 1);
    close_pair(pair);
}

static void run_without(unsigned unknown, unsigned expected)
{
    struct old_kernel kernel;
    struct nl_ring ring;
    unsigned before = count_descriptors();
    init_old_kernel(&kernel, unknown);
    CHECK_EQUAL(nl_ring_setup(&ring, &kernel.sys, 4, 8, 0), 0);
    CHECK_EQUAL(ring.setup_flags & unknown, 0);
    CHECK_EQUAL(ring.setup_flags & expected, expected);
    CHECK_EQUAL(count_descriptors(), before + 1);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    exercise(&ring);
    nl_ring_close(&ring);
    CHECK_EQUAL(count_descriptors(), before);
}

CASE(the_wanted_flags_are_used_where_the_kernel_has_them)
{
    struct old_kernel kernel;
    struct nl_ring ring;
    init_old_kernel(&kernel, 0);
    CHECK_EQUAL(nl_ring_setup(&ring, &kernel.sys, 4, 8, 0), 0);
    CHECK_EQUAL(kernel.setups, 1);
    CHECK(ring.setup_flags & IORING_SETUP_SINGLE_ISSUER);
    CHECK(ring.setup_flags & IORING_SETUP_DEFER_TASKRUN);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    exercise(&ring);
    nl_ring_close(&ring);
}

CASE(a_ring_works_with_a_submission_array)
{
    run_without(NL_SETUP_NO_SQARRAY, IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL);
}

CASE(a_ring_works_without_deferred_work)
{
    run_without(IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
}

CASE(a_ring_works_without_a_single_issuer)
{
    run_without(IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_COOP_TASKRUN);
}

CASE(a_ring_works_with_no_optional_flag)
{
    run_without(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                    IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | NL_SETUP_NO_SQARRAY,
                0);
}

CASE(a_first_refusal_leads_to_a_working_ring)
{
    struct nl_fault fault;
    struct nl_ring ring;
    unsigned before = count_descriptors();
    nl_fault_init(&fault, NL_CALL_SETUP, 1, EINVAL);
    CHECK_EQUAL(nl_ring_setup(&ring, &fault.sys, 4, 8, 0), 0);
    CHECK(fault.calls > 2);
    CHECK(ring.setup_flags & IORING_SETUP_DEFER_TASKRUN);
    CHECK_EQUAL(count_descriptors(), before + 1);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    exercise(&ring);
    nl_ring_close(&ring);
}

CASE(flags_found_earlier_are_used_without_asking_again)
{
    struct old_kernel kernel;
    struct nl_ring ring;
    unsigned flags = 0;
    init_old_kernel(&kernel, NL_SETUP_NO_SQARRAY);
    CHECK_EQUAL(nl_ring_probe_flags(&kernel.sys, &flags), 0);
    CHECK(!(flags & NL_SETUP_NO_SQARRAY));
    kernel.setups = 0;
    CHECK_EQUAL(nl_ring_setup(&ring, &kernel.sys, 4, 8, flags), 0);
    CHECK_EQUAL(kernel.setups, 1);
    CHECK_EQUAL(ring.setup_flags, flags);
    nl_ring_close(&ring);
}

CASE(flags_that_no_longer_work_are_found_anew)
{
    struct nl_ring ring;
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 4, 8, 1U << 31), 0);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    exercise(&ring);
    nl_ring_close(&ring);
}

CASE(a_kernel_that_refuses_the_plainest_ring_is_believed)
{
    struct old_kernel kernel;
    struct nl_ring ring;
    unsigned flags, before = count_descriptors();
    init_old_kernel(&kernel, IORING_SETUP_CQSIZE);
    CHECK_EQUAL(nl_ring_setup(&ring, &kernel.sys, 4, 8, 0), -EINVAL);
    CHECK_EQUAL(ring.fd, -1);
    CHECK_EQUAL(nl_ring_probe_flags(&kernel.sys, &flags), -EINVAL);
    CHECK_EQUAL(count_descriptors(), before);
}

static int setup_without_features(struct nl_sys *sys, unsigned entries, struct io_uring_params *params)
{
    struct old_kernel *kernel = (struct old_kernel *)sys;
    int fd = kernel->real.setup(&kernel->real, entries, params);
    params->features &= ~IORING_FEAT_EXT_ARG;
    return fd;
}

CASE(a_kernel_without_the_needed_features_is_refused)
{
    struct old_kernel kernel;
    struct nl_ring ring;
    unsigned before = count_descriptors();
    init_old_kernel(&kernel, 0);
    kernel.sys.setup = setup_without_features;
    CHECK_EQUAL(nl_ring_setup(&ring, &kernel.sys, 4, 8, 0), -EINVAL);
    CHECK_EQUAL(count_descriptors(), before);
}

CASE(the_probe_finds_what_a_loop_needs)
{
    struct nl_probe probe;
    unsigned before = count_descriptors();
    CHECK_EQUAL(nl_probe_run(&probe, real_sys()), 0);
    CHECK(probe.features & IORING_FEAT_NODROP);
    CHECK(probe.operations[IORING_OP_NOP] && probe.operations[IORING_OP_ACCEPT]);
    CHECK(probe.operations[IORING_OP_RECV] && probe.operations[IORING_OP_SEND]);
    CHECK(!probe.operations[NL_OPS_KNOWN - 1]);
    CHECK(probe.fixed_files && probe.buffer_groups && probe.registered_buffers && probe.registered_rings);
    CHECK_EQUAL(count_descriptors(), before);
}

CASE(the_probe_says_what_an_old_kernel_lacks)
{
    struct old_kernel kernel;
    struct nl_probe probe;
    init_old_kernel(&kernel, IORING_SETUP_DEFER_TASKRUN);
    CHECK_EQUAL(nl_probe_run(&probe, &kernel.sys), 0);
    CHECK(!(probe.setup_flags & IORING_SETUP_DEFER_TASKRUN));
    CHECK(probe.setup_flags & IORING_SETUP_COOP_TASKRUN);
}

CASE(a_ring_that_polls_network_cards_works_as_ever)
{
    struct nl_probe probe;
    struct nl_ring ring;
    CHECK_EQUAL(nl_probe_run(&probe, real_sys()), 0);
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 4, 8, 0), 0);
    CHECK_EQUAL(nl_ring_busy_poll(&ring, 50), probe.busy_polling ? 0 : -EINVAL);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    exercise(&ring);
    nl_ring_close(&ring);
}
