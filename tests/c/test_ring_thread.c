/* A ring belongs to one thread: its registered descriptor, and what other threads are told. */
#include <pthread.h>

#include "support.h"

CASE(a_ring_works_through_its_registered_descriptor)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    nl_ring_register_fd(&ring);
    CHECK(ring.enter_flags & IORING_ENTER_REGISTERED_RING);
    add_nop(&ring, 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    int index = ring.enter_fd;
    nl_ring_register_fd(&ring);
    CHECK_EQUAL(ring.enter_fd, index);
    nl_ring_unregister_fd(&ring);
    CHECK_EQUAL(ring.enter_flags, 0);
    CHECK_EQUAL(ring.enter_fd, ring.fd);
    nl_ring_unregister_fd(&ring);
    add_nop(&ring, 2);
    CHECK_EQUAL(next_result(&ring, 2), 0);
    nl_ring_close(&ring);
}

CASE(a_thread_without_room_for_another_registered_ring_uses_the_descriptor)
{
    struct nl_ring rings[20];
    unsigned registered = 0;
    for (uint64_t i = 0; i < 20; i++) {
        open_ring(&rings[i], 4, 8);
        nl_ring_register_fd(&rings[i]);
        registered += rings[i].enter_flags != 0;
        add_nop(&rings[i], i + 1);
    }
    CHECK_EQUAL(registered, 16);
    for (uint64_t i = 0; i < 20; i++) {
        CHECK_EQUAL(next_result(&rings[i], i + 1), 0);
        nl_ring_unregister_fd(&rings[i]);
        nl_ring_close(&rings[i]);
    }
}

CASE(closing_a_ring_gives_its_registration_back)
{
    struct nl_ring ring;
    for (unsigned i = 0; i < 40; i++) {
        open_ring(&ring, 4, 8);
        nl_ring_register_fd(&ring);
        CHECK(ring.enter_flags != 0);
        nl_ring_close(&ring);
    }
}

struct outcome {
    struct nl_ring *ring;
    int submitting, waiting;
};

static void *use_ring(void *argument)
{
    struct outcome *outcome = argument;
    outcome->waiting = nl_ring_enter(outcome->ring, 1, SECOND / 1000);
    nl_prep(nl_ring_sqe(outcome->ring), IORING_OP_NOP, NOBODY, NULL, 0, 0, 9);
    outcome->submitting = nl_ring_enter(outcome->ring, 0, 0);
    return NULL;
}

static void *use_ring_beside_its_own(void *argument)
{
    struct nl_ring own;
    open_ring(&own, 4, 8);
    nl_ring_register_fd(&own);
    add_nop(&own, 1);
    use_ring(argument);
    /* What was written to the other ring went nowhere, least of all into this one. */
    CHECK_EQUAL(nl_ring_unsubmitted(&own), 1);
    CHECK_EQUAL(next_result(&own, 1), 0);
    expect_no_completion(&own);
    nl_ring_close(&own);
    return NULL;
}

static void expect_refusal(struct nl_ring *ring, void *(*body)(void *))
{
    struct outcome outcome = {.ring = ring};
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, body, &outcome), 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    CHECK_EQUAL(outcome.waiting, -EEXIST);
    CHECK_EQUAL(outcome.submitting, -EEXIST);
    /* The owner goes on as if nothing had happened, and submits what the other thread wrote. */
    CHECK_EQUAL(next_result(ring, 9), 0);
}

CASE(another_thread_is_refused)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    expect_refusal(&ring, use_ring);
    nl_ring_close(&ring);
}

CASE(another_thread_is_refused_although_the_descriptor_is_registered)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    nl_ring_register_fd(&ring);
    expect_refusal(&ring, use_ring);
    nl_ring_close(&ring);
}

CASE(another_thread_does_not_enter_its_own_ring_by_mistake)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    nl_ring_register_fd(&ring);
    expect_refusal(&ring, use_ring_beside_its_own);
    nl_ring_close(&ring);
}

static void *close_ring(void *argument)
{
    struct nl_ring own;
    open_ring(&own, 4, 8);
    nl_ring_register_fd(&own);
    nl_ring_close(argument);
    add_nop(&own, 1);
    CHECK_EQUAL(next_result(&own, 1), 0);
    nl_ring_close(&own);
    return NULL;
}

CASE(closing_a_ring_in_another_thread_leaves_that_threads_rings_alone)
{
    struct nl_ring ring;
    pthread_t thread;
    open_ring(&ring, 4, 8);
    nl_ring_register_fd(&ring);
    CHECK_EQUAL(pthread_create(&thread, NULL, close_ring, &ring), 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

static void *enable_and_run(void *argument)
{
    struct nl_ring *ring = argument;
    CHECK_EQUAL(nl_ring_enable(ring), 0);
    add_nop(ring, 1);
    CHECK_EQUAL(next_result(ring, 1), 0);
    return NULL;
}

CASE(the_thread_that_enables_a_ring_owns_it)
{
    struct nl_ring ring;
    pthread_t thread;
    CHECK_EQUAL(nl_ring_setup(&ring, real_sys(), 4, 8, 0), 0);
    CHECK_EQUAL(pthread_create(&thread, NULL, enable_and_run, &ring), 0);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    CHECK_EQUAL(nl_ring_enter(&ring, 0, 0), -EEXIST);
    nl_ring_close(&ring);
}
