/* Cancelling: one operation, all of one file, all of the ring. */
#include "nl_buffers.h"
#include "nl_files.h"
#include "support.h"

#define CANCEL 99

/* The results of `count` completions, in whatever order they come, each of a token below 16. */
static void collect(struct nl_ring *ring, unsigned count, int32_t results[16])
{
    struct io_uring_cqe cqe;
    for (unsigned i = 0; i < count; i++) {
        next_completion(ring, &cqe);
        unsigned token = cqe.user_data == CANCEL ? 15 : (unsigned)cqe.user_data;
        CHECK(token < 16);
        CHECK_EQUAL(results[token], 0);
        results[token] = cqe.res;
    }
    expect_no_completion(ring);
}

CASE(cancelling_a_receive_is_told_by_the_receive_alone)
{
    struct nl_ring ring;
    int pair[2];
    char byte;
    open_ring(&ring, 4, 8);
    tcp_pair(pair);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(pair[0]), &byte, 1, 0, 1);
    expect_no_completion(&ring);
    nl_prep_cancel(next_sqe(&ring), 1, CANCEL);
    CHECK_EQUAL(next_result(&ring, 1), -ECANCELED);
    expect_no_completion(&ring);
    /* The connection goes on. */
    CHECK_EQUAL(write(pair[1], "x", 1), 1);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(pair[0]), &byte, 1, 0, 2);
    CHECK_EQUAL(next_result(&ring, 2), 1);
    nl_ring_close(&ring);
    close_pair(pair);
}

CASE(cancelling_what_is_not_there_says_so)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    nl_prep_cancel(next_sqe(&ring), 1, CANCEL);
    CHECK_EQUAL(next_result(&ring, CANCEL), -ENOENT);
    nl_ring_close(&ring);
}

CASE(a_cancelled_multishot_receive_loses_no_data)
{
    struct nl_ring ring;
    struct nl_buffers buffers;
    struct io_uring_cqe cqe;
    int pair[2];
    open_ring(&ring, 8, 16);
    unix_pair(pair);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, 0, 64, 4, 4), 0);
    nl_prep_recv_multishot(next_sqe(&ring), nl_descriptor(pair[0]), 0, 1);
    expect_no_completion(&ring);
    CHECK_EQUAL(write(pair[1], "a", 1), 1);
    nl_prep_cancel(next_sqe(&ring), 1, CANCEL);
    /* Data that came before the cancel may be told before its end, or stay in the socket: it is there either way. */
    unsigned received = 0;
    do {
        next_completion(&ring, &cqe);
        if (cqe.user_data == CANCEL)
            continue;
        CHECK_EQUAL(cqe.user_data, 1);
        if (cqe.flags & IORING_CQE_F_BUFFER) {
            CHECK_EQUAL(*nl_buffers_take(&buffers, cqe.flags), 'a');
            nl_buffers_give(&buffers, cqe.flags);
            received++;
        }
    } while (cqe.user_data == CANCEL || cqe.flags & IORING_CQE_F_MORE);
    if (!received) {
        char byte = 0;
        CHECK_EQUAL(recv(pair[0], &byte, 1, MSG_DONTWAIT), 1);
        CHECK_EQUAL(byte, 'a');
    }
    nl_ring_close(&ring);
    nl_buffers_close(&buffers);
    close_pair(pair);
}

CASE(cancelling_a_descriptor_ends_all_of_its_operations_and_no_others)
{
    struct nl_ring ring;
    int a[2], b[2];
    char bytes[3];
    int32_t results[16] = {0};
    open_ring(&ring, 8, 16);
    unix_pair(a);
    unix_pair(b);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(a[0]), &bytes[0], 1, 0, 1);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(b[0]), &bytes[1], 1, 0, 2);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(a[0]), &bytes[2], 1, 0, 3);
    nl_prep_poll(next_sqe(&ring), nl_descriptor(a[0]), 1, 4);
    expect_no_completion(&ring);
    nl_prep_cancel_file(next_sqe(&ring), nl_descriptor(a[0]), CANCEL);
    collect(&ring, 4, results);
    CHECK_EQUAL(results[1], -ECANCELED);
    CHECK_EQUAL(results[3], -ECANCELED);
    CHECK_EQUAL(results[4], -ECANCELED);
    CHECK_EQUAL(results[15], 3);
    CHECK_EQUAL(write(b[1], "b", 1), 1);
    CHECK_EQUAL(next_result(&ring, 2), 1);
    CHECK_EQUAL(bytes[1], 'b');
    nl_ring_close(&ring);
    close_pair(a);
    close_pair(b);
}

