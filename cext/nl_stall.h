/*
 * The stall detector: sleeps in a thread of its own until a turn of the loop has taken too long, and says why that is.
 *
 * It tells two things apart by a mark, the number of callbacks and completions that the loop has taken up. In a turn
 * that is too long, a mark that stands still means that one callback blocks the loop; a mark that moves means that the
 * loop is saturated: many callbacks, each of them short.
 *
 * It looks at the pulse twice per threshold while the loop is at work, not at all while the loop rests, and more often
 * only when a turn has taken half of the threshold. None of this needs the interpreter lock.
 */
#ifndef NL_STALL_H
#define NL_STALL_H

#include <stdbool.h>
#include <sys/types.h>

#include "nl_pulse.h"

enum nl_stall_event {
    NL_STALL_CLOSED,         /* nl_stall_close() was called */
    NL_STALL_BLOCKED,        /* one callback has run for too long, and runs */
    NL_STALL_SATURATED,      /* the turn has run for too long, with callbacks that come and go */
    NL_STALL_BLOCKED_OVER,   /* the callback has returned */
    NL_STALL_SATURATED_OVER, /* the turn has ended */
};

/* What the loop has taken up so far. */
struct nl_mark {
    uint64_t callbacks;
    uint64_t completions;
};

/* What a thread has spent its time on; nanoseconds. */
struct nl_spent {
    int64_t at;    /* when this was asked */
    int64_t cpu;   /* on a CPU */
    int64_t delay; /* ready to run, and not given a CPU */
};

struct nl_stall {
    struct nl_pulse pulse;
    const uint64_t *callbacks;   /* counters of the loop's thread */
    const uint64_t *completions;
    int64_t threshold;
    pid_t thread; /* the kernel's number of the loop's thread */
    clockid_t cpu_clock;
    uint32_t closing;

    /* The turn that is looked at, and the callback in it. */
    int64_t turn;       /* when it began; 0: none */
    int64_t first_look; /* when it was looked at first */
    struct nl_mark first_mark;
    struct nl_mark mark;
    int64_t mark_since; /* when the mark was seen first */
    bool decided;       /* is it known whether this turn is too long, and how? */
    bool blocked, saturated; /* of which end nothing has been said yet */
    int64_t blocked_since;
    struct nl_spent before; /* what its thread had spent when the turn began to look suspicious; at 0: not asked */

    int64_t length; /* with an event: for how long the callback, or the turn, has run; nanoseconds */
};

/* The counters must be there until nl_stall_next() has said that the detector is closed, or is not called any more. */
void nl_stall_init(struct nl_stall *stall, const uint64_t *callbacks, const uint64_t *completions, int64_t threshold);

/* Called by the loop's thread before it runs: it is the one to look at. */
void nl_stall_enter(struct nl_stall *stall);

/* Sleep until there is something to say: one of nl_stall_event. */
int nl_stall_next(struct nl_stall *stall);

/* Has the loop not moved on since the last event? */
bool nl_stall_stands(const struct nl_stall *stall);

/* Have nl_stall_next() return, now or when it is called next; any thread. */
void nl_stall_close(struct nl_stall *stall);

/* What the loop's thread has spent until now. */
struct nl_spent nl_stall_spent(const struct nl_stall *stall);

/* For how long the calling thread, in its life, was ready to run and not given a CPU; nanoseconds. */
int64_t nl_own_delay(void);

/* In which state the loop's thread is, a letter as in proc_pid_stat(5) or '?', and, if it sleeps, in which function of
 * the kernel; an empty string where the kernel does not tell. */
char nl_stall_state(const struct nl_stall *stall, char *channel, size_t size);

#endif
