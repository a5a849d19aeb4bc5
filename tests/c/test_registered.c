/* Registered buffers: parts of one pinned allocation. */
#include "nl_registered.h"
#include "support.h"

#define SIZE 16384U

CASE(parts_are_handed_out_once)
{
    struct nl_ring ring;
    struct nl_registered pool;
    bool seen[8] = {false};
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_registered_open(&pool, &ring, 8, SIZE), 0);
    for (unsigned i = 0; i < 8; i++) {
        int index = nl_registered_take(&pool);
        CHECK(index >= 0 && index < 8);
        CHECK(!seen[index]);
        seen[index] = true;
        memset(nl_registered_address(&pool, (unsigned)index), index, SIZE);
    }
    CHECK_EQUAL(nl_registered_take(&pool), -1);
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQUAL(nl_registered_address(&pool, i)[0], i);
        CHECK_EQUAL(nl_registered_address(&pool, i)[SIZE - 1], i);
    }
    nl_registered_give(&pool, 3);
    CHECK_EQUAL(nl_registered_take(&pool), 3);
    nl_registered_close(&pool, &ring);
    nl_registered_close(&pool, &ring);
    nl_ring_close(&ring);
}

CASE(the_kernel_reads_and_writes_registered_parts)
{
    struct nl_ring ring;
    struct nl_registered pool;
    int pair[2];
    open_ring(&ring, 4, 8);
    unix_pair(pair);
    CHECK_EQUAL(nl_registered_open(&pool, &ring, 4, SIZE), 0);
    memcpy(nl_registered_address(&pool, 2), "pinned", 6);
    struct io_uring_sqe *sqe = next_sqe(&ring);
    nl_prep(sqe, IORING_OP_WRITE_FIXED, nl_descriptor(pair[0]), nl_registered_address(&pool, 2), 6, 0, 1);
    sqe->buf_index = 2;
    CHECK_EQUAL(next_result(&ring, 1), 6);
    sqe = next_sqe(&ring);
    nl_prep(sqe, IORING_OP_READ_FIXED, nl_descriptor(pair[1]), nl_registered_address(&pool, 1), SIZE, 0, 2);
    sqe->buf_index = 1;
    CHECK_EQUAL(next_result(&ring, 2), 6);
    CHECK(memcmp(nl_registered_address(&pool, 1), "pinned", 6) == 0);
    nl_registered_close(&pool, &ring);
    nl_ring_close(&ring);
    close_pair(pair);
}

CASE(opening_and_closing_again_and_again_leaves_nothing_pinned)
{
    struct nl_ring ring;
    struct nl_registered pool;
    open_ring(&ring, 4, 8);
    long before = status_kib("VmPin:");
    for (unsigned i = 0; i < 40; i++) {
        CHECK_EQUAL(nl_registered_open(&pool, &ring, 64, SIZE), 0);
        CHECK_EQUAL(status_kib("VmPin:"), before + 64 * SIZE / 1024);
        nl_registered_close(&pool, &ring);
        CHECK(pool.memory == NULL);
        CHECK_EQUAL(status_kib("VmPin:"), before);
    }
    nl_ring_close(&ring);
}

CASE(a_pool_can_be_closed_after_its_ring)
{
    struct nl_ring ring;
    struct nl_registered pool;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_registered_open(&pool, &ring, 4, SIZE), 0);
    nl_ring_close(&ring);
    nl_registered_close(&pool, &ring);
    CHECK(pool.memory == NULL);
}

CASE(impossible_pools_are_refused)
{
    struct nl_ring ring;
    struct nl_registered pool, second;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_registered_open(&pool, &ring, 0, SIZE), -EINVAL);
    CHECK_EQUAL(nl_registered_open(&pool, &ring, 4, 0), -EINVAL);
    CHECK_EQUAL(nl_registered_open(&pool, &ring, 4, SIZE_MAX / 2), -EINVAL);
    CHECK(pool.memory == NULL);
    nl_registered_close(&pool, &ring);
    CHECK_EQUAL(nl_registered_open(&pool, &ring, 2, SIZE), 0);
    CHECK_EQUAL(nl_registered_open(&second, &ring, 2, SIZE), -EBUSY);
    CHECK(second.memory == NULL);
    nl_registered_close(&second, &ring);
    CHECK_EQUAL(nl_registered_take(&pool), 0);
    nl_registered_close(&pool, &ring);
    nl_ring_close(&ring);
}
