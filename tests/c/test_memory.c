/*
 * Every allocation fails once, in turn: -ENOMEM is told, and nothing is lost or leaked.
 *
 * The linker sends the core's allocations through the functions here (--wrap), so this program needs its own flags.
 */
#include <sys/mman.h>

#include "nl_buffers.h"
#include "nl_files.h"
#include "nl_pool.h"
#include "nl_probe.h"
#include "nl_slots.h"
#include "nl_timers.h"
#include "support.h"

static unsigned calls, failing;

static bool fails_now(void)
{
    if (++calls != failing)
        return false;
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t bytes)
{
    return fails_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails_now() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    return fails_now() ? NULL : __real_realloc(memory, bytes);
}

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return fails_now() ? MAP_FAILED : __real_mmap(address, bytes, protection, flags, fd, offset);
}

static void fail_allocation(unsigned nth)
{
    calls = 0;
    failing = nth;
}

/* Run `body` with its first, second ... allocation failing, until none is left; says how many there were. */
static unsigned fail_each(int (*body)(void))
{
    unsigned descriptors = count_descriptors();
    for (unsigned nth = 1;; nth++) {
        CHECK(nth < 100);
        fail_allocation(nth);
        int result = body();
        unsigned made = calls;
        fail_allocation(0);
        CHECK_EQUAL(result, made < nth ? 0 : -ENOMEM);
        CHECK_EQUAL(count_descriptors(), descriptors);
        if (made < nth)
            return nth - 1;
    }
}

static int set_up_ring(void)
{
    struct nl_ring ring;
    int error = nl_ring_setup(&ring, real_sys(), 4, 8, 0);
    if (!error)
        nl_ring_close(&ring);
    return error;
}

CASE(a_ring_that_cannot_be_mapped_leaves_nothing)
{
    CHECK_EQUAL(fail_each(set_up_ring), 2);
}

static int open_pools(void)
{
    struct nl_ring ring;
    struct nl_files files = {0};
    struct nl_buffers buffers = {0};
    struct nl_pool pool = {0};
    int error = nl_ring_setup(&ring, real_sys(), 4, 8, 0);
    if (error)
        return error;
    error = nl_files_open(&files, &ring, 8, 0);
    if (!error)
        error = nl_buffers_open(&buffers, &ring, 0, 256, 2, 4);
    if (!error)
        error = nl_pool_open(&pool, NULL, 2, 4096);
    nl_ring_close(&ring);
    nl_pool_close(&pool);
    nl_buffers_close(&buffers);
    nl_files_close(&files);
    return error;
}

CASE(pools_that_cannot_be_allocated_leave_nothing)
{
    CHECK(fail_each(open_pools) >= 8);
}

static int run_probe(void)
{
    struct nl_probe probe;
    int error = nl_probe_run(&probe, real_sys());
    /* What cannot be asked counts as absent; only without the ring or the list of operations is there no answer. */
    if (!error && !(probe.fixed_files && probe.buffer_groups && probe.registered_buffers))
        return -ENOMEM;
    return error;
}

CASE(a_probe_without_memory_leaves_nothing)
{
    CHECK(fail_each(run_probe) >= 5);
}

CASE(a_timer_that_cannot_be_added_changes_nothing)
{
    struct nl_timers timers;
    static struct nl_timer all[65];
    nl_timers_init(&timers);
    for (unsigned i = 0; i < 65; i++)
        all[i].place = NL_TIMER_IDLE;
    fail_allocation(1);
    CHECK_EQUAL(nl_timers_add(&timers, &all[0], 1.0), -ENOMEM);
    CHECK(all[0].place == NL_TIMER_IDLE);
    CHECK(!nl_timers_first(&timers));
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQUAL(nl_timers_add(&timers, &all[i], (double)i), 0);
    fail_allocation(1);
    CHECK_EQUAL(nl_timers_add(&timers, &all[64], 0.5), -ENOMEM);
    CHECK(all[64].place == NL_TIMER_IDLE);
    CHECK_EQUAL(timers.count, 64);
    CHECK_EQUAL(nl_timers_add(&timers, &all[64], 0.5), 0);
    CHECK(nl_timers_first(&timers) == &all[0]);
    nl_timers_free(&timers);
}

CASE(a_slot_that_cannot_be_taken_changes_nothing)
{
    for (unsigned nth = 1; nth <= 2; nth++) {
        struct nl_slots slots;
        nl_slots_init(&slots);
        fail_allocation(nth);
        CHECK_EQUAL(nl_slots_take(&slots), -ENOMEM);
        fail_allocation(0);
        CHECK_EQUAL(slots.taken, 0);
        CHECK_EQUAL(slots.capacity, 0);
        for (int slot = 0; slot < 64; slot++)
            CHECK_EQUAL(nl_slots_take(&slots), slot);
        fail_allocation(nth);
        CHECK_EQUAL(nl_slots_take(&slots), -ENOMEM);
        fail_allocation(0);
        CHECK_EQUAL(slots.taken, 64);
        CHECK_EQUAL(nl_slots_take(&slots), 64);
        CHECK(nl_slots_match(&slots, 64, 1));
        nl_slots_free(&slots);
    }
}

CASE(a_call_without_memory_to_reach_its_result_loses_no_completion)
{
    struct nl_ring ring;
    int32_t result;
    open_ring(&ring, 4, 8);
    for (uint64_t token = 1; token <= 8; token++)
        add_nop(&ring, token);
    CHECK(nl_ring_enter(&ring, 0, 0) > 0);
    add_nop(&ring, 9);
    fail_allocation(1);
    CHECK_EQUAL(nl_ring_call(&ring, 9, &result), -ENOMEM);
    for (uint64_t token = 1; token <= 9; token++)
        CHECK_EQUAL(next_result(&ring, token), 0);
    nl_ring_close(&ring);
}
