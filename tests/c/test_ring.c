/* The two queues: submitting, wrapping around, waiting, overflowing. */
#include <signal.h>
#include <sys/time.h>
#include <sys/timerfd.h>

#include "support.h"

CASE(a_ring_is_set_up_as_asked)
{
    struct nl_ring ring;
    unsigned before = count_descriptors();
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 60, 200, 0), 0);
    CHECK_EQUAL(ring.sq_entries, 64);
    CHECK_EQUAL(ring.cq_entries, 256);
    CHECK_EQUAL(nl_ring_space(&ring), 64);
    CHECK_EQUAL(nl_ring_unsubmitted(&ring), 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 0);
    CHECK(fcntl(ring.fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQUAL(count_descriptors(), before + 1);
    nl_ring_close(&ring);
    CHECK_EQUAL(ring.fd, -1);
    CHECK_EQUAL(count_descriptors(), before);
    nl_ring_close(&ring);
    CHECK_EQUAL(count_descriptors(), before);
}

CASE(a_ring_refuses_impossible_sizes)
{
    struct nl_ring ring;
    unsigned before = count_descriptors();
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 0, 8, 0), -EINVAL);
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 64, 8, 0), -EINVAL);
    CHECK_EQUAL(ring.fd, -1);
    nl_ring_close(&ring);
    CHECK_EQUAL(count_descriptors(), before);
}

CASE(a_ring_that_is_not_enabled_takes_nothing)
{
    struct nl_ring ring;
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 4, 8, 0), 0);
    add_nop(&ring, 1);
    CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), -EBADFD);
    CHECK_EQUAL(nl_ring_unsubmitted(&ring), 1);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    CHECK_EQUAL(nl_ring_enable(&ring), -EBADFD);
    CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    nl_ring_close(&ring);
}

CASE(a_batch_completes_in_one_enter)
{
    struct nl_ring ring;
    struct io_uring_cqe cqe;
    open_ring(&ring, 32, 64);
    for (uint64_t token = 1; token <= 20; token++)
        add_nop(&ring, token);
    CHECK_EQUAL(nl_ring_unsubmitted(&ring), 20);
    CHECK_EQUAL(nl_ring_enter(&ring, 20, NL_WAIT_FOREVER), 20);
    CHECK_EQUAL(nl_ring_unsubmitted(&ring), 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 20);
    for (uint64_t token = 1; token <= 20; token++)
        CHECK_EQUAL(next_result(&ring, token), 0);
    CHECK(!nl_ring_next(&ring, &cqe));
    CHECK_EQUAL(ring.counters.enters, 1);
    CHECK_EQUAL(ring.counters.submissions, 20);
    CHECK_EQUAL(ring.counters.completions, 20);
    nl_ring_close(&ring);
}

CASE(the_queues_wrap_around)
{
    struct nl_ring ring;
    uint64_t written = 0, seen = 0;
    open_ring(&ring, 8, 16);
    while (seen < 30000) {
        unsigned batch = 1 + check_random() % 8;
        for (unsigned i = 0; i < batch; i++)
            add_nop(&ring, ++written);
        CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), batch);
        while (nl_ring_ready(&ring))
            CHECK_EQUAL(next_result(&ring, ++seen), 0);
        CHECK_EQUAL(seen, written);
    }
    CHECK_EQUAL(ring.counters.submissions, written);
    CHECK_EQUAL(ring.counters.completions, written);
    nl_ring_close(&ring);
}

CASE(the_submission_queue_can_be_exactly_full)
{
    struct nl_ring ring;
    open_ring(&ring, 16, 32);
    for (uint64_t round = 0; round < 5; round++) {
        for (uint64_t i = 0; i < 16; i++) {
            CHECK_EQUAL(nl_ring_space(&ring), 16 - i);
            nl_prep(nl_ring_sqe(&ring), IORING_OP_NOP, NOBODY, NULL, 0, 0, 1 + round * 16 + i);
        }
        CHECK_EQUAL(nl_ring_space(&ring), 0);
        CHECK_EQUAL(nl_ring_unsubmitted(&ring), 16);
        CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), 16);
        CHECK_EQUAL(nl_ring_space(&ring), 16);
        for (uint64_t i = 0; i < 16; i++)
            CHECK_EQUAL(next_result(&ring, 1 + round * 16 + i), 0);
    }
    nl_ring_close(&ring);
}

