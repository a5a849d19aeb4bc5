/* Registered buffers: a table whose entries come and go one by one. */
#include <sys/mman.h>

#include "nl_registered.h"
#include "support.h"

#define SIZE 16384U

static unsigned char *pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

CASE(the_kernel_reads_and_writes_registered_memory)
{
    struct nl_ring ring;
    struct nl_registered table = {0};
    int pair[2];
    unsigned char *first = pages(SIZE), *second = pages(SIZE);
    open_ring(&ring, 4, 8);
    unix_pair(pair);
    CHECK_EQUAL(nl_registered_add(&table, &ring, first, SIZE), 0);
    CHECK_EQUAL(nl_registered_add(&table, &ring, second, SIZE), 1);
    memcpy(first + 100, "pinned", 6);
    struct io_uring_sqe *sqe = next_sqe(&ring);
    nl_prep(sqe, IORING_OP_WRITE_FIXED, nl_descriptor(pair[0]), first + 100, 6, 0, 1);
    sqe->buf_index = 0;
    CHECK_EQUAL(next_result(&ring, 1), 6);
    sqe = next_sqe(&ring);
    nl_prep(sqe, IORING_OP_READ_FIXED, nl_descriptor(pair[1]), second, SIZE, 0, 2);
    sqe->buf_index = 1;
    CHECK_EQUAL(next_result(&ring, 2), 6);
    CHECK(memcmp(second, "pinned", 6) == 0);
    nl_ring_close(&ring);
    close_pair(pair);
    munmap(first, SIZE);
    munmap(second, SIZE);
}

CASE(what_is_removed_is_pinned_no_more)
{
    struct nl_ring ring;
    struct nl_registered table = {0};
    unsigned char *memory = pages(8 * SIZE);
    open_ring(&ring, 4, 8);
    long before = status_kib("VmPin:");
    for (unsigned i = 0; i < 40; i++) {
        CHECK_EQUAL(nl_registered_add(&table, &ring, memory, 8 * SIZE), 0);
        CHECK_EQUAL(status_kib("VmPin:"), before + 8 * SIZE / 1024);
        nl_registered_remove(&table, &ring, 0);
        CHECK_EQUAL(status_kib("VmPin:"), before);
    }
    nl_ring_close(&ring);
    munmap(memory, 8 * SIZE);
}

CASE(a_full_table_says_so_and_goes_on)
{
    struct nl_ring ring;
    struct nl_registered table = {0};
    unsigned char *memory = pages(SIZE);
    open_ring(&ring, 4, 8);
    for (unsigned i = 0; i < NL_REGISTERED_ENTRIES; i++)
        CHECK_EQUAL(nl_registered_add(&table, &ring, memory, SIZE), i);
    CHECK_EQUAL(nl_registered_add(&table, &ring, memory, SIZE), -ENOSPC);
    nl_registered_remove(&table, &ring, 17);
    CHECK_EQUAL(nl_registered_add(&table, &ring, memory, SIZE), 17);
    nl_ring_close(&ring);
    nl_registered_remove(&table, &ring, 3);
    munmap(memory, SIZE);
}

CASE(memory_that_cannot_be_pinned_is_refused)
{
    struct nl_ring ring;
    struct nl_registered table = {0};
    unsigned char *memory = pages(SIZE);
    open_ring(&ring, 4, 8);
    munmap(memory, SIZE);
    CHECK_EQUAL(nl_registered_add(&table, &ring, memory, SIZE), -EFAULT);
    CHECK_EQUAL(table.used, 0);
    nl_ring_close(&ring);
}
