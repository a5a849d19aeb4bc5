/*
 * Timer heap: a binary heap of timers embedded in their owners.
 *
 * A timer knows its place, so cancelling removes it at once instead of leaving a dead entry to be skipped later. Timers
 * stay in user space because one timeout operation of the ring costs about a microsecond.
 */
#ifndef NL_TIMERS_H
#define NL_TIMERS_H

#include <stddef.h>
#include <stdint.h>

#define NL_TIMER_IDLE SIZE_MAX /* the place of a timer that is in no heap */

struct nl_timer {
    double when;    /* seconds on CLOCK_MONOTONIC */
    uint64_t order; /* timers due at the same moment fire in the order they were added */
    size_t place;
    void *owner; /* whom the timer is embedded in */
};

struct nl_timers {
    struct nl_timer **heap;
    size_t count;
    size_t capacity;
    uint64_t added;
};

void nl_timers_init(struct nl_timers *timers);
void nl_timers_free(struct nl_timers *timers);

/* Add a timer: 0 or -ENOMEM. */
int nl_timers_add(struct nl_timers *timers, struct nl_timer *timer, double when);

/* Remove a timer; one that is in no heap is left alone. */
void nl_timers_remove(struct nl_timers *timers, struct nl_timer *timer);

/* The next timer to fire, or NULL. */
static inline struct nl_timer *nl_timers_first(const struct nl_timers *timers)
{
    return timers->count ? timers->heap[0] : NULL;
}

#endif