CASE(cancelling_a_fixed_file_ends_all_of_its_operations_and_no_others)
{
    struct nl_ring ring;
    struct nl_files files;
    struct sockaddr_in address;
    int clients[2];
    char bytes[3];
    int32_t results[16] = {0};
    open_ring(&ring, 8, 16);
    CHECK_EQUAL(nl_files_open(&files, &ring, 4, 0), 0);
    int listener = listen_on_loopback(&address);
    for (int slot = 0; slot < 2; slot++) {
        clients[slot] = connect_to(&address);
        nl_prep_accept(next_sqe(&ring), nl_descriptor(listener), NULL, NULL, slot, 0, 9);
        CHECK_EQUAL(next_result(&ring, 9), 0);
    }
    nl_prep_recv(next_sqe(&ring), nl_fixed_file(0), &bytes[0], 1, 0, 1);
    nl_prep_recv(next_sqe(&ring), nl_fixed_file(1), &bytes[1], 1, 0, 2);
    nl_prep_recv(next_sqe(&ring), nl_fixed_file(0), &bytes[2], 1, 0, 3);
    expect_no_completion(&ring);
    nl_prep_cancel_file(next_sqe(&ring), nl_fixed_file(0), CANCEL);
    collect(&ring, 3, results);
    CHECK_EQUAL(results[1], -ECANCELED);
    CHECK_EQUAL(results[3], -ECANCELED);
    CHECK_EQUAL(results[15], 2);
    nl_prep_cancel_file(next_sqe(&ring), nl_fixed_file(3), CANCEL);
    CHECK_EQUAL(next_result(&ring, CANCEL), -EBADF);
    CHECK_EQUAL(write(clients[1], "b", 1), 1);
    CHECK_EQUAL(next_result(&ring, 2), 1);
    nl_ring_close(&ring);
    nl_files_close(&files);
    close(clients[0]);
    close(clients[1]);
    close(listener);
}

CASE(cancelling_everything_leaves_nothing_in_flight)
{
    struct nl_ring ring;
    struct nl_buffers buffers;
    struct sockaddr_in address;
    int pairs[3][2], pipe_ends[2];
    char byte;
    int32_t results[16] = {0};
    open_ring(&ring, 8, 16);
    CHECK_EQUAL(nl_buffers_open(&buffers, &ring, 0, 64, 4, 4), 0);
    CHECK_EQUAL(pipe2(pipe_ends, O_CLOEXEC), 0);
    int listener = listen_on_loopback(&address);
    for (unsigned i = 0; i < 3; i++) {
        unix_pair(pairs[i]);
        nl_prep_recv_multishot(next_sqe(&ring), nl_descriptor(pairs[i][0]), 0, i + 1);
    }
    nl_prep_poll(next_sqe(&ring), nl_descriptor(pairs[0][1]), 1, 4);
    nl_prep_read(next_sqe(&ring), nl_descriptor(pipe_ends[0]), &byte, 1, UINT64_MAX, 5);
    nl_prep_accept(next_sqe(&ring), nl_descriptor(listener), NULL, NULL, -1, 0, 6);
    expect_no_completion(&ring);
    nl_prep_cancel_all(next_sqe(&ring), CANCEL);
    collect(&ring, 7, results);
    for (unsigned token = 1; token <= 6; token++)
        CHECK_EQUAL(results[token], -ECANCELED);
    CHECK_EQUAL(results[15], 6);
    nl_prep_cancel_all(next_sqe(&ring), CANCEL);
    CHECK_EQUAL(next_result(&ring, CANCEL), 0);
    nl_ring_close(&ring);
    nl_buffers_close(&buffers);
    for (unsigned i = 0; i < 3; i++)
        close_pair(pairs[i]);
    close_pair(pipe_ends);
    close(listener);
}
