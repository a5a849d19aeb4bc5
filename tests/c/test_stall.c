/* The stall detector against a loop that is made up: a thread that moves the pulse and the counters. */
#include <pthread.h>

#include "check.h"
#include "nl_stall.h"

/* Long, so that a machine that is busy with other things does not change what there is to see. */
#define THRESHOLD (NL_SECOND * 2 / 5)

struct loop {
    struct nl_stall stall;
    uint64_t callbacks, completions;
};

static void open_loop(struct loop *loop)
{
    loop->callbacks = loop->completions = 0;
    nl_stall_init(&loop->stall, &loop->callbacks, &loop->completions, THRESHOLD);
    nl_stall_enter(&loop->stall);
}

static void pass(int64_t nanoseconds)
{
    struct timespec time = {nanoseconds / NL_SECOND, nanoseconds % NL_SECOND};
    nanosleep(&time, NULL);
}

static void take_up(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void *block_once(void *argument)
{
    struct loop *loop = argument;
    pass(THRESHOLD / 5);
    nl_pulse_begin(&loop->stall.pulse, true);
    take_up(&loop->callbacks);
    pass(4 * THRESHOLD);
    nl_pulse_rest(&loop->stall.pulse);
    return NULL;
}

CASE(one_callback_that_does_not_return_blocks)
{
    struct loop loop;
    pthread_t thread;
    open_loop(&loop);
    pthread_create(&thread, NULL, block_once, &loop);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_BLOCKED);
    CHECK(nl_stall_stands(&loop.stall));
    CHECK(loop.stall.length >= THRESHOLD);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_BLOCKED_OVER);
    CHECK(!nl_stall_stands(&loop.stall));
    CHECK(loop.stall.length >= 3 * THRESHOLD);
    pthread_join(thread, NULL);
    nl_stall_close(&loop.stall);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_CLOSED);
}

static void *be_busy(void *argument)
{
    struct loop *loop = argument;
    nl_pulse_begin(&loop->stall.pulse, true);
    for (unsigned i = 0; i < 200; i++) {
        take_up(i % 2 ? &loop->callbacks : &loop->completions);
        pass(THRESHOLD / 50);
    }
    nl_pulse_go_on(&loop->stall.pulse);
    take_up(&loop->callbacks);
    pass(4 * THRESHOLD);
    nl_pulse_rest(&loop->stall.pulse);
    return NULL;
}

CASE(callbacks_that_come_and_go_saturate)
{
    struct loop loop;
    pthread_t thread;
    open_loop(&loop);
    pthread_create(&thread, NULL, be_busy, &loop);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_SATURATED);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_SATURATED_OVER);
    CHECK(loop.stall.length >= 2 * THRESHOLD);
    /* The turn after it. */
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_BLOCKED);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_BLOCKED_OVER);
    pthread_join(thread, NULL);
}

static void *be_quick(void *argument)
{
    struct loop *loop = argument;
    for (unsigned i = 0; i < 200; i++) {
        nl_pulse_begin(&loop->stall.pulse, true);
        take_up(&loop->callbacks);
        nl_pulse_rest(&loop->stall.pulse);
        pass(THRESHOLD / 50);
    }
    /* A long rest is no stall. */
    pass(3 * THRESHOLD);
    nl_stall_close(&loop->stall);
    return NULL;
}

CASE(short_turns_and_long_rests_are_nothing_to_tell)
{
    struct loop loop;
    pthread_t thread;
    open_loop(&loop);
    pthread_create(&thread, NULL, be_quick, &loop);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_CLOSED);
    pthread_join(thread, NULL);
}

static void *close_late(void *argument)
{
    struct loop *loop = argument;
    pass(THRESHOLD);
    nl_stall_close(&loop->stall);
    return NULL;
}

CASE(closing_ends_the_sleep_until_there_is_work)
{
    struct loop loop;
    pthread_t thread;
    open_loop(&loop);
    pthread_create(&thread, NULL, close_late, &loop);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_CLOSED);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_CLOSED);
    pthread_join(thread, NULL);
}

CASE(the_end_of_a_stall_is_told_before_the_detector_is_closed)
{
    struct loop loop;
    open_loop(&loop);
    nl_pulse_begin(&loop.stall.pulse, true);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_BLOCKED);
    nl_pulse_rest(&loop.stall.pulse);
    nl_stall_close(&loop.stall);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_BLOCKED_OVER);
    CHECK_EQUAL(nl_stall_next(&loop.stall), NL_STALL_CLOSED);
}

CASE(what_a_thread_has_spent_and_is_doing)
{
    struct loop loop;
    char channel[64];
    open_loop(&loop);
    struct nl_spent before = nl_stall_spent(&loop.stall), after;
    do
        after = nl_stall_spent(&loop.stall);
    while (after.cpu < before.cpu + NL_SECOND / 100);
    CHECK(after.at > before.at);
    /* It is this thread itself that asks. */
    CHECK_EQUAL(nl_stall_state(&loop.stall, channel, sizeof(channel)), 'R');
    CHECK_EQUAL(strlen(channel), 0);
    loop.stall.thread = -1;
    CHECK_EQUAL(nl_stall_state(&loop.stall, channel, sizeof(channel)), '?');
    CHECK_EQUAL(strlen(channel), 0);
}
