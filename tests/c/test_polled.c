/* A ring whose submissions a thread of the kernel's takes. */
#include <limits.h>
#include <poll.h>
#include <sched.h>

#include "nl_older.h"
#include "nl_polled.h"
#include "support.h"

#define CALL 77
#define LONG_IDLE 1000 /* milliseconds, so long that the poller does not sleep while a case runs */
#define SHORT_IDLE 1

/* The first CPU that this process may use. */
static unsigned some_cpu(void)
{
    cpu_set_t allowed;
    CHECK_EQUAL(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            return cpu;
    CHECK(!"there is a CPU");
    return 0;
}

static int set_up(struct nl_ring *ring, struct nl_sys *sys, unsigned idle, int shared)
{
    struct nl_poller poller = {.cpu = some_cpu(), .idle = idle, .shared = shared};
    return nl_ring_setup_polled(ring, sys, 4, 8, &poller);
}

/* An entry to write, after the poller has made room for it. */
static struct io_uring_sqe *room(struct nl_ring *ring)
{
    if (!nl_ring_space(ring))
        CHECK_EQUAL(nl_ring_submit(ring), 0);
    return nl_ring_sqe(ring);
}

static void write_nop(struct nl_ring *ring, uint64_t token)
{
    nl_prep(room(ring), IORING_OP_NOP, NOBODY, NULL, 0, 0, token);
}

static void write_nops(struct nl_ring *ring, uint64_t first, uint64_t last)
{
    for (uint64_t token = first; token <= last; token++)
        write_nop(ring, token);
}

/* These completions come, in this order and once. */
static void expect_in_order(struct nl_ring *ring, uint64_t first, uint64_t last)
{
    for (uint64_t token = first; token <= last; token++)
        CHECK_EQUAL(next_result(ring, token), 0);
}

static void open_polled(struct nl_ring *ring, struct nl_sys *sys, unsigned idle)
{
    CHECK_EQUAL(set_up(ring, sys, idle, -1), 0);
    CHECK(nl_ring_is_polled(ring));
    CHECK_EQUAL(nl_ring_enable(ring), 0);
    if (idle == LONG_IDLE) {
        /* A new poller sleeps until there is something to do for the first time. */
        write_nops(ring, 1, 1);
        CHECK_EQUAL(nl_ring_submit(ring), 0);
        expect_in_order(ring, 1, 1);
        memset(&ring->counters, 0, sizeof(ring->counters));
    }
}

static bool sleeps(const struct nl_ring *ring)
{
    return __atomic_load_n(ring->sq_flags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP;
}

static void until_asleep(const struct nl_ring *ring)
{
    for (unsigned wait = 0; wait < 5000 && !sleeps(ring); wait++)
        usleep(1000);
    CHECK(sleeps(ring));
}

static unsigned count_pollers(void)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    while ((entry = readdir(tasks))) {
        char path[300], name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!comm)
            continue;
        count += fgets(name, sizeof(name), comm) && strncmp(name, "iou-sqp", 7) == 0;
        fclose(comm);
    }
    closedir(tasks);
    return count;
}

/* The kernel ends a poller a moment after the last of its rings. */
static void expect_pollers(unsigned expected)
{
    for (unsigned wait = 0; wait < 5000 && count_pollers() != expected; wait++)
        usleep(1000);
    CHECK_EQUAL(count_pollers(), expected);
}

/* A receive that waits on the ring is answered, and so is what completes at submission. */
static void exercise(struct nl_ring *ring)
{
    int pair[2];
    char byte = 0;
    for (uint64_t first = 1; first < 100; first += 4) {
        write_nops(ring, first, first + 3);
        expect_in_order(ring, first, first + 3);
    }
    unix_pair(pair);
    nl_prep_recv(room(ring), nl_descriptor(pair[0]), &byte, 1, 0, 7);
    expect_no_completion(ring);
    CHECK_EQUAL(write(pair[1], "x", 1), 1);
    CHECK_EQUAL(next_result(ring, 7), 1);
    CHECK_EQUAL(byte, 'x');
    close_pair(pair);
}

