#include "nl_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nl_enter.h"
#include "nl_polled.h"
#include "nl_token.h"

/* Without these there is no loop: the wait's time limit travels in the enter call, and a full queue loses nothing. */
#define NEEDED_FEATURES (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL)
#define BASE_FLAGS (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED)

/*
 * DEFER_TASKRUN makes completions appear only when we ask for them, which batches them; it measured about 10 % less CPU
 * per message than COOP_TASKRUN alone. The latter is for kernels that refuse the former.
 */
#define WANTED_FLAGS                                                                                                  \
    (BASE_FLAGS | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |                  \
     IORING_SETUP_TASKRUN_FLAG | NL_SETUP_NO_SQARRAY)

/*
 * With a poller, which runs the deferred work. It is no single-issuer ring, although only the poller issues, because any
 * thread may then wait for it and register with it.
 */
#define POLLED_FLAGS                                                                                                  \
    (BASE_FLAGS | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | NL_SETUP_NO_SQARRAY)

static int try_flags(struct nl_sys *sys, unsigned flags)
{
    struct io_uring_params params = {.flags = flags, .cq_entries = 8};
    int fd = sys->setup(sys, 4, &params);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int nl_ring_probe_flags(struct nl_sys *sys, unsigned *flags)
{
    /* Each flag with those it depends on; a later one builds on what was accepted before it. */
    static const unsigned candidates[] = {
        IORING_SETUP_SUBMIT_ALL,   IORING_SETUP_COOP_TASKRUN,  IORING_SETUP_SINGLE_ISSUER,
        IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_TASKRUN_FLAG, NL_SETUP_NO_SQARRAY,
    };
    int error = try_flags(sys, BASE_FLAGS);
    if (error)
        return error;
    *flags = BASE_FLAGS;
    for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
        error = try_flags(sys, *flags | candidates[i]);
        if (!error)
            *flags |= candidates[i];
        else if (error != -EINVAL)
            return error;
    }
    return 0;
}

static int map_queues(struct nl_ring *ring, const struct io_uring_params *params)
{
    size_t sq_bytes = params->sq_off.array + params->sq_entries * sizeof(unsigned);
    size_t cq_bytes = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    ring->queues_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
    ring->sqes_bytes = params->sq_entries * sizeof(struct io_uring_sqe);

    void *queues = mmap(NULL, ring->queues_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                        IORING_OFF_SQ_RING);
    if (queues == MAP_FAILED)
        return -errno;
    ring->queues = queues;
    void *sqes = mmap(NULL, ring->sqes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                      IORING_OFF_SQES);
    if (sqes == MAP_FAILED)
        return -errno;
    ring->sqes = sqes;
    return 0;
}

static void locate_queues(struct nl_ring *ring, const struct io_uring_params *params)
{
    char *base = ring->queues;
    ring->sq_head = (unsigned *)(base + params->sq_off.head);
    ring->sq_tail = (unsigned *)(base + params->sq_off.tail);
    ring->sq_flags = (unsigned *)(base + params->sq_off.flags);
    ring->sq_mask = params->sq_entries - 1;
    ring->sq_entries = params->sq_entries;
    ring->sqe_tail = *ring->sq_tail;
    ring->cq_head = (unsigned *)(base + params->cq_off.head);
    ring->cq_tail = (unsigned *)(base + params->cq_off.tail);
    ring->cqes = (struct io_uring_cqe *)(base + params->cq_off.cqes);
    ring->cq_mask = params->cq_entries - 1;
    ring->cq_entries = params->cq_entries;
    if (!(ring->setup_flags & NL_SETUP_NO_SQARRAY)) {
        /* The kernel looks entries up through an array; ours always stand in order. */
        unsigned *array = (unsigned *)(base + params->sq_off.array);
        for (unsigned i = 0; i < params->sq_entries; i++)
            array[i] = i;
    }
}

static void begin(struct nl_ring *ring, struct nl_sys *sys)
{
    memset(ring, 0, sizeof(*ring));
    ring->sys = sys;
    ring->fd = ring->enter_fd = -1;
}

/* Take over what the kernel has set up. */
static int take_over(struct nl_ring *ring, int fd, const struct io_uring_params *params)
{
    ring->fd = ring->enter_fd = fd;
    ring->setup_flags = params->flags;
    ring->features = params->features;
    int error = (params->features & NEEDED_FEATURES) == NEEDED_FEATURES ? map_queues(ring, params) : -EINVAL;
    if (error) {
        nl_ring_close(ring);
        return error;
    }
    locate_queues(ring, params);
    return 0;
}

