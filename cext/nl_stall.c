#include "nl_stall.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* While a callback is known to block: how often to ask whether it has returned, as a share of the time it has taken,
 * and within which limits. */
#define END_SHARE 16
#define END_SOONEST (NL_SECOND / 1000)
#define END_LATEST (NL_SECOND / 4)
/* While the loop is saturated: how often to look which of both it is. */
#define SATURATED_LOOK (NL_SECOND / 50)

void nl_stall_init(struct nl_stall *stall, const uint64_t *callbacks, const uint64_t *completions, int64_t threshold)
{
    *stall = (struct nl_stall){.callbacks = callbacks, .completions = completions, .threshold = threshold};
}

void nl_stall_enter(struct nl_stall *stall)
{
    stall->thread = (pid_t)syscall(SYS_gettid);
    pthread_getcpuclockid(pthread_self(), &stall->cpu_clock);
}

void nl_stall_close(struct nl_stall *stall)
{
    __atomic_store_n(&stall->closing, 1, __ATOMIC_SEQ_CST);
    nl_pulse_wake(&stall->pulse);
}

static struct nl_mark mark_of(const struct nl_stall *stall)
{
    return (struct nl_mark){__atomic_load_n(stall->callbacks, __ATOMIC_RELAXED),
                            __atomic_load_n(stall->completions, __ATOMIC_RELAXED)};
}

static bool same_mark(struct nl_mark one, struct nl_mark other)
{
    return one.callbacks == other.callbacks && one.completions == other.completions;
}

bool nl_stall_stands(const struct nl_stall *stall)
{
    return stall->turn && stall->turn == __atomic_load_n(&stall->pulse.since, __ATOMIC_ACQUIRE) &&
           same_mark(mark_of(stall), stall->mark);
}

/* Sleep for so many nanoseconds, or, with 0, until the loop goes to work. */
static void sleep_for(struct nl_stall *stall, int64_t nanoseconds)
{
    struct nl_pulse *pulse = &stall->pulse;
    struct timespec time = {nanoseconds / NL_SECOND, nanoseconds % NL_SECOND};
    uint32_t how = nanoseconds ? NL_SLEEPS_FOR_A_TIME : NL_SLEEPS_UNTIL_WORK;
    __atomic_store_n(&pulse->sleep, how, __ATOMIC_SEQ_CST);
    bool needless = __atomic_load_n(&stall->closing, __ATOMIC_SEQ_CST) ||
                    (!nanoseconds && __atomic_load_n(&pulse->since, __ATOMIC_SEQ_CST));
    if (!needless)
        syscall(SYS_futex, &pulse->sleep, FUTEX_WAIT_PRIVATE, how, nanoseconds ? &time : NULL, NULL, 0);
    __atomic_store_n(&pulse->sleep, NL_AWAKE, __ATOMIC_SEQ_CST);
}

/* How long until the turn is to be looked at again. */
static int64_t next_look(const struct nl_stall *stall, int64_t now)
{
    int64_t part = stall->threshold / 4, took = now - stall->turn, pause;
    if (stall->blocked) {
        pause = (now - stall->blocked_since) / END_SHARE;
        return pause < END_SOONEST ? END_SOONEST : pause > END_LATEST ? END_LATEST : pause;
    }
    if (stall->decided)
        return part < SATURATED_LOOK ? part : SATURATED_LOOK;
    if (took < 2 * part)
        return 2 * part - took;
    if (took < stall->threshold && stall->threshold - took < part)
        return stall->threshold - took;
    return part;
}

/* A look at another turn than before, or at a rest. */
static void begin_turn(struct nl_stall *stall, int64_t turn, struct nl_mark mark, int64_t now)
{
    stall->turn = turn;
    stall->first_look = stall->mark_since = now;
    stall->mark = stall->first_mark = mark;
    stall->decided = false;
    stall->before.at = 0;
}

/* How much the loop has taken up since the turn was looked at first. */
static uint64_t taken_up(const struct nl_stall *stall)
{
    return stall->mark.callbacks - stall->first_mark.callbacks + stall->mark.completions - stall->first_mark.completions;
}