CASE(an_entry_starts_zeroed)
{
    struct nl_ring ring;
    static const struct io_uring_sqe zero;
    open_ring(&ring, 2, 4);
    for (unsigned i = 0; i < 6; i++) {
        struct io_uring_sqe *sqe = next_sqe(&ring);
        CHECK(memcmp(sqe, &zero, sizeof(zero)) == 0);
        memset(sqe, 0xff, sizeof(*sqe));
        *sqe = (struct io_uring_sqe){.opcode = IORING_OP_NOP, .user_data = 7};
        CHECK_EQUAL(next_result(&ring, 7), 0);
    }
    nl_ring_close(&ring);
}

CASE(a_bad_entry_does_not_hold_up_those_after_it)
{
    struct nl_ring ring;
    open_ring(&ring, 8, 16);
    nl_prep(next_sqe(&ring), 255, NOBODY, NULL, 0, 0, 1);
    add_nop(&ring, 2);
    CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), 2);
    CHECK_EQUAL(next_result(&ring, 1), -EINVAL);
    CHECK_EQUAL(next_result(&ring, 2), 0);
    nl_ring_close(&ring);
}

CASE(a_wait_ends_when_its_time_is_up)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, 0), 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, 1), 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, 2 * SECOND / 1000), 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 0);
    add_nop(&ring, 1);
    CHECK_EQUAL(nl_ring_enter(&ring, 2, SECOND / 1000), 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    nl_ring_close(&ring);
}

CASE(a_wait_longer_than_any_clock_is_accepted)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    add_nop(&ring, 1);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, INT64_MAX), 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    nl_ring_close(&ring);
}

CASE(a_wait_without_limit_ends_with_a_completion)
{
    struct nl_ring ring;
    uint64_t expirations = 0;
    struct itimerspec soon = {.it_value = {.tv_nsec = 3000000}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    CHECK(timer >= 0);
    open_ring(&ring, 4, 8);
    nl_prep_read(next_sqe(&ring), nl_descriptor(timer), &expirations, sizeof(expirations), 0, 1);
    expect_no_completion(&ring);
    CHECK_EQUAL(timerfd_settime(timer, 0, &soon, NULL), 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, NL_WAIT_FOREVER), 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 1);
    CHECK_EQUAL(next_result(&ring, 1), sizeof(expirations));
    CHECK_EQUAL(expirations, 1);
    nl_ring_close(&ring);
    close(timer);
}

static void overflow(unsigned count)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    for (uint64_t token = 1; token <= count; token++)
        add_nop(&ring, token);
    CHECK(nl_ring_enter(&ring, 0, 0) > 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 8);
    CHECK(nl_ring_needs_enter(&ring));
    for (uint64_t token = 1; token <= count; token++)
        CHECK_EQUAL(next_result(&ring, token), 0);
    expect_no_completion(&ring);
    CHECK_EQUAL(ring.counters.completions, count);
    nl_ring_close(&ring);
}

CASE(an_overflowing_completion_queue_loses_nothing)
{
    overflow(9);
    overflow(1000);
}

CASE(a_quiet_ring_needs_no_enter)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    if (ring.setup_flags & IORING_SETUP_TASKRUN_FLAG) {
        int pair[2];
        char byte;
        CHECK(!nl_ring_needs_enter(&ring));
        unix_pair(pair);
        nl_prep_recv(next_sqe(&ring), nl_descriptor(pair[0]), &byte, 1, 0, 1);
        expect_no_completion(&ring);
        CHECK(!nl_ring_needs_enter(&ring));
        CHECK_EQUAL(write(pair[1], "x", 1), 1);
        CHECK(nl_ring_needs_enter(&ring));
        CHECK_EQUAL(next_result(&ring, 1), 1);
        close_pair(pair);
    }
    nl_ring_close(&ring);
}

static void on_alarm(int number)
{
    (void)number;
}

static void interrupt_a_wait(int flags)
{
    struct nl_ring ring;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
    /* It fires again and again, so that one which comes before the wait begins does no harm. */
    struct itimerval often = {.it_value = {.tv_usec = 2000}, .it_interval = {.tv_usec = 2000}}, never = {0};
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &often, NULL), 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, PATIENCE), -EINTR);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, NL_WAIT_FOREVER), -EINTR);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_EQUAL(ring.counters.interrupted, 2);
    add_nop(&ring, 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    nl_ring_close(&ring);
}

CASE(a_signal_ends_a_wait)
{
    interrupt_a_wait(0);
    interrupt_a_wait(SA_RESTART);
}

CASE(a_signal_during_a_wait_does_not_hide_what_was_submitted)
{
    struct nl_ring ring;
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval often = {.it_value = {.tv_usec = 2000}, .it_interval = {.tv_usec = 2000}}, never = {0};
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(sigaction(SIGALRM, &action, NULL), 0);
    add_nop(&ring, 1);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &often, NULL), 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 2, PATIENCE), 1);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_EQUAL(ring.counters.submissions, 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    nl_ring_close(&ring);
}
