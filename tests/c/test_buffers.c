/* The provided-buffer group: taking and giving, rotation, growth, exhaustion, and that no byte is lost or changed. */
#include "nl_buffers.h"
#include "support.h"

#define RECEIVE 5
#define GROUP 3

/* One receiving socket on a ring, with the stream's expected content. */
struct receiver {
    struct nl_ring ring;
    struct nl_buffers buffers;
    int pair[2]; /* ours, the peer's */
    bool armed;
    uint64_t sent, received;
    unsigned dry;    /* how often the receive ended with ENOBUFS */
    unsigned rearms; /* how often the receive was armed */
};

static unsigned char pattern(uint64_t position)
{
    return (unsigned char)(position * 31 + (position >> 8) * 7 + (position >> 16));
}

static void open_receiver(struct receiver *receiver, bool tcp, size_t size, unsigned total, unsigned limit,
                          unsigned completions)
{
    memset(receiver, 0, sizeof(*receiver));
    open_ring(&receiver->ring, 4, completions);
    CHECK_EQUAL(nl_buffers_open(&receiver->buffers, &receiver->ring, GROUP, size, total, limit), 0);
    if (tcp)
        tcp_pair(receiver->pair);
    else
        unix_pair(receiver->pair);
}

static void close_receiver(struct receiver *receiver)
{
    cancel_everything(&receiver->ring);
    nl_ring_close(&receiver->ring);
    nl_buffers_close(&receiver->buffers);
    close_pair(receiver->pair);
}

static void arm(struct receiver *receiver)
{
    if (receiver->armed)
        return;
    nl_prep_recv_multishot(next_sqe(&receiver->ring), nl_descriptor(receiver->pair[0]), GROUP, RECEIVE);
    receiver->armed = true;
    receiver->rearms++;
}

static void send_pattern(struct receiver *receiver, size_t length)
{
    static unsigned char data[65536];
    CHECK(length <= sizeof(data));
    for (size_t i = 0; i < length; i++)
        data[i] = pattern(receiver->sent + i);
    ssize_t sent = send(receiver->pair[1], data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        CHECK_EQUAL(errno, EAGAIN);
    else
        receiver->sent += (uint64_t)sent;
}

/* Note what a completion says of the receive. Says whether it carries data. */
static bool carries_data(struct receiver *receiver, const struct io_uring_cqe *cqe)
{
    CHECK_EQUAL(cqe->user_data, RECEIVE);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        receiver->armed = false;
    if (cqe->res == -ENOBUFS) {
        receiver->dry++;
        CHECK(!receiver->armed);
        CHECK(!(cqe->flags & IORING_CQE_F_BUFFER));
        return false;
    }
    CHECK(cqe->res > 0);
    CHECK(cqe->flags & IORING_CQE_F_BUFFER);
    return true;
}

static void check_data(struct receiver *receiver, const unsigned char *data, int32_t length)
{
    for (int32_t i = 0; i < length; i++)
        if (data[i] != pattern(receiver->received + (uint64_t)i))
            CHECK_EQUAL(data[i], pattern(receiver->received + (uint64_t)i));
    receiver->received += (uint64_t)length;
}

/* Receive all that is there now, giving every buffer back at once. */
static void receive_what_is_there(struct receiver *receiver)
{
    struct io_uring_cqe cqe;
    arm(receiver);
    CHECK(nl_ring_enter(&receiver->ring, 0, 0) >= 0);
    while (nl_ring_next(&receiver->ring, &cqe))
        if (carries_data(receiver, &cqe)) {
            check_data(receiver, nl_buffers_take(&receiver->buffers, cqe.flags), cqe.res);
            nl_buffers_give(&receiver->buffers, cqe.flags);
        }
}

static void transfer(bool tcp, size_t size, unsigned total, unsigned completions, uint64_t bytes, size_t chunk)
{
    struct receiver receiver;
    open_receiver(&receiver, tcp, size, total, total, completions);
    unsigned idle = 0;
    while (receiver.received < bytes) {
        uint64_t before = receiver.received;
        if (receiver.sent < bytes)
            send_pattern(&receiver, 1 + check_random() % chunk);
        receive_what_is_there(&receiver);
        if (receiver.received == before && receiver.sent >= bytes) {
            CHECK(++idle < 1000);
            arm(&receiver);
            CHECK(nl_ring_enter(&receiver.ring, 1, PATIENCE) >= 0);
        }
        if (receiver.sent >= bytes)
            bytes = receiver.sent;
    }
    CHECK_EQUAL(receiver.received, receiver.sent);
    CHECK_EQUAL(receiver.buffers.taken, 0);
    close_receiver(&receiver);
}

CASE(a_unix_stream_arrives_unchanged)
{
    transfer(false, 4096, 16, 64, 4 << 20, 65536);
}

CASE(a_tcp_stream_arrives_unchanged)
{
    transfer(true, 4096, 16, 64, 4 << 20, 65536);
}

CASE(a_stream_arrives_unchanged_through_a_tiny_completion_queue)
{
    transfer(false, 512, 64, 4, 1 << 20, 65536);
    transfer(true, 512, 64, 4, 1 << 20, 65536);
}

CASE(a_stream_arrives_unchanged_through_a_single_buffer)
{
    transfer(false, 256, 1, 8, 1 << 18, 4096);
}

CASE(the_tail_of_the_buffer_queue_wraps_around)
{
    /* One byte a buffer: more than 65,536 of them pass through the group. */
    transfer(false, 1, 64, 128, 70000, 64);
}

CASE(a_group_of_the_largest_size_works)
{
    transfer(false, 64, 32768, 64, 1 << 18, 65536);
}

CASE(impossible_groups_are_refused)
{
    struct nl_ring ring;
    struct nl_buffers buffers;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, 0, 0, 1, 1), -EINVAL);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, 0, 64, 0, 1), -EINVAL);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, 0, 64, 2, 1), -EINVAL);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, 0, 64, 1, 32769), -EINVAL);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, 0, (size_t)1 << 32, 1, 1), -EINVAL);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, 0, SIZE_MAX / 2, 1, 4), -EINVAL);
    nl_ring_close(&ring);
}