/* Is the turn too long, and how? Known when the mark has been looked at for a quarter of the threshold. */
static int decide(struct nl_stall *stall, int64_t now)
{
    int64_t stood = now - stall->mark_since, part = stall->threshold / 4;
    bool first = !stall->decided;
    if (stall->blocked || now - stall->turn < stall->threshold || now - stall->first_look < part)
        return NL_STALL_CLOSED;
    if (stood >= (first ? part : stall->threshold)) {
        stall->decided = stall->blocked = true;
        /* What stands first of all in its turn is taken to have begun with it. */
        stall->blocked_since = first ? stall->turn : stall->mark_since;
        stall->length = now - stall->blocked_since;
        return NL_STALL_BLOCKED;
    }
    /* One that is about to be taken up when the thread is given a CPU again does not come and go. */
    if (!first || taken_up(stall) < 2)
        return NL_STALL_CLOSED;
    stall->decided = stall->saturated = true;
    stall->length = now - stall->turn;
    return NL_STALL_SATURATED;
}

/* One look: an event, or NL_STALL_CLOSED for none. */
static int look(struct nl_stall *stall, int64_t now)
{
    int64_t turn = __atomic_load_n(&stall->pulse.since, __ATOMIC_ACQUIRE);
    struct nl_mark mark = mark_of(stall);
    bool moved = !same_mark(mark, stall->mark);
    if (stall->blocked && (turn != stall->turn || moved)) {
        stall->blocked = false;
        stall->length = now - stall->blocked_since;
        return NL_STALL_BLOCKED_OVER;
    }
    if (stall->saturated && turn != stall->turn) {
        stall->saturated = false;
        stall->length = now - stall->turn;
        return NL_STALL_SATURATED_OVER;
    }
    if (turn != stall->turn) {
        begin_turn(stall, turn, mark, now);
    } else if (moved) {
        stall->mark = mark;
        stall->mark_since = now;
    }
    if (!turn)
        return NL_STALL_CLOSED;
    if (!stall->before.at && now - turn >= stall->threshold / 2)
        stall->before = nl_stall_spent(stall);
    return decide(stall, now);
}

int nl_stall_next(struct nl_stall *stall)
{
    for (;;) {
        int64_t now = nl_clock(CLOCK_MONOTONIC);
        int event = look(stall, now);
        if (event != NL_STALL_CLOSED || __atomic_load_n(&stall->closing, __ATOMIC_SEQ_CST))
            return event;
        sleep_for(stall, stall->turn ? next_look(stall, now) : 0);
    }
}

/* Read a file: the number of bytes, 0 if there is nothing to be read. */
static size_t read_path(const char *path, char *text, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, size - 1);
    if (file >= 0)
        close(file);
    if (length < 0)
        length = 0;
    text[length] = '\0';
    return (size_t)length;
}

/* Read a file of the loop's thread in /proc. */
static size_t read_file(const struct nl_stall *stall, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)stall->thread, name);
    return read_path(path, text, size);
}

/* The second number of schedstat; 0 where the kernel does not count. */
static int64_t delay_in(const char *text)
{
    long long delay;
    return sscanf(text, "%*u %lld", &delay) == 1 ? delay : 0;
}

struct nl_spent nl_stall_spent(const struct nl_stall *stall)
{
    struct nl_spent spent = {.at = nl_clock(CLOCK_MONOTONIC), .cpu = nl_clock(stall->cpu_clock)};
    char text[128];
    read_file(stall, "schedstat", text, sizeof(text));
    spent.delay = delay_in(text);
    return spent;
}

int64_t nl_own_delay(void)
{
    char text[128];
    read_path("/proc/thread-self/schedstat", text, sizeof(text));
    return delay_in(text);
}

char nl_stall_state(const struct nl_stall *stall, char *channel, size_t size)
{
    char text[256];
    const char *name_end;
    /* The thread's name, in parentheses, may hold anything, a parenthesis too. */
    char state = read_file(stall, "stat", text, sizeof(text)) && (name_end = strrchr(text, ')')) && name_end[1]
                     ? name_end[2]
                     : '?';
    read_file(stall, "wchan", channel, size);
    /* A thread that does not sleep, or whose place the kernel keeps to itself, is said to be at 0. */
    if (!strcmp(channel, "0"))
        channel[0] = '\0';
    return state;
}
