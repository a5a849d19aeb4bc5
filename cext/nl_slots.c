#include "nl_slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nl_token.h"

#define FIRST_CAPACITY 64U

void nl_slots_init(struct nl_slots *slots)
{
    memset(slots, 0, sizeof(*slots));
}

void nl_slots_free(struct nl_slots *slots)
{
    free(slots->generation);
    free(slots->next);
    nl_slots_init(slots);
}

static int grow(struct nl_slots *slots)
{
    if (slots->capacity >= NL_SLOT_LIMIT)
        return -ENFILE;
    uint32_t capacity = slots->capacity ? slots->capacity * 2 : FIRST_CAPACITY;
    if (capacity > NL_SLOT_LIMIT)
        capacity = NL_SLOT_LIMIT;
    uint32_t *generation = realloc(slots->generation, capacity * sizeof(*generation));
    if (!generation)
        return -ENOMEM;
    slots->generation = generation;
    uint32_t *next = realloc(slots->next, capacity * sizeof(*next));
    if (!next)
        return -ENOMEM;
    slots->next = next;
    for (uint32_t slot = slots->capacity; slot < capacity; slot++) {
        generation[slot] = 1;
        next[slot] = slot + 1;
    }
    slots->first_free = slots->capacity;
    slots->capacity = capacity;
    return 0;
}

int nl_slots_take(struct nl_slots *slots)
{
    if (slots->first_free == slots->capacity) {
        int error = grow(slots);
        if (error)
            return error;
    }
    uint32_t slot = slots->first_free;
    slots->first_free = slots->next[slot];
    slots->taken++;
    return (int)slot;
}

void nl_slots_give(struct nl_slots *slots, uint32_t slot)
{
    uint32_t generation = (slots->generation[slot] + 1) & (NL_GENERATION_LIMIT - 1);
    slots->generation[slot] = generation ? generation : 1;
    slots->next[slot] = slots->first_free;
    slots->first_free = slot;
    slots->taken--;
}
