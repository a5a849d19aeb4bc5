/* The endpoint table's bookkeeping: which slots are taken, and each slot's generation. */
#ifndef NL_SLOTS_H
#define NL_SLOTS_H

#include <stdint.h>

struct nl_slots {
    uint32_t *generation; /* never 0 */
    uint32_t *next;       /* free list; the value after the last free slot is `capacity` */
    uint32_t capacity;
    uint32_t first_free;
    uint32_t taken;
};

void nl_slots_init(struct nl_slots *slots);
void nl_slots_free(struct nl_slots *slots);

/* Take a slot: its index, or -ENOMEM, or -ENFILE when all NL_SLOT_LIMIT slots are taken. */
int nl_slots_take(struct nl_slots *slots);

/* Give a slot back. Its generation moves on, so completions still under way for it become stale. */
void nl_slots_give(struct nl_slots *slots, uint32_t slot);

/* Does this slot exist, and is this its present generation? */
static inline int nl_slots_match(const struct nl_slots *slots, uint32_t slot, uint32_t generation)
{
    return slot < slots->capacity && slots->generation[slot] == generation;
}

#endif