CASE(everything_is_carried_out_without_being_submitted_by_the_process)
{
    struct nl_ring ring;
    unsigned before = count_descriptors();
    open_polled(&ring, real_sys(), LONG_IDLE);
    exercise(&ring);
    CHECK(ring.counters.submissions >= 101);
    nl_ring_close(&ring);
    CHECK_EQUAL(count_descriptors(), before);
    expect_pollers(0);
}

CASE(what_is_passed_on_is_carried_out_soon)
{
    struct nl_ring ring;
    open_polled(&ring, real_sys(), LONG_IDLE);
    write_nops(&ring, 1, 3);
    CHECK(nl_ring_has_news(&ring));
    CHECK_EQUAL(nl_ring_pass_on(&ring), 0);
    CHECK(!nl_ring_has_news(&ring));
    for (unsigned wait = 0; wait < 5000 && nl_ring_ready(&ring) < 3; wait++)
        usleep(1000);
    CHECK_EQUAL(nl_ring_ready(&ring), 3);
    CHECK_EQUAL(ring.counters.submissions, 3);
    CHECK_EQUAL(ring.counters.enters, 0);
    expect_in_order(&ring, 1, 3);
    nl_ring_close(&ring);
}

CASE(positions_wrap_around)
{
    CHECK(nl_ring_awaits(5, 5));
    CHECK(nl_ring_awaits(6, 5));
    CHECK(!nl_ring_awaits(4, 5));
    CHECK(nl_ring_awaits(2, UINT_MAX - 2));
    CHECK(!nl_ring_awaits(UINT_MAX - 2, 2));
}

CASE(one_may_look_or_wait_until_an_entry_is_taken)
{
    struct nl_ring ring;
    open_polled(&ring, real_sys(), LONG_IDLE);
    for (unsigned i = 0; i < 200; i++) {
        unsigned position = nl_ring_position(&ring);
        write_nop(&ring, CALL);
        ring.sqes[position & ring.sq_mask].flags |= IOSQE_CQE_SKIP_SUCCESS;
        CHECK(nl_ring_awaits(position, nl_ring_taken(&ring)));
        for (unsigned wait = 0; wait < 5000 && nl_ring_awaits(position, nl_ring_taken(&ring)); wait++)
            CHECK_EQUAL(nl_polled_look(&ring, position), 0);
        CHECK(!nl_ring_awaits(position, nl_ring_taken(&ring)));
        CHECK_EQUAL(nl_ring_ready(&ring), 0);
    }
    for (unsigned i = 0; i < 200; i++) {
        unsigned position = nl_ring_position(&ring);
        write_nop(&ring, 1);
        CHECK_EQUAL(nl_polled_await(&ring, position), 0);
        CHECK(!nl_ring_awaits(position, nl_ring_taken(&ring)));
        expect_in_order(&ring, 1, 1);
    }
    write_nops(&ring, 1, 1);
    CHECK_EQUAL(nl_ring_submit(&ring), 0);
    /* Nothing takes an entry that is not written, so this would take for ever if it were waited for. */
    CHECK_EQUAL(nl_polled_look(&ring, nl_ring_position(&ring)), 0);
    expect_in_order(&ring, 1, 1);
    CHECK_EQUAL(ring.counters.enters, 0);
    nl_ring_close(&ring);
}

CASE(what_completes_at_submission_has_completed_when_submit_returns)
{
    struct nl_ring ring;
    struct io_uring_cqe cqe;
    open_polled(&ring, real_sys(), LONG_IDLE);
    for (uint64_t token = 1; token <= 500; token++) {
        write_nop(&ring, token);
        CHECK_EQUAL(nl_ring_submit(&ring), 0);
        CHECK_EQUAL(nl_ring_unsubmitted(&ring), 0);
        CHECK(nl_ring_next(&ring, &cqe));
        CHECK_EQUAL(cqe.user_data, token);
    }
    nl_ring_close(&ring);
}

