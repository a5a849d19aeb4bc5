/* The life cycle of a transport: the table against the few rules it stands for. */
#include "check.h"
#include "nl_lifecycle.h"

struct rule {
    enum nl_state from;
    enum nl_event event;
    enum nl_state to;
};

/* Every event that moves a transport. All others leave it where it is. */
static const struct rule rules[] = {
    {NL_NEW, NL_ON_ATTACHED, NL_OPEN},
    {NL_OPEN, NL_ON_WRITE_EOF, NL_HALF_CLOSED},
    {NL_OPEN, NL_ON_CLOSE, NL_DRAINING},
    {NL_OPEN, NL_ON_ABORT, NL_CANCELLING},
    {NL_HALF_CLOSED, NL_ON_CLOSE, NL_DRAINING},
    {NL_HALF_CLOSED, NL_ON_ABORT, NL_CANCELLING},
    {NL_DRAINING, NL_ON_DRAINED, NL_CANCELLING},
    {NL_DRAINING, NL_ON_ABORT, NL_CANCELLING},
    {NL_DRAINING, NL_ON_RING_CLOSED, NL_CLOSED},
    {NL_CANCELLING, NL_ON_TOLD, NL_CLOSING},
    {NL_CANCELLING, NL_ON_RING_CLOSED, NL_CLOSED},
    {NL_CLOSING, NL_ON_FILE_CLOSED, NL_CLOSED},
    {NL_CLOSING, NL_ON_RING_CLOSED, NL_CLOSED},
};

static enum nl_state expected(enum nl_state state, enum nl_event event)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (rules[i].from == state && rules[i].event == event)
            return rules[i].to;
    return state;
}

CASE(every_state_answers_every_event)
{
    for (int state = 0; state < NL_STATES; state++)
        for (int event = 0; event < NL_EVENTS; event++)
            CHECK_EQUAL(nl_next_state((enum nl_state)state, (enum nl_event)event),
                        expected((enum nl_state)state, (enum nl_event)event));
}

CASE(closed_is_final)
{
    for (int event = 0; event < NL_EVENTS; event++)
        CHECK_EQUAL(nl_next_state(NL_CLOSED, (enum nl_event)event), NL_CLOSED);
}

CASE(no_event_goes_back)
{
    for (int state = 0; state < NL_STATES; state++)
        for (int event = 0; event < NL_EVENTS; event++)
            CHECK((int)nl_next_state((enum nl_state)state, (enum nl_event)event) >= state);
}

CASE(abort_ends_reading_and_writing_from_every_state)
{
    for (int state = NL_OPEN; state < NL_STATES; state++) {
        enum nl_state after = nl_next_state((enum nl_state)state, NL_ON_ABORT);
        CHECK((int)after >= state);
        CHECK(after >= NL_CANCELLING);
        CHECK_EQUAL(nl_next_state(after, NL_ON_ABORT), after);
    }
}

CASE(abort_leads_to_closed_from_every_state)
{
    for (int state = NL_OPEN; state < NL_STATES; state++) {
        enum nl_state now = nl_next_state((enum nl_state)state, NL_ON_ABORT);
        now = nl_next_state(now, NL_ON_TOLD);
        CHECK_EQUAL(nl_next_state(now, NL_ON_FILE_CLOSED), NL_CLOSED);
    }
}

CASE(close_sends_the_outbox_before_it_cancels)
{
    static const enum nl_state starts[] = {NL_OPEN, NL_HALF_CLOSED};
    for (size_t i = 0; i < 2; i++) {
        enum nl_state now = nl_next_state(starts[i], NL_ON_CLOSE);
        CHECK_EQUAL(now, NL_DRAINING);
        CHECK_EQUAL(nl_next_state(now, NL_ON_TOLD), NL_DRAINING);
        now = nl_next_state(now, NL_ON_DRAINED);
        CHECK_EQUAL(now, NL_CANCELLING);
        now = nl_next_state(now, NL_ON_TOLD);
        CHECK_EQUAL(now, NL_CLOSING);
        CHECK_EQUAL(nl_next_state(now, NL_ON_FILE_CLOSED), NL_CLOSED);
    }
}

CASE(the_file_is_closed_only_when_nothing_is_in_flight)
{
    for (int state = 0; state < NL_CLOSING; state++) {
        for (int event = 0; event < NL_ON_RING_CLOSED; event++)
            if (state != NL_CANCELLING || event != NL_ON_TOLD)
                CHECK(nl_next_state((enum nl_state)state, (enum nl_event)event) < NL_CLOSING);
        CHECK(nl_next_state((enum nl_state)state, NL_ON_FILE_CLOSED) != NL_CLOSED);
    }
}

CASE(what_is_open_when_the_ring_is_closed_is_left_to_its_owner)
{
    CHECK_EQUAL(nl_next_state(NL_OPEN, NL_ON_RING_CLOSED), NL_OPEN);
    CHECK_EQUAL(nl_next_state(NL_HALF_CLOSED, NL_ON_RING_CLOSED), NL_HALF_CLOSED);
}
