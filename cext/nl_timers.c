#include "nl_timers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64U

void nl_timers_init(struct nl_timers *timers)
{
    memset(timers, 0, sizeof(*timers));
}

void nl_timers_free(struct nl_timers *timers)
{
    for (size_t i = 0; i < timers->count; i++)
        timers->heap[i]->place = NL_TIMER_IDLE;
    free(timers->heap);
    nl_timers_init(timers);
}

static int fires_before(const struct nl_timer *a, const struct nl_timer *b)
{
    return a->when < b->when || (a->when == b->when && a->order < b->order);
}

static void put(struct nl_timers *timers, struct nl_timer *timer, size_t place)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void sift_up(struct nl_timers *timers, struct nl_timer *timer, size_t place)
{
    while (place > 0) {
        size_t parent = (place - 1) / 2;
        if (!fires_before(timer, timers->heap[parent]))
            break;
        put(timers, timers->heap[parent], place);
        place = parent;
    }
    put(timers, timer, place);
}

static void sift_down(struct nl_timers *timers, struct nl_timer *timer, size_t place)
{
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= timers->count)
            break;
        if (child + 1 < timers->count && fires_before(timers->heap[child + 1], timers->heap[child]))
            child++;
        if (!fires_before(timers->heap[child], timer))
            break;
        put(timers, timers->heap[child], place);
        place = child;
    }
    put(timers, timer, place);
}

int nl_timers_add(struct nl_timers *timers, struct nl_timer *timer, double when)
{
    if (timers->count == timers->capacity) {
        size_t capacity = timers->capacity ? timers->capacity * 2 : FIRST_CAPACITY;
        struct nl_timer **heap = realloc(timers->heap, capacity * sizeof(struct nl_timer *));
        if (!heap)
            return -ENOMEM;
        timers->heap = heap;
        timers->capacity = capacity;
    }
    timer->when = when;
    timer->order = timers->added++;
    sift_up(timers, timer, timers->count++);
    return 0;
}

void nl_timers_remove(struct nl_timers *timers, struct nl_timer *timer)
{
    size_t place = timer->place;
    /* The heap is asked, too: a timer that was never added may hold any place, such as 0 from zeroed memory. */
    if (place >= timers->count || timers->heap[place] != timer)
        return;
    timer->place = NL_TIMER_IDLE;
    struct nl_timer *last = timers->heap[--timers->count];
    if (last == timer)
        return;
    /* The last timer takes the free place; it may belong above or below it. */
    if (place > 0 && fires_before(last, timers->heap[(place - 1) / 2]))
        sift_up(timers, last, place);
    else
        sift_down(timers, last, place);
}
