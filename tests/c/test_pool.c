/* Pools of buffers that are leased: the table of a buffer's life, and that no buffer is anywhere twice. */
#include <sys/mman.h>

#include "nl_pool.h"
#include "support.h"

#define GROUP 7
#define SIZE 4096U

struct rule {
    enum nl_lease_state from;
    enum nl_lease_event event;
    enum nl_lease_state to;
};

static const struct rule rules[] = {
    {NL_BUFFER_FREE, NL_LEASE_OFFER, NL_BUFFER_KERNELS},
    {NL_BUFFER_FREE, NL_LEASE_TAKE, NL_BUFFER_LEASED},
    {NL_BUFFER_KERNELS, NL_LEASE_WITHDRAW, NL_BUFFER_FREE},
    {NL_BUFFER_KERNELS, NL_LEASE_LOSE, NL_BUFFER_LOST},
    {NL_BUFFER_KERNELS, NL_LEASE_RECEIVE, NL_BUFFER_LEASED},
    {NL_BUFFER_LEASED, NL_LEASE_SEND, NL_BUFFER_SENDING},
    {NL_BUFFER_LEASED, NL_LEASE_RELEASE, NL_BUFFER_FREE},
    {NL_BUFFER_SENDING, NL_LEASE_SEND, NL_BUFFER_SENDING},
    {NL_BUFFER_SENDING, NL_LEASE_SENT, NL_BUFFER_LEASED},
};

CASE(every_state_answers_every_event)
{
    for (int state = 0; state < NL_BUFFER_STATES; state++)
        for (int event = 0; event < NL_LEASE_EVENTS; event++) {
            int expected = -1;
            for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
                if ((int)rules[i].from == state && (int)rules[i].event == event)
                    expected = (int)rules[i].to;
            CHECK_EQUAL(nl_next_lease((enum nl_lease_state)state, (enum nl_lease_event)event), expected);
        }
}

CASE(what_the_kernel_may_touch_is_never_free_in_one_step)
{
    for (int event = 0; event < NL_LEASE_EVENTS; event++) {
        CHECK(nl_next_lease(NL_BUFFER_SENDING, (enum nl_lease_event)event) != NL_BUFFER_FREE);
        CHECK_EQUAL(nl_next_lease(NL_BUFFER_LOST, (enum nl_lease_event)event), -1);
        if (event != NL_LEASE_WITHDRAW)
            CHECK(nl_next_lease(NL_BUFFER_KERNELS, (enum nl_lease_event)event) != NL_BUFFER_FREE);
    }
}

/* Every buffer is in exactly one place, and the counts say so. */
static void check_places(const struct nl_pool *pool)
{
    unsigned counts[NL_BUFFER_STATES] = {0};
    for (unsigned id = 0; id < pool->count; id++)
        counts[pool->buffers[id].state]++;
    CHECK_EQUAL(counts[NL_BUFFER_FREE], pool->unused);
    CHECK_EQUAL(counts[NL_BUFFER_KERNELS], pool->offered);
    CHECK_EQUAL(counts[NL_BUFFER_LEASED] + counts[NL_BUFFER_SENDING], pool->leased);
    for (unsigned i = 0; i < pool->unused; i++)
        CHECK_EQUAL(pool->buffers[pool->free[i]].state, NL_BUFFER_FREE);
}

CASE(buffers_are_handed_out_once)
{
    struct nl_pool pool;
    bool seen[5] = {false};
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 5, SIZE), 0);
    for (unsigned i = 0; i < 5; i++) {
        int id = nl_pool_take(&pool, NL_TOKEN_NONE);
        CHECK(id >= 0 && id < 5 && !seen[id]);
        seen[id] = true;
        memset(nl_pool_address(&pool, (unsigned)id), id, SIZE);
    }
    CHECK_EQUAL(nl_pool_take(&pool, NL_TOKEN_NONE), -1);
    check_places(&pool);
    CHECK(!nl_pool_drop(&pool, 3));
    CHECK_EQUAL(nl_pool_take(&pool, NL_TOKEN_NONE), 3);
    check_places(&pool);
    nl_pool_close(&pool);
}

CASE(a_buffer_is_free_when_the_last_holder_and_the_last_send_are_gone)
{
    struct nl_pool pool;
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 1, SIZE), 0);
    CHECK_EQUAL(nl_pool_take(&pool, NL_TOKEN_NONE), 0);
    nl_pool_hold(&pool, 0);
    nl_pool_send(&pool, 0);
    nl_pool_hold(&pool, 0);
    nl_pool_send(&pool, 0);
    CHECK(!nl_pool_drop(&pool, 0)); /* the application's own */
    nl_pool_sent(&pool, 0);
    CHECK(!nl_pool_drop(&pool, 0));
    CHECK_EQUAL(pool.buffers[0].state, NL_BUFFER_SENDING);
    pool.wanted = 1;
    nl_pool_sent(&pool, 0);
    CHECK(nl_pool_drop(&pool, 0));
    CHECK_EQUAL(pool.buffers[0].state, NL_BUFFER_FREE);
    check_places(&pool);
    nl_pool_close(&pool);
}