int nl_ring_setup(struct nl_ring *ring, struct nl_sys *sys, unsigned sq_entries, unsigned cq_entries, unsigned flags)
{
    begin(ring, sys);
    struct io_uring_params params = {.flags = flags ? flags : WANTED_FLAGS, .cq_entries = cq_entries};
    int fd = sys->setup(sys, sq_entries, &params);
    if (fd == -EINVAL) {
        int error = nl_ring_probe_flags(sys, &flags);
        if (error)
            return error;
        params = (struct io_uring_params){.flags = flags, .cq_entries = cq_entries};
        fd = sys->setup(sys, sq_entries, &params);
    }
    return fd < 0 ? fd : take_over(ring, fd, &params);
}

int nl_ring_setup_polled(struct nl_ring *ring, struct nl_sys *sys, unsigned sq_entries, unsigned cq_entries,
                         const struct nl_poller *poller)
{
    begin(ring, sys);
    const struct io_uring_params wanted = {
        .flags = POLLED_FLAGS | (poller->shared >= 0 ? IORING_SETUP_ATTACH_WQ : 0),
        .cq_entries = cq_entries,
        .sq_thread_cpu = poller->cpu,
        .sq_thread_idle = poller->idle,
        .wq_fd = poller->shared >= 0 ? (unsigned)poller->shared : 0,
    };
    /* Each time a flag less, from the latest on, that a kernel may not know. */
    static const unsigned left_out[] = {0, NL_SETUP_NO_SQARRAY, NL_SETUP_NO_SQARRAY | IORING_SETUP_SUBMIT_ALL};
    struct io_uring_params params;
    int fd = -EINVAL;
    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]) && fd == -EINVAL; i++) {
        params = wanted;
        params.flags &= ~left_out[i];
        fd = sys->setup(sys, sq_entries, &params);
    }
    return fd < 0 ? fd : take_over(ring, fd, &params);
}

