/*
 * The pulse of a loop: since when its thread has been at work, told to whoever watches the loop from another thread.
 *
 * The loop's thread writes one time per turn and asks no lock. The clock is the coarse one: it moves in steps of some
 * milliseconds, costs a quarter of the exact one, and never needs a system call. Nobody is woken for the time; only
 * when the loop goes to work after a rest, and its watcher sleeps, does that cost a system call.
 */
#ifndef NL_PULSE_H
#define NL_PULSE_H

#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NL_SECOND INT64_C(1000000000)

/* Whether the watcher sleeps, and what for; the word of its futex. */
enum nl_sleep { NL_AWAKE, NL_SLEEPS_UNTIL_WORK, NL_SLEEPS_FOR_A_TIME };

struct nl_pulse {
    int64_t since;  /* when the turn's work began, nanoseconds on CLOCK_MONOTONIC; 0: the loop rests */
    uint32_t sleep; /* of the watcher; one of nl_sleep */
    bool has_lock;  /* has the loop's thread got the interpreter lock since then? */
};

static inline int64_t nl_clock(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return now.tv_sec * NL_SECOND + now.tv_nsec;
}

static inline void nl_pulse_wake(struct nl_pulse *pulse)
{
    __atomic_store_n(&pulse->sleep, NL_AWAKE, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &pulse->sleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The loop waits in the kernel, or stops: it may take as long as it likes. */
static inline void nl_pulse_rest(struct nl_pulse *pulse)
{
    __atomic_store_n(&pulse->since, 0, __ATOMIC_RELEASE);
}

/* Another turn, without a rest before it. */
static inline void nl_pulse_go_on(struct nl_pulse *pulse)
{
    __atomic_store_n(&pulse->since, nl_clock(CLOCK_MONOTONIC_COARSE), __ATOMIC_RELEASE);
}

/* The loop goes to work after a rest, with the interpreter lock, or it is about to ask for that. */
static inline void nl_pulse_begin(struct nl_pulse *pulse, bool has_lock)
{
    __atomic_store_n(&pulse->has_lock, has_lock, __ATOMIC_RELAXED);
    nl_pulse_go_on(pulse);
    /* The watcher says first that it sleeps and then looks at the time: one of both sees what the other has written. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pulse->sleep, __ATOMIC_RELAXED) == NL_SLEEPS_UNTIL_WORK)
        nl_pulse_wake(pulse);
}

static inline void nl_pulse_got_lock(struct nl_pulse *pulse)
{
    __atomic_store_n(&pulse->has_lock, true, __ATOMIC_RELAXED);
}

#endif