CASE(a_silent_send_that_failed_has_said_so_when_submit_returns)
{
    struct nl_ring ring;
    int pair[2];
    open_polled(&ring, real_sys(), LONG_IDLE);
    for (unsigned i = 0; i < 200; i++) {
        unix_pair(pair);
        close(pair[1]);
        nl_prep_send_silent(room(&ring), nl_descriptor(pair[0]), "x", 1, CALL);
        CHECK_EQUAL(nl_ring_submit(&ring), 0);
        CHECK_EQUAL(nl_ring_ready(&ring), 1);
        CHECK_EQUAL(next_result(&ring, CALL), -EPIPE);
        close(pair[0]);
    }
    nl_ring_close(&ring);
}

CASE(what_was_cancelled_has_let_go_of_its_file_when_enter_returns)
{
    struct nl_ring ring;
    open_polled(&ring, real_sys(), LONG_IDLE);
    for (unsigned i = 0; i < 200; i++) {
        int ends[2];
        CHECK_EQUAL(pipe2(ends, O_CLOEXEC), 0);
        nl_prep_poll(room(&ring), nl_descriptor(ends[1]), POLLERR, 5);
        CHECK_EQUAL(nl_ring_submit(&ring), 0);
        close(ends[1]);
        struct pollfd reader = {.fd = ends[0], .events = POLLIN};
        CHECK_EQUAL(poll(&reader, 1, 0), 0); /* the ring keeps the other end open */
        nl_prep_cancel(room(&ring), 5, 0);
        CHECK_EQUAL(nl_ring_enter(&ring, 0, NL_WAIT_FOREVER), 0);
        CHECK_EQUAL(poll(&reader, 1, 0), 1);
        CHECK_EQUAL(reader.revents, POLLHUP);
        CHECK_EQUAL(next_result(&ring, 5), -ECANCELED);
        close(ends[0]);
    }
    nl_ring_close(&ring);
}

CASE(a_poller_that_sleeps_is_woken)
{
    struct nl_ring ring;
    open_polled(&ring, real_sys(), SHORT_IDLE);
    for (unsigned i = 1; i <= 20; i++) {
        until_asleep(&ring);
        write_nop(&ring, i);
        if (i % 3 == 0)
            CHECK_EQUAL(nl_ring_pass_on(&ring), 0);
        else if (i % 3 == 1)
            CHECK_EQUAL(nl_ring_submit(&ring), 0);
        CHECK_EQUAL(next_result(&ring, i), 0);
        CHECK(ring.counters.woken >= i);
    }
    nl_ring_close(&ring);
}

CASE(a_poller_that_does_not_sleep_is_left_alone)
{
    struct nl_ring ring;
    open_polled(&ring, real_sys(), LONG_IDLE);
    write_nops(&ring, 1, 8);
    CHECK_EQUAL(nl_ring_submit(&ring), 0);
    CHECK_EQUAL(ring.counters.woken, 0);
    expect_in_order(&ring, 1, 8);
    nl_ring_close(&ring);
}

CASE(a_wait_ends_in_time_and_with_what_is_there)
{
    struct nl_ring ring;
    open_polled(&ring, real_sys(), SHORT_IDLE);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, SECOND / 1000), 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 0);
    write_nops(&ring, 1, 2);
    while (nl_ring_ready(&ring) < 2)
        CHECK(nl_ring_enter(&ring, 2, NL_WAIT_FOREVER) >= 0);
    CHECK(nl_ring_enter(&ring, 1, NL_WAIT_FOREVER) >= 0);
    expect_in_order(&ring, 1, 2);
    nl_ring_close(&ring);
}

