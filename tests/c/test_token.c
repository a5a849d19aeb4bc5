/* Tokens: every field survives at its limits and none reaches into its neighbour. */
#include "check.h"
#include "nl_token.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const uint32_t slots[] = {0, 1, 0x555555, NL_SLOT_LIMIT - 1};
static const uint32_t generations[] = {1, 2, 0xaaaaaa, NL_GENERATION_LIMIT - 1};
static const unsigned bytes[] = {0, 1, 0x5a, 0xff};

CASE(fields_survive_at_their_limits)
{
    for (size_t s = 0; s < LENGTH(slots); s++)
        for (size_t g = 0; g < LENGTH(generations); g++)
            for (size_t o = 0; o < LENGTH(bytes); o++)
                for (size_t l = 0; l < LENGTH(bytes); l++) {
                    uint64_t token = nl_token(slots[s], generations[g], bytes[o], bytes[l]);
                    CHECK_EQUAL(nl_token_slot(token), slots[s]);
                    CHECK_EQUAL(nl_token_generation(token), generations[g]);
                    CHECK_EQUAL(nl_token_op(token), bytes[o]);
                    CHECK_EQUAL(nl_token_lane(token), bytes[l]);
                }
}

CASE(no_token_is_nobodys)
{
    CHECK(nl_token(0, 1, 0, 0) != NL_TOKEN_NONE);
    CHECK(nl_token(0, NL_GENERATION_LIMIT - 1, 0, 0) != NL_TOKEN_NONE);
}

CASE(an_operation_or_lane_too_large_stays_in_its_field)
{
    uint64_t token = nl_token(7, 9, 0x1ff, 0xfff);
    CHECK_EQUAL(nl_token_slot(token), 7);
    CHECK_EQUAL(nl_token_generation(token), 9);
    CHECK_EQUAL(nl_token_op(token), 0xff);
    CHECK_EQUAL(nl_token_lane(token), 0xff);
}

CASE(operations_fit_their_field_and_are_not_zero)
{
    CHECK(NL_ACCEPT > 0);
    CHECK(NL_CANCEL <= 0xff);
}

CASE(each_field_alone_changes_the_token)
{
    uint64_t token = nl_token(1, 1, 1, 1);
    CHECK(token != nl_token(2, 1, 1, 1));
    CHECK(token != nl_token(1, 2, 1, 1));
    CHECK(token != nl_token(1, 1, 2, 1));
    CHECK(token != nl_token(1, 1, 1, 2));
}