int nl_ring_enable(struct nl_ring *ring)
{
    int error = nl_ring_control(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    return error < 0 ? error : 0;
}

void nl_ring_register_fd(struct nl_ring *ring)
{
    struct io_uring_rsrc_update update = {.offset = -1U, .data = (uint64_t)ring->fd};
    if (ring->enter_flags || nl_ring_control(ring, IORING_REGISTER_RING_FDS, &update, 1) != 1)
        return;
    ring->enter_fd = (int)update.offset;
    ring->enter_flags = IORING_ENTER_REGISTERED_RING;
    ring->registrant = pthread_self();
}

int nl_ring_busy_poll(struct nl_ring *ring, unsigned microseconds)
{
    struct nl_napi napi = {.busy_poll_to = microseconds};
    int error = nl_ring_control(ring, NL_REGISTER_NAPI, &napi, 1);
    return error < 0 ? error : 0;
}

void nl_ring_unregister_fd(struct nl_ring *ring)
{
    struct io_uring_rsrc_update update = {.offset = (unsigned)ring->enter_fd};
    if (nl_ring_uses_registration(ring))
        nl_ring_control(ring, IORING_UNREGISTER_RING_FDS, &update, 1);
    ring->enter_fd = ring->fd;
    ring->enter_flags = 0;
}

void nl_ring_close(struct nl_ring *ring)
{
    /* A registration left behind would keep the ring alive, and one of the thread's few places taken. */
    nl_ring_unregister_fd(ring);
    free(ring->aside);
    ring->aside = NULL;
    ring->aside_next = ring->aside_end = 0;
    if (ring->sqes)
        munmap(ring->sqes, ring->sqes_bytes);
    if (ring->queues)
        munmap(ring->queues, ring->queues_bytes);
    if (ring->sys && ring->fd >= 0)
        close(ring->fd);
    ring->sqes = NULL;
    ring->queues = NULL;
    ring->fd = ring->enter_fd = -1;
}

static void make_private(void *address, size_t bytes)
{
    if (address)
        mmap(address, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

void nl_ring_abandon(struct nl_ring *ring)
{
    /* A registered descriptor belongs to the parent's thread; the child has none. */
    ring->enter_flags = 0;
    make_private(ring->queues, ring->queues_bytes);
    make_private(ring->sqes, ring->sqes_bytes);
    ring->sqe_tail = 0;
    ring->aside_next = ring->aside_end = 0;
    if (ring->fd >= 0)
        close(ring->fd);
    ring->fd = ring->enter_fd = -1;
}

/* Publish what is written, and have the kernel take it. */
static int enter(struct nl_ring *ring, unsigned wait, unsigned flags, const void *arg, size_t size)
{
    unsigned before = __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);

    if (ring->sys->review)
        ring->sys->review(ring->sys, ring);
    __atomic_store_n(ring->sq_tail, ring->sqe_tail, __ATOMIC_RELEASE);
    int result = nl_enter(ring, ring->sqe_tail - before, wait, flags, arg, size);
    /* The kernel may have taken entries although the wait ended in an error: its own head tells how many. */
    ring->counters.submissions += __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) - before;
    return result;
}

int nl_ring_submit(struct nl_ring *ring)
{
    return nl_ring_is_polled(ring) ? nl_polled_submit(ring) : enter(ring, 0, 0, NULL, 0);
}

int nl_ring_pass_on(struct nl_ring *ring)
{
    return nl_ring_is_polled(ring) ? nl_polled_pass_on(ring) : nl_ring_enter(ring, 0, NL_WAIT_FOREVER);
}

int nl_ring_enter(struct nl_ring *ring, unsigned wait, int64_t timeout)
{
    struct __kernel_timespec limit = {.tv_sec = timeout / 1000000000, .tv_nsec = timeout % 1000000000};
    struct io_uring_getevents_arg arg = {.ts = timeout >= 0 ? (uint64_t)(uintptr_t)&limit : 0};

    /* Those set aside count, although the kernel no longer sees them. */
    size_t aside = ring->aside_end - ring->aside_next;
    wait -= aside < wait ? (unsigned)aside : wait;
    if (nl_ring_is_polled(ring))
        return nl_polled_enter(ring, wait, &arg);
    int result = enter(ring, wait, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(arg));
    return result == -ETIME ? 0 : result;
}

/* How many queues full of completions one call may have to move out of its way; a limit that nothing should reach. */
#define MOST_SET_ASIDE 1024U

int nl_ring_set_aside(struct nl_ring *ring)
{
    unsigned head = *ring->cq_head, tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    size_t kept = ring->aside_end - ring->aside_next;
    if (head == tail)
        return 0;
    struct io_uring_cqe *aside = malloc((kept + (tail - head)) * sizeof(*aside));
    if (!aside)
        return -ENOMEM;
    if (kept)
        memcpy(aside, ring->aside + ring->aside_next, kept * sizeof(*aside));
    for (size_t i = kept; head != tail; head++)
        aside[i++] = ring->cqes[head & ring->cq_mask];
    free(ring->aside);
    ring->aside = aside;
    ring->aside_next = 0;
    ring->aside_end = kept + (tail - *ring->cq_head);
    __atomic_store_n(ring->cq_head, tail, __ATOMIC_RELEASE);
    return 0;
}

/* The caller's memory may be gone when the kernel next takes entries, so one that it has not taken becomes a nop. */
static void withdraw(struct nl_ring *ring, uint64_t token)
{
    for (unsigned i = ring->sqe_tail - nl_ring_unsubmitted(ring); i != ring->sqe_tail; i++) {
        struct io_uring_sqe *sqe = &ring->sqes[i & ring->sq_mask];
        if (sqe->user_data == token)
            *sqe = (struct io_uring_sqe){.opcode = IORING_OP_NOP, .fd = -1, .user_data = NL_TOKEN_NONE};
    }
}

int nl_ring_call(struct nl_ring *ring, uint64_t token, int32_t *result)
{
    int error = -EAGAIN;
    /* Two tries: where the submission queue is longer than one enter could take, the second brings the rest. */
    for (unsigned attempt = 0, moved = 0; attempt < 2 && moved < MOST_SET_ASIDE; moved++) {
        int entered = nl_ring_enter(ring, 0, NL_WAIT_FOREVER);
        if (nl_ring_take(ring, token, result))
            return 0;
        /* A poller takes entries though a call fails; what it has taken has its result in a completion. */
        if (entered < 0 && entered != -EINTR && nl_ring_unsubmitted(ring)) {
            error = entered;
            break;
        }
        if (!(__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW)) {
            attempt++;
        } else if (nl_ring_set_aside(ring)) {
            /* Completions that found the queue full are kept by the kernel, the wanted one perhaps among them. */
            error = -ENOMEM;
            break;
        }
    }
    withdraw(ring, token);
    return error;
}
