/* The timer heap against a plain list that is searched for the smallest. */
#include <math.h>
#include <stdbool.h>

#include "check.h"
#include "nl_timers.h"

#define MANY 300

static void check_heap(const struct nl_timers *timers)
{
    for (size_t i = 0; i < timers->count; i++) {
        const struct nl_timer *timer = timers->heap[i], *parent = timers->heap[i ? (i - 1) / 2 : 0];
        CHECK_EQUAL(timer->place, i);
        CHECK(parent->when < timer->when || (parent->when == timer->when && parent->order <= timer->order));
    }
}

static struct nl_timer *pop(struct nl_timers *timers)
{
    struct nl_timer *timer = nl_timers_first(timers);
    CHECK(timer);
    nl_timers_remove(timers, timer);
    CHECK(timer->place == NL_TIMER_IDLE);
    return timer;
}

/* Which of the timers in the heap fires first? The order of adding is the order of their `order`. */
static struct nl_timer *expected_first(struct nl_timer *timers, unsigned count)
{
    struct nl_timer *first = NULL;
    for (unsigned i = 0; i < count; i++) {
        struct nl_timer *timer = &timers[i];
        if (timer->place == NL_TIMER_IDLE)
            continue;
        if (!first || timer->when < first->when || (timer->when == first->when && timer->order < first->order))
            first = timer;
    }
    return first;
}

static void make_idle(struct nl_timer *timers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        timers[i].place = NL_TIMER_IDLE;
}

CASE(an_empty_heap_has_no_first)
{
    struct nl_timers timers;
    nl_timers_init(&timers);
    CHECK(!nl_timers_first(&timers));
    struct nl_timer timer = {.place = NL_TIMER_IDLE};
    CHECK_EQUAL(nl_timers_add(&timers, &timer, 1.0), 0);
    CHECK(nl_timers_first(&timers) == &timer);
    nl_timers_remove(&timers, &timer);
    CHECK(!nl_timers_first(&timers));
    nl_timers_free(&timers);
}

CASE(adding_and_removing_at_random_agrees_with_a_model)
{
    static struct nl_timer all[MANY];
    struct nl_timers timers;
    size_t count = 0;
    nl_timers_init(&timers);
    make_idle(all, MANY);
    for (unsigned step = 0; step < 30000; step++) {
        struct nl_timer *timer = &all[check_random() % MANY];
        if (timer->place == NL_TIMER_IDLE) {
            /* Few different moments, so that equal ones are common. */
            CHECK_EQUAL(nl_timers_add(&timers, timer, (double)(check_random() % 50) / 7), 0);
            count++;
        } else {
            nl_timers_remove(&timers, timer);
            CHECK(timer->place == NL_TIMER_IDLE);
            count--;
        }
        CHECK_EQUAL(timers.count, count);
        CHECK(nl_timers_first(&timers) == expected_first(all, MANY));
        if (step % 64 == 0)
            check_heap(&timers);
    }
    while (timers.count) {
        struct nl_timer *expected = expected_first(all, MANY);
        CHECK(pop(&timers) == expected);
    }
    nl_timers_free(&timers);
}

CASE(any_timer_can_be_removed)
{
    struct nl_timer all[40];
    for (unsigned count = 1; count <= 40; count++)
        for (unsigned removed = 0; removed < count; removed++) {
            struct nl_timers timers;
            nl_timers_init(&timers);
            make_idle(all, 40);
            for (unsigned i = 0; i < count; i++)
                CHECK_EQUAL(nl_timers_add(&timers, &all[i], (double)(check_random() % 20)), 0);
            struct nl_timer *victim = timers.heap[removed];
            nl_timers_remove(&timers, victim);
            CHECK(victim->place == NL_TIMER_IDLE);
            check_heap(&timers);
            while (timers.count) {
                struct nl_timer *expected = expected_first(all, count);
                CHECK(pop(&timers) == expected);
            }
            nl_timers_free(&timers);
        }
}

CASE(equal_timers_fire_in_the_order_they_were_added)
{
    static struct nl_timer all[MANY];
    struct nl_timers timers;
    nl_timers_init(&timers);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQUAL(nl_timers_add(&timers, &all[i], 1.0), 0);
    for (unsigned i = 0; i < MANY; i += 3)
        nl_timers_remove(&timers, &all[i]);
    for (unsigned i = 0; i < MANY; i += 3)
        CHECK_EQUAL(nl_timers_add(&timers, &all[i], 1.0), 0);
    for (unsigned i = 0; i < MANY; i++)
        if (i % 3)
            CHECK(pop(&timers) == &all[i]);
    for (unsigned i = 0; i < MANY; i += 3)
        CHECK(pop(&timers) == &all[i]);
    nl_timers_free(&timers);
}

CASE(removing_a_timer_twice_is_harmless)
{
    struct nl_timers timers;
    struct nl_timer a, b;
    nl_timers_init(&timers);
    CHECK_EQUAL(nl_timers_add(&timers, &a, 1.0), 0);
    CHECK_EQUAL(nl_timers_add(&timers, &b, 2.0), 0);
    nl_timers_remove(&timers, &a);
    nl_timers_remove(&timers, &a);
    CHECK_EQUAL(timers.count, 1);
    CHECK(nl_timers_first(&timers) == &b);
    nl_timers_free(&timers);
}

CASE(removing_a_timer_that_was_never_added_is_harmless)
{
    struct nl_timers timers;
    struct nl_timer added, never;
    memset(&never, 0, sizeof(never));
    nl_timers_init(&timers);
    nl_timers_remove(&timers, &never);
    CHECK_EQUAL(nl_timers_add(&timers, &added, 1.0), 0);
    nl_timers_remove(&timers, &never);
    CHECK_EQUAL(timers.count, 1);
    CHECK(nl_timers_first(&timers) == &added);
    CHECK_EQUAL(added.place, 0);
    nl_timers_free(&timers);
}

CASE(a_timer_that_never_fires_comes_last)
{
    struct nl_timers timers;
    struct nl_timer never, past, soon;
    nl_timers_init(&timers);
    CHECK_EQUAL(nl_timers_add(&timers, &never, INFINITY), 0);
    CHECK_EQUAL(nl_timers_add(&timers, &soon, 1.0), 0);
    CHECK_EQUAL(nl_timers_add(&timers, &past, -1.0), 0);
    CHECK(pop(&timers) == &past);
    CHECK(pop(&timers) == &soon);
    CHECK(pop(&timers) == &never);
    nl_timers_free(&timers);
}

CASE(freeing_the_heap_leaves_its_timers_idle)
{
    struct nl_timers timers;
    struct nl_timer all[100];
    nl_timers_init(&timers);
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQUAL(nl_timers_add(&timers, &all[i], (double)(i % 7)), 0);
    nl_timers_free(&timers);
    for (unsigned i = 0; i < 100; i++) {
        CHECK(all[i].place == NL_TIMER_IDLE);
        nl_timers_remove(&timers, &all[i]);
    }
    CHECK_EQUAL(nl_timers_add(&timers, &all[0], 1.0), 0);
    CHECK(nl_timers_first(&timers) == &all[0]);
    nl_timers_free(&timers);
}