CASE(a_full_submission_queue_is_emptied)
{
    struct nl_ring ring;
    open_polled(&ring, real_sys(), LONG_IDLE);
    for (uint64_t first = 1; first < 400; first += 4) {
        write_nops(&ring, first, first + 3);
        CHECK_EQUAL(nl_ring_space(&ring), 0);
        /* Deferred work is done for a full queue, too. */
        CHECK_EQUAL(first % 8 == 1 ? nl_ring_submit(&ring) : nl_ring_enter(&ring, 0, 0), 0);
        CHECK_EQUAL(nl_ring_space(&ring), 4);
        expect_in_order(&ring, first, first + 3);
    }
    nl_ring_close(&ring);
}

/* Wait until the poller has taken what is written, without a call that would bring out what found no room. */
static void publish_and_await(struct nl_ring *ring)
{
    __atomic_store_n(ring->sq_tail, ring->sqe_tail, __ATOMIC_SEQ_CST);
    for (unsigned wait = 0; wait < 5000 && nl_ring_unsubmitted(ring); wait++)
        usleep(1000);
    CHECK_EQUAL(nl_ring_unsubmitted(ring), 0);
}

/* Ends with completions that the queue has no room for. */
static void overflow(struct nl_ring *ring, uint64_t count)
{
    write_nops(ring, 1, count);
    publish_and_await(ring);
    CHECK(nl_ring_overflowed(ring));
    CHECK(nl_ring_needs_enter(ring));
    CHECK_EQUAL(nl_ring_ready(ring), 8);
}

static void drain_by(int (*bring)(struct nl_ring *ring))
{
    struct nl_ring ring;
    struct io_uring_cqe cqe;
    uint64_t seen = 0;
    open_polled(&ring, real_sys(), LONG_IDLE);
    overflow(&ring, 100);
    while (seen < 100) {
        while (nl_ring_next(&ring, &cqe))
            CHECK_EQUAL(cqe.user_data, ++seen);
        CHECK(bring(&ring) >= 0);
        CHECK(nl_ring_ready(&ring) || seen == 100);
    }
    CHECK(!nl_ring_overflowed(&ring));
    nl_ring_close(&ring);
}

static int enter_at_once(struct nl_ring *ring)
{
    return nl_ring_enter(ring, 0, 0);
}

static int wait_for_one(struct nl_ring *ring)
{
    return nl_ring_enter(ring, 1, SECOND / 1000);
}

CASE(completions_that_found_no_room_come_when_something_is_passed_on)
{
    drain_by(nl_ring_pass_on);
}

CASE(completions_that_found_no_room_come_by_submit)
{
    drain_by(nl_ring_submit);
}

CASE(completions_that_found_no_room_come_by_enter)
{
    drain_by(enter_at_once);
}

CASE(completions_that_found_no_room_come_by_waiting)
{
    drain_by(wait_for_one);
}

static void call_with_pending(unsigned pending)
{
    struct nl_ring ring;
    struct io_uring_cqe cqe;
    int32_t result = 1;
    uint64_t expected = 1;
    open_polled(&ring, real_sys(), LONG_IDLE);
    write_nops(&ring, 1, pending);
    write_nop(&ring, CALL + 1000);
    CHECK_EQUAL(nl_ring_call(&ring, CALL + 1000, &result), 0);
    CHECK_EQUAL(result, 0);
    do
        while (nl_ring_next(&ring, &cqe))
            if (cqe.user_data != NL_TOKEN_NONE)
                CHECK_EQUAL(cqe.user_data, expected++);
    while (nl_ring_enter(&ring, 0, 0) >= 0 && nl_ring_ready(&ring));
    CHECK_EQUAL(expected, pending + 1);
    nl_ring_close(&ring);
}

CASE(a_call_is_answered_and_the_others_stay_in_order)
{
    call_with_pending(0);
    call_with_pending(3);
    call_with_pending(7);
}

CASE(a_call_finds_its_result_when_the_completion_queue_is_full)
{
    call_with_pending(8);
    call_with_pending(9);
    call_with_pending(100);
}

CASE(a_call_wakes_the_poller)
{
    struct nl_ring ring;
    int32_t result = 0;
    open_polled(&ring, real_sys(), SHORT_IDLE);
    until_asleep(&ring);
    nl_prep_close(room(&ring), nl_descriptor(1 << 20), CALL);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), 0);
    CHECK_EQUAL(result, -EBADF);
    CHECK(ring.counters.woken >= 1);
    nl_ring_close(&ring);
}