CASE(what_was_written_is_cleared_with_the_last_holder_and_no_more_than_that)
{
    struct nl_pool pool;
    static unsigned char memory[2 * SIZE];
    CHECK_EQUAL(nl_pool_open(&pool, memory, 2, SIZE), 0);
    for (unsigned wipes = 0; wipes < 2; wipes++) {
        pool.wipes = wipes;
        memset(memory, 7, sizeof(memory));
        int id = nl_pool_take(&pool, NL_TOKEN_NONE);
        unsigned char *data = nl_pool_address(&pool, (unsigned)id);
        nl_pool_hold(&pool, (unsigned)id);
        nl_pool_soil(&pool, (unsigned)id, 100);
        nl_pool_soil(&pool, (unsigned)id, 50);
        nl_pool_drop(&pool, (unsigned)id);
        CHECK_EQUAL(data[0], 7);
        nl_pool_drop(&pool, (unsigned)id);
        CHECK_EQUAL(data[0], wipes ? 0 : 7);
        CHECK_EQUAL(data[99], wipes ? 0 : 7);
        CHECK_EQUAL(data[100], 7);
        memset(data, 7, SIZE);
        CHECK_EQUAL(nl_pool_take(&pool, NL_TOKEN_NONE), id);
        nl_pool_drop(&pool, (unsigned)id);
        /* Nothing was written that time. */
        CHECK_EQUAL(data[0], 7);
    }
    nl_pool_close(&pool);
}

/* Receive what a peer writes until the pool is dry, then give back and go on: the stream's bytes stay in order. */
CASE(a_dry_pool_loses_nothing)
{
    struct nl_ring ring;
    struct nl_pool pool;
    struct io_uring_cqe cqe;
    int pair[2];
    unsigned char byte = 0, next = 0;
    unsigned held[8], count = 0, dry = 0;
    bool armed = false;
    open_ring(&ring, 8, 32);
    unix_pair(pair);
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 6, 1), 0);
    CHECK_EQUAL(nl_pool_serve(&pool, &ring, GROUP), 0);
    for (; byte < 100; byte++)
        CHECK_EQUAL(write(pair[1], &byte, 1), 1);
    while (next < 100) {
        if (!armed)
            nl_prep_recv_multishot(next_sqe(&ring), nl_descriptor(pair[0]), GROUP, 1);
        armed = true;
        next_completion(&ring, &cqe);
        armed = cqe.flags & IORING_CQE_F_MORE;
        if (cqe.res == 1) {
            held[count] = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
            nl_pool_receive(&pool, held[count], 1, 1);
            nl_pool_receive(&pool, held[count], 1, 1); /* told twice */
            CHECK_EQUAL(nl_pool_address(&pool, held[count])[0], next++);
            count++;
        } else {
            CHECK_EQUAL(cqe.res, -ENOBUFS);
            dry++;
            nl_pool_exhausted(&pool);
            while (!pool.offered && count)
                nl_pool_drop(&pool, held[--count]);
        }
        check_places(&pool);
    }
    CHECK(dry > 10);
    CHECK(pool.target > pool.base || pool.base == pool.most);
    nl_ring_close(&ring);
    nl_pool_leave(&pool, false);
    while (count)
        nl_pool_drop(&pool, held[--count]);
    CHECK_EQUAL(pool.unused, 6);
    nl_pool_close(&pool);
    close_pair(pair);
}

CASE(another_ring_goes_on_with_what_was_offered)
{
    struct nl_ring ring;
    struct nl_pool pool;
    struct io_uring_cqe cqe;
    int pair[2];
    unix_pair(pair);
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 4, SIZE), 0);
    for (unsigned round = 0; round < 3; round++) {
        open_ring(&ring, 8, 16);
        CHECK_EQUAL(nl_pool_serve(&pool, &ring, GROUP), 0);
        CHECK_EQUAL(write(pair[1], "data", 4), 4);
        nl_prep_recv_multishot(next_sqe(&ring), nl_descriptor(pair[0]), GROUP, 1);
        next_completion(&ring, &cqe);
        CHECK_EQUAL(cqe.res, 4);
        nl_pool_receive(&pool, cqe.flags >> IORING_CQE_BUFFER_SHIFT, 4, 1);
        check_places(&pool);
        nl_ring_close(&ring);
    }
    CHECK_EQUAL(pool.leased, 3);
    nl_pool_leave(&pool, true);
    CHECK_EQUAL(pool.lost, 1);
    CHECK_EQUAL(pool.unused, 0);
    nl_pool_close(&pool);
    close_pair(pair);
}

CASE(the_same_group_number_serves_again_when_it_is_unregistered)
{
    struct nl_ring ring;
    struct nl_pool first, second;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_pool_open(&first, NULL, 2, SIZE), 0);
    CHECK_EQUAL(nl_pool_open(&second, NULL, 2, SIZE), 0);
    CHECK_EQUAL(nl_pool_serve(&first, &ring, GROUP), 0);
    CHECK_EQUAL(nl_pool_serve(&second, &ring, GROUP), -EEXIST);
    nl_pool_close(&first);
    nl_pool_unregister(&ring, GROUP);
    CHECK_EQUAL(nl_pool_serve(&second, &ring, GROUP), 0);
    nl_ring_close(&ring);
    nl_pool_close(&second);
}

CASE(the_one_that_is_held_longest)
{
    struct nl_pool pool;
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 3, SIZE), 0);
    CHECK_EQUAL(nl_pool_oldest(&pool, 0), -1);
    for (unsigned i = 0; i < 3; i++)
        pool.buffers[nl_pool_take(&pool, i)].since = 4294967290U + 5 * i; /* the clock wraps between them */
    int oldest = nl_pool_oldest(&pool, 20);
    CHECK_EQUAL(pool.buffers[oldest].owner, 0);
    nl_pool_close(&pool);
}

CASE(impossible_pools_are_refused)
{
    struct nl_pool pool;
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 0, SIZE), -EINVAL);
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 32769, SIZE), -EINVAL);
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 4, 0), -EINVAL);
    CHECK_EQUAL(nl_pool_open(&pool, NULL, 4, NL_POOL_SIZE_LIMIT + 1), -EINVAL);
    CHECK(pool.memory == NULL);
    nl_pool_close(&pool);
}