CASE(a_group_number_is_taken_once)
{
    struct nl_ring ring;
    struct nl_buffers first, second;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_buffers_open(&first, &ring, 0, 64, 2, 2), 0);
    CHECK_EQUAL(nl_buffers_open(&second, &ring, 0, 64, 2, 2), -EEXIST);
    CHECK(second.queue == NULL && second.memory == NULL);
    CHECK_EQUAL(nl_buffers_open(&second, &ring, 1, 64, 2, 2), 0);
    nl_ring_close(&ring);
    nl_buffers_close(&first);
    nl_buffers_close(&second);
    nl_buffers_close(&second);
}

/* One message, one buffer: returns the buffer's number. */
static unsigned receive_one(struct receiver *receiver, bool give)
{
    struct io_uring_cqe cqe;
    send_pattern(receiver, 1);
    arm(receiver);
    next_completion(&receiver->ring, &cqe);
    CHECK(carries_data(receiver, &cqe));
    check_data(receiver, nl_buffers_take(&receiver->buffers, cqe.flags), cqe.res);
    if (give)
        nl_buffers_give(&receiver->buffers, cqe.flags);
    return cqe.flags >> IORING_CQE_BUFFER_SHIFT;
}

CASE(buffers_are_used_in_rotation)
{
    struct receiver receiver;
    open_receiver(&receiver, false, 64, 5, 5, 16);
    for (unsigned i = 0; i < 23; i++)
        CHECK_EQUAL(receive_one(&receiver, true), i % 5);
    CHECK_EQUAL(receiver.rearms, 1);
    CHECK_EQUAL(receiver.buffers.high_water, 1);
    close_receiver(&receiver);
}

CASE(buffers_taken_and_given_are_counted)
{
    struct receiver receiver;
    unsigned held[3];
    open_receiver(&receiver, true, 64, 4, 4, 16);
    for (unsigned i = 0; i < 3; i++)
        held[i] = receive_one(&receiver, false);
    CHECK_EQUAL(receiver.buffers.taken, 3);
    for (unsigned i = 0; i < 3; i++)
        nl_buffers_give(&receiver.buffers, held[i] << IORING_CQE_BUFFER_SHIFT);
    CHECK_EQUAL(receiver.buffers.taken, 0);
    CHECK_EQUAL(receiver.buffers.high_water, 3);
    close_receiver(&receiver);
}

/* Take every buffer there is and keep it, until the kernel finds the group dry. Marks the buffers in `held`. */
static void run_dry(struct receiver *receiver, bool *held)
{
    struct io_uring_cqe cqe;
    unsigned dry = receiver->dry;
    while (receiver->dry == dry) {
        send_pattern(receiver, receiver->buffers.size);
        arm(receiver);
        next_completion(&receiver->ring, &cqe);
        if (!carries_data(receiver, &cqe))
            continue;
        check_data(receiver, nl_buffers_take(&receiver->buffers, cqe.flags), cqe.res);
        CHECK(!held[cqe.flags >> IORING_CQE_BUFFER_SHIFT]);
        held[cqe.flags >> IORING_CQE_BUFFER_SHIFT] = true;
    }
    CHECK_EQUAL(receiver->buffers.taken, receiver->buffers.total);
}

static void receive_the_rest(struct receiver *receiver)
{
    for (unsigned i = 0; i < 1000 && receiver->received < receiver->sent; i++)
        receive_what_is_there(receiver);
    CHECK_EQUAL(receiver->received, receiver->sent);
}