CASE(completions_set_aside_by_a_call_end_a_wait)
{
    struct nl_ring ring;
    int32_t result = 1;
    open_polled(&ring, real_sys(), LONG_IDLE);
    write_nops(&ring, 1, 9);
    write_nop(&ring, CALL);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), 0);
    CHECK(nl_ring_ready(&ring) >= 9);
    CHECK_EQUAL(nl_ring_enter(&ring, 9, NL_WAIT_FOREVER), 0);
    expect_in_order(&ring, 1, 9);
    nl_ring_close(&ring);
}

CASE(rings_share_a_poller)
{
    struct nl_ring first, second;
    open_polled(&first, real_sys(), SHORT_IDLE);
    expect_pollers(1);
    CHECK_EQUAL(set_up(&second, real_sys(), SHORT_IDLE, first.fd), 0);
    CHECK_EQUAL(nl_ring_enable(&second), 0);
    CHECK_EQUAL(count_pollers(), 1);
    exercise(&first);
    exercise(&second);
    nl_ring_close(&first);
    exercise(&second);
    until_asleep(&second);
    exercise(&second);
    CHECK_EQUAL(count_pollers(), 1);
    nl_ring_close(&second);
    expect_pollers(0);
}

CASE(a_ring_that_is_closed_has_no_poller_to_share)
{
    struct nl_ring first, second;
    open_polled(&first, real_sys(), SHORT_IDLE);
    int fd = first.fd;
    nl_ring_close(&first);
    CHECK(set_up(&second, real_sys(), SHORT_IDLE, fd) < 0);
    CHECK_EQUAL(second.fd, -1);
}

CASE(a_cpu_that_is_not_there_is_refused)
{
    struct nl_ring ring;
    struct nl_poller poller = {.cpu = 100000, .idle = LONG_IDLE, .shared = -1};
    unsigned before = count_descriptors();
    CHECK_EQUAL(nl_ring_setup_polled(&ring, real_sys(), 4, 8, &poller), -EINVAL);
    CHECK_EQUAL(ring.fd, -1);
    CHECK_EQUAL(count_descriptors(), before);
    nl_ring_close(&ring);
}

static void run_without(unsigned unknown)
{
    struct nl_older older;
    struct nl_ring ring;
    nl_older_init(&older, 0, unknown);
    open_polled(&ring, &older.sys, LONG_IDLE);
    CHECK_EQUAL(ring.setup_flags & unknown, 0);
    exercise(&ring);
    nl_ring_close(&ring);
}

CASE(a_ring_works_with_a_submission_array)
{
    run_without(NL_SETUP_NO_SQARRAY);
}

CASE(a_ring_works_where_a_batch_ends_at_an_operation_that_fails)
{
    struct nl_older older;
    struct nl_ring ring;
    run_without(IORING_SETUP_SUBMIT_ALL);
    nl_older_init(&older, 0, IORING_SETUP_SUBMIT_ALL | NL_SETUP_NO_SQARRAY);
    open_polled(&ring, &older.sys, LONG_IDLE);
    write_nop(&ring, 1);
    nl_prep_close(room(&ring), nl_descriptor(1 << 20), 2);
    nl_prep(room(&ring), 250, NOBODY, NULL, 0, 0, 3); /* there is no such operation */
    write_nop(&ring, 4);
    CHECK_EQUAL(nl_ring_submit(&ring), 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 4);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    CHECK_EQUAL(next_result(&ring, 2), -EBADF);
    CHECK_EQUAL(next_result(&ring, 3), -EINVAL);
    CHECK_EQUAL(next_result(&ring, 4), 0);
    nl_ring_close(&ring);
}

CASE(a_ring_that_is_not_enabled_keeps_what_is_written)
{
    struct nl_ring ring;
    CHECK_EQUAL(set_up(&ring, real_sys(), SHORT_IDLE, -1), 0);
    write_nop(&ring, 1);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    nl_ring_close(&ring);
}

