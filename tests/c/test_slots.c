/* The endpoint table's slots and generations. */
#include <errno.h>

#include <stdlib.h>

#include "check.h"
#include "nl_slots.h"
#include "nl_token.h"

#define MANY 1000U

CASE(slots_taken_are_distinct)
{
    struct nl_slots slots;
    static unsigned char seen[4096];
    nl_slots_init(&slots);
    for (unsigned i = 0; i < MANY; i++) {
        int slot = nl_slots_take(&slots);
        CHECK(slot >= 0 && slot < (int)sizeof(seen));
        CHECK(!seen[slot]);
        seen[slot] = 1;
    }
    CHECK_EQUAL(slots.taken, MANY);
    CHECK(slots.capacity >= MANY);
    nl_slots_free(&slots);
}

CASE(a_slot_given_back_is_taken_again_with_another_generation)
{
    struct nl_slots slots;
    nl_slots_init(&slots);
    int slot = nl_slots_take(&slots);
    uint32_t before = slots.generation[slot];
    CHECK(nl_slots_match(&slots, (uint32_t)slot, before));
    nl_slots_give(&slots, (uint32_t)slot);
    CHECK(!nl_slots_match(&slots, (uint32_t)slot, before));
    CHECK_EQUAL(slots.taken, 0);
    CHECK_EQUAL(nl_slots_take(&slots), slot);
    CHECK(!nl_slots_match(&slots, (uint32_t)slot, before));
    CHECK(nl_slots_match(&slots, (uint32_t)slot, slots.generation[slot]));
    nl_slots_free(&slots);
}

CASE(growth_keeps_every_generation)
{
    struct nl_slots slots;
    static uint32_t expected[MANY];
    nl_slots_init(&slots);
    int first = nl_slots_take(&slots);
    for (unsigned i = 0; i < 100; i++) {
        nl_slots_give(&slots, (uint32_t)first);
        CHECK_EQUAL(nl_slots_take(&slots), first);
    }
    expected[first] = slots.generation[first];
    CHECK_EQUAL(expected[first], 101);
    uint32_t capacity = slots.capacity;
    while (slots.taken < MANY) {
        int slot = nl_slots_take(&slots);
        CHECK(slot >= 0 && slot < (int)MANY);
        expected[slot] = slots.generation[slot];
    }
    CHECK(slots.capacity > capacity);
    for (uint32_t slot = 0; slot < MANY; slot++)
        CHECK(nl_slots_match(&slots, slot, expected[slot]));
    nl_slots_free(&slots);
}

CASE(a_generation_wraps_around_without_being_zero)
{
    struct nl_slots slots;
    nl_slots_init(&slots);
    uint32_t slot = (uint32_t)nl_slots_take(&slots);
    uint32_t generation = slots.generation[slot];
    unsigned wraps = 0;
    for (uint32_t i = 0; i < NL_GENERATION_LIMIT + 3; i++) {
        nl_slots_give(&slots, slot);
        CHECK_EQUAL(nl_slots_take(&slots), slot);
        uint32_t next = slots.generation[slot];
        if (generation == NL_GENERATION_LIMIT - 1) {
            CHECK_EQUAL(next, 1);
            wraps++;
        } else if (next != generation + 1) {
            CHECK_EQUAL(next, generation + 1);
        }
        generation = next;
    }
    CHECK_EQUAL(wraps, 1);
    nl_slots_free(&slots);
}

CASE(nothing_matches_a_slot_that_does_not_exist)
{
    struct nl_slots slots;
    nl_slots_init(&slots);
    CHECK(!nl_slots_match(&slots, 0, 1));
    int slot = nl_slots_take(&slots);
    CHECK(!nl_slots_match(&slots, slots.capacity, 1));
    CHECK(!nl_slots_match(&slots, NL_SLOT_LIMIT - 1, 1));
    CHECK(!nl_slots_match(&slots, (uint32_t)slot, 0));
    CHECK(!nl_slots_match(&slots, nl_token_slot(NL_TOKEN_NONE), nl_token_generation(NL_TOKEN_NONE)));
    nl_slots_free(&slots);
    CHECK(!nl_slots_match(&slots, (uint32_t)slot, 1));
}

CASE(a_full_table_says_so)
{
    /* A table with no free slot and no room to grow, without the memory that a real one takes. */
    struct nl_slots slots = {.capacity = NL_SLOT_LIMIT, .first_free = NL_SLOT_LIMIT, .taken = NL_SLOT_LIMIT};
    CHECK_EQUAL(nl_slots_take(&slots), -ENFILE);
    CHECK_EQUAL(slots.taken, NL_SLOT_LIMIT);
}

CASE(the_last_slot_of_all_is_left_to_calls)
{
    /* A table that has half of all slots, all taken, and grows. */
    struct nl_slots slots = {.capacity = 1U << 23, .first_free = 1U << 23, .taken = 1U << 23};
    slots.generation = malloc(slots.capacity * sizeof(*slots.generation));
    slots.next = malloc(slots.capacity * sizeof(*slots.next));
    CHECK_EQUAL(nl_slots_take(&slots), 1U << 23);
    CHECK_EQUAL(slots.capacity, NL_CALL_SLOT);
    CHECK(!nl_slots_match(&slots, NL_CALL_SLOT, 1));
    nl_slots_free(&slots);
}

CASE(taking_and_giving_at_random_agrees_with_a_model)
{
    struct nl_slots slots;
    static uint32_t held[512], generation[512];
    unsigned count = 0;
    nl_slots_init(&slots);
    for (unsigned step = 0; step < 100000; step++) {
        if (count < 512 && (count == 0 || check_random() % 2)) {
            int slot = nl_slots_take(&slots);
            CHECK(slot >= 0);
            for (unsigned i = 0; i < count; i++)
                if (held[i] == (uint32_t)slot)
                    CHECK(!"a slot was handed out twice");
            held[count] = (uint32_t)slot;
            generation[count++] = slots.generation[slot];
        } else {
            unsigned i = check_random() % count;
            CHECK(nl_slots_match(&slots, held[i], generation[i]));
            nl_slots_give(&slots, held[i]);
            CHECK(!nl_slots_match(&slots, held[i], generation[i]));
            held[i] = held[--count];
            generation[i] = generation[count];
        }
        CHECK_EQUAL(slots.taken, count);
    }
    for (unsigned i = 0; i < count; i++)
        CHECK(nl_slots_match(&slots, held[i], generation[i]));
    nl_slots_free(&slots);
}