static void grow_until_the_limit(bool tcp)
{
    struct receiver receiver;
    static const unsigned totals[] = {3, 6, 12, 20};
    bool held[20] = {false};
    open_receiver(&receiver, tcp, 64, 3, 20, 16);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQUAL(receiver.buffers.total, totals[i]);
        run_dry(&receiver, held);
        CHECK_EQUAL(nl_buffers_grow(&receiver.buffers), i < 3);
    }
    CHECK_EQUAL(receiver.buffers.total, 20);
    for (unsigned id = 0; id < 20; id++) {
        CHECK(held[id]);
        nl_buffers_give(&receiver.buffers, id << IORING_CQE_BUFFER_SHIFT);
    }
    CHECK_EQUAL(receiver.buffers.taken, 0);
    CHECK_EQUAL(receiver.buffers.high_water, 20);
    receive_the_rest(&receiver);
    close_receiver(&receiver);
}

CASE(a_dry_group_grows_to_its_limit_and_loses_nothing)
{
    grow_until_the_limit(false);
    grow_until_the_limit(true);
}

static void exhaust(bool tcp)
{
    struct receiver receiver;
    bool held[2] = {false};
    open_receiver(&receiver, tcp, 64, 2, 2, 16);
    run_dry(&receiver, held);
    CHECK(!nl_buffers_grow(&receiver.buffers));
    send_pattern(&receiver, 1000);
    /* Armed anew while it is still dry it fails again at once; nothing is lost by it. */
    unsigned dry = receiver.dry;
    receive_what_is_there(&receiver);
    CHECK_EQUAL(receiver.dry, dry + 1);
    CHECK(receiver.received < receiver.sent);
    nl_buffers_give(&receiver.buffers, 1U << IORING_CQE_BUFFER_SHIFT);
    receive_the_rest(&receiver);
    CHECK_EQUAL(receiver.buffers.taken, 1);
    nl_buffers_give(&receiver.buffers, 0);
    close_receiver(&receiver);
}

CASE(an_exhausted_group_loses_nothing)
{
    exhaust(false);
    exhaust(true);
}

static void note_many(struct nl_buffers *buffers, unsigned length)
{
    for (unsigned i = 0; i < NL_BUFFERS_JUDGED; i++)
        nl_buffers_note(buffers, length);
}

/* What a round touches stays near the cache: the fuller the buffers, the fewer of them go round. */
CASE(full_buffers_circulate_in_small_numbers)
{
    struct nl_ring ring;
    struct nl_buffers buffers;
    open_ring(&ring, 16, 64);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, GROUP, 128 * 1024, 4, 1024), 0);
    while (nl_buffers_exhausted(&buffers))
        continue;
    CHECK_EQUAL(buffers.target, 1024);
    note_many(&buffers, 64);
    CHECK_EQUAL(buffers.target, 1024);
    note_many(&buffers, 16 * 1024);
    CHECK_EQUAL(buffers.target, NL_BUFFERS_HOT / (16 * 1024));
    CHECK(!nl_buffers_exhausted(&buffers));
    note_many(&buffers, 128 * 1024);
    CHECK_EQUAL(buffers.target, 4);
    note_many(&buffers, 64);
    CHECK(nl_buffers_exhausted(&buffers));
    CHECK_EQUAL(buffers.target, 8);
    nl_ring_close(&ring);
    nl_buffers_close(&buffers);
}

CASE(the_end_of_a_stream_takes_no_buffer)
{
    struct receiver receiver;
    struct io_uring_cqe cqe;
    open_receiver(&receiver, true, 64, 2, 2, 16);
    receive_one(&receiver, true);
    CHECK_EQUAL(shutdown(receiver.pair[1], SHUT_WR), 0);
    next_completion(&receiver.ring, &cqe);
    CHECK_EQUAL(cqe.res, 0);
    CHECK(!(cqe.flags & (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER)));
    close_receiver(&receiver);
}

CASE(receives_on_one_group_keep_their_streams_apart)
{
    struct nl_ring ring;
    struct nl_buffers buffers;
    struct io_uring_cqe cqe;
    int pairs[8][2];
    unsigned seen[8] = {0};
    open_ring(&ring, 16, 64);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, GROUP, 64, 4, 4), 0);
    for (unsigned i = 0; i < 8; i++) {
        unix_pair(pairs[i]);
        nl_prep_recv_multishot(next_sqe(&ring), nl_descriptor(pairs[i][0]), GROUP, i + 1);
    }
    CHECK(nl_ring_enter(&ring, 0, 0) > 0);
    for (unsigned round = 0; round < 100; round++) {
        unsigned i = check_random() % 8;
        unsigned char byte = (unsigned char)(i * 16 + seen[i] % 16);
        CHECK_EQUAL(write(pairs[i][1], &byte, 1), 1);
        next_completion(&ring, &cqe);
        CHECK_EQUAL(cqe.user_data, i + 1);
        CHECK_EQUAL(cqe.res, 1);
        CHECK_EQUAL(*nl_buffers_take(&buffers, cqe.flags), byte);
        nl_buffers_give(&buffers, cqe.flags);
        seen[i]++;
    }
    cancel_everything(&ring);
    nl_ring_close(&ring);
    nl_buffers_close(&buffers);
    for (unsigned i = 0; i < 8; i++)
        close_pair(pairs[i]);
}
