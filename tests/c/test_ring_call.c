/* nl_ring_call: one operation submitted and answered at once, in the midst of all others. */
#include "support.h"

#define CALL 77

CASE(a_call_returns_the_result_and_leaves_the_others_in_order)
{
    struct nl_ring ring;
    int32_t result = 1;
    struct io_uring_cqe cqe;
    open_ring(&ring, 16, 32);
    for (uint64_t token = 1; token <= 5; token++)
        add_nop(&ring, token);
    CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), 5);
    for (uint64_t token = 6; token <= 8; token++)
        add_nop(&ring, token);
    add_nop(&ring, CALL);
    for (uint64_t token = 9; token <= 10; token++)
        add_nop(&ring, token);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), 0);
    CHECK_EQUAL(result, 0);
    uint64_t expected = 1;
    while (nl_ring_next(&ring, &cqe))
        if (cqe.user_data) /* the entry of the call itself is left to nobody */
            CHECK_EQUAL(cqe.user_data, expected++);
    CHECK_EQUAL(expected, 11);
    nl_ring_close(&ring);
}

CASE(a_call_returns_the_error_of_its_operation)
{
    struct nl_ring ring;
    int32_t result = 0;
    open_ring(&ring, 4, 8);
    nl_prep_close(next_sqe(&ring), nl_descriptor(1 << 20), CALL);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), 0);
    CHECK_EQUAL(result, -EBADF);
    nl_ring_close(&ring);
}

CASE(calls_can_follow_each_other_without_anybody_consuming)
{
    struct nl_ring ring;
    int32_t result;
    open_ring(&ring, 4, 8);
    for (unsigned i = 0; i < 8; i++) {
        result = 1;
        add_nop(&ring, CALL);
        CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), 0);
        CHECK_EQUAL(result, 0);
    }
    nl_ring_close(&ring);
}

CASE(a_call_of_an_operation_that_does_not_complete_at_once_says_so)
{
    struct nl_ring ring;
    int32_t result = 0;
    int pair[2];
    char byte = 0;
    open_ring(&ring, 4, 8);
    unix_pair(pair);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(pair[0]), &byte, 1, 0, CALL);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), -EAGAIN);
    /* The kernel has it: it completes later, like any other. */
    CHECK_EQUAL(write(pair[1], "x", 1), 1);
    CHECK_EQUAL(next_result(&ring, CALL), 1);
    CHECK_EQUAL(byte, 'x');
    nl_ring_close(&ring);
    close_pair(pair);
}

CASE(a_call_that_never_reached_the_kernel_is_not_carried_out_later)
{
    struct nl_ring ring;
    struct nl_fault fault;
    int32_t result = 0;
    int pair[2];
    char byte;
    nl_fault_init(&fault, NL_CALL_ENTER, 1, ENOMEM);
    CHECK_EQUAL(nl_ring_setup(&ring, &fault.sys, 8, 16, 0), 0);
    CHECK_EQUAL(nl_ring_enable(&ring), 0);
    unix_pair(pair);
    add_nop(&ring, 1);
    nl_prep_send(next_sqe(&ring), nl_descriptor(pair[0]), "x", 1, CALL);
    add_nop(&ring, 2);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), -ENOMEM);
    /* What was written before and after it still is; the failed call's memory may be gone by now. */
    struct io_uring_cqe cqe;
    uint64_t expected = 1;
    CHECK(nl_ring_enter(&ring, 0, 0) > 0);
    while (nl_ring_next(&ring, &cqe))
        if (cqe.user_data)
            CHECK_EQUAL(cqe.user_data, expected++);
    CHECK_EQUAL(expected, 3);
    CHECK_EQUAL(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
    CHECK_EQUAL(errno, EAGAIN);
    nl_ring_close(&ring);
    close_pair(pair);
}

static void call_with_pending(unsigned pending)
{
    struct nl_ring ring;
    int32_t result = 1;
    struct io_uring_cqe cqe;
    uint64_t expected = 1000;
    open_ring(&ring, 4, 8);
    for (unsigned i = 0; i < pending; i++)
        add_nop(&ring, 1000 + i);
    CHECK(nl_ring_enter(&ring, 0, 0) > 0);
    add_nop(&ring, CALL);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), 0);
    CHECK_EQUAL(result, 0);
    do
        while (nl_ring_next(&ring, &cqe))
            if (cqe.user_data)
                CHECK_EQUAL(cqe.user_data, expected++);
    while (nl_ring_enter(&ring, 0, 0) >= 0 && nl_ring_ready(&ring));
    CHECK_EQUAL(expected, 1000 + pending);
    nl_ring_close(&ring);
}

CASE(a_call_finds_its_result_when_the_completion_queue_is_full)
{
    call_with_pending(7);
    call_with_pending(8);
    call_with_pending(9);
    call_with_pending(100);
}

CASE(completions_set_aside_by_a_call_end_a_wait)
{
    struct nl_ring ring;
    int32_t result = 1;
    open_ring(&ring, 4, 8);
    for (uint64_t token = 1; token <= 9; token++)
        add_nop(&ring, token);
    CHECK(nl_ring_enter(&ring, 0, 0) > 0);
    add_nop(&ring, CALL);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 10);
    CHECK_EQUAL(nl_ring_enter(&ring, 1, NL_WAIT_FOREVER), 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 9, NL_WAIT_FOREVER), 0);
    for (uint64_t token = 1; token <= 9; token++)
        CHECK_EQUAL(next_result(&ring, token), 0);
    CHECK_EQUAL(nl_ring_ready(&ring), 1); /* the entry of the call itself */
    nl_ring_close(&ring);
}

CASE(a_ring_closed_with_completions_set_aside_frees_them)
{
    struct nl_ring ring;
    int32_t result = 1;
    open_ring(&ring, 4, 8);
    for (uint64_t token = 1; token <= 9; token++)
        add_nop(&ring, token);
    CHECK(nl_ring_enter(&ring, 0, 0) > 0);
    add_nop(&ring, CALL);
    CHECK_EQUAL(nl_ring_call(&ring, CALL, &result), 0);
    nl_ring_close(&ring);
}
