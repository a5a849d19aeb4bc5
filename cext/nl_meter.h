/*
 * The meter of a loop: how long each of its turns is at work.
 *
 * A turn's work begins when the kernel has ended the loop's wait, or with the turn where it does not wait, and ends when
 * the loop waits again or begins another turn. So it holds the callbacks, the calls of protocols, the wait for the
 * interpreter lock and all system calls but the one that waits. The clock is the exact one, read twice in a turn that
 * waits and once in one that does not.
 */
#ifndef NL_METER_H
#define NL_METER_H

#include "nl_histogram.h"
#include "nl_pulse.h"

struct nl_meter {
    int64_t since; /* when the turn's work began, nanoseconds on CLOCK_MONOTONIC; 0: the loop rests */
    struct nl_histogram turns;
};

/* The loop waits in the kernel, or stops. */
static inline void nl_meter_rest(struct nl_meter *meter)
{
    if (meter->since)
        nl_histogram_add(&meter->turns, nl_clock(CLOCK_MONOTONIC) - meter->since);
    meter->since = 0;
}

/* Another turn goes to work, after a rest or without one. */
static inline void nl_meter_go_on(struct nl_meter *meter)
{
    int64_t now = nl_clock(CLOCK_MONOTONIC);
    if (meter->since)
        nl_histogram_add(&meter->turns, now - meter->since);
    meter->since = now;
}

/* How late is a timer that was due at a time in seconds on CLOCK_MONOTONIC? Nanoseconds; at least 0. */
static inline int64_t nl_lateness(double due)
{
    double late = (double)nl_clock(CLOCK_MONOTONIC) - due * NL_SECOND;
    return late > 0 ? (int64_t)late : 0;
}

#endif