static const int PASSING[] = {EINTR, EAGAIN, EBUSY, EOWNERDEAD};

/* The first, second, third ... enter fails; what is written is carried out by the next, once. */
CASE(an_enter_that_fails_is_told_and_loses_nothing)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        unsigned told = 0;
        for (uint64_t nth = 1; nth <= 12; nth++) {
            struct nl_fault fault;
            struct nl_ring ring;
            struct io_uring_cqe cqe;
            uint64_t seen = 0;
            nl_fault_init(&fault, NL_CALL_ENTER, nth, PASSING[kind]);
            open_polled(&ring, &fault.sys, SHORT_IDLE);
            for (uint64_t written = 0; seen < 6;) {
                until_asleep(&ring);
                if (written == seen)
                    write_nop(&ring, ++written);
                int result = written % 2 ? nl_ring_submit(&ring) : nl_ring_enter(&ring, 1, PATIENCE);
                if (result < 0) {
                    CHECK_EQUAL(result, -PASSING[kind]);
                    told++;
                }
                while (nl_ring_next(&ring, &cqe))
                    CHECK_EQUAL(cqe.user_data, ++seen);
            }
            CHECK_EQUAL(ring.counters.interrupted, PASSING[kind] == EINTR && fault.calls >= nth);
            nl_ring_close(&ring);
        }
        CHECK(told >= 1);
    }
}

static int enter_without_poller(struct nl_sys *sys, int fd, unsigned submit, unsigned wait, unsigned flags,
                                const void *arg, size_t size)
{
    (void)sys, (void)fd, (void)submit, (void)wait, (void)flags, (void)arg, (void)size;
    return -EOWNERDEAD;
}

CASE(a_call_that_could_not_wake_the_poller_is_not_carried_out_later)
{
    struct nl_fault fault;
    struct nl_ring ring;
    int32_t result = 0;
    int pair[2];
    char byte;
    nl_fault_init(&fault, NL_CALL_ENTER, 0, EOWNERDEAD);
    open_polled(&ring, &fault.sys, SHORT_IDLE);
    unix_pair(pair);
    until_asleep(&ring);
    fault.sys.enter = enter_without_poller;
    write_nop(&ring, 1);
    nl_prep_send(room(&ring), nl_descriptor(pair[0]), "x", 1, CALL);
    write_nop(&ring, 2);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), -EOWNERDEAD);
    CHECK(nl_ring_unsubmitted(&ring));
    fault.sys.enter = real_sys()->enter;
    CHECK_EQUAL(nl_ring_submit(&ring), 0);
    expect_in_order(&ring, 1, 2);
    CHECK_EQUAL(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
    CHECK_EQUAL(errno, EAGAIN);
    nl_ring_close(&ring);
    close_pair(pair);
}

/* What the poller takes although a call fails is not told to be undone. */
CASE(a_call_of_what_an_awake_poller_takes_is_answered_whatever_the_enter_says)
{
    for (unsigned i = 0; i < 100; i++) {
        struct nl_fault fault;
        struct nl_ring ring;
        int32_t result = 0;
        int pair[2];
        char byte;
        nl_fault_init(&fault, NL_CALL_ENTER, 0, EBUSY);
        open_polled(&ring, &fault.sys, LONG_IDLE);
        unix_pair(pair);
        overflow(&ring, 8 + i % 3 + 1);
        fault.nth = fault.calls + 1;
        nl_prep_send(room(&ring), nl_descriptor(pair[0]), "x", 1, CALL);
        int error = nl_ring_call(&ring, CALL, &result);
        nl_ring_submit(&ring);
        /* It was sent if and only if the call says so. */
        CHECK_EQUAL(recv(pair[1], &byte, 1, MSG_DONTWAIT) == 1, error == 0 && result == 1);
        nl_ring_close(&ring);
        close_pair(pair);
    }
}
