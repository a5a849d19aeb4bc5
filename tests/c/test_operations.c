/* One function per operation: what each of them writes is what the kernel does. */
#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "support.h"

CASE(connect_reaches_a_listener)
{
    struct nl_ring ring;
    struct sockaddr_in address;
    open_ring(&ring, 4, 8);
    int listener = listen_on_loopback(&address);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    nl_prep_connect(next_sqe(&ring), nl_descriptor(client), (struct sockaddr *)&address, sizeof(address), 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    int server = accept(listener, NULL, NULL);
    CHECK_EQUAL(write(server, "x", 1), 1);
    close(client);
    close(server);
    close(listener);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    nl_prep_connect(next_sqe(&ring), nl_descriptor(client), (struct sockaddr *)&address, sizeof(address), 2);
    CHECK_EQUAL(next_result(&ring, 2), -ECONNREFUSED);
    close(client);
    nl_ring_close(&ring);
}

CASE(send_delivers_everything_although_the_socket_is_full)
{
    enum { LENGTH = 4 << 20 };
    struct nl_ring ring;
    int pair[2];
    unsigned char *data = malloc(LENGTH), *got = malloc(LENGTH);
    ssize_t received = 0;
    open_ring(&ring, 4, 8);
    tcp_pair(pair);
    for (unsigned i = 0; i < LENGTH; i++)
        data[i] = (unsigned char)(i * 31 + (i >> 8));
    nl_prep_send(next_sqe(&ring), nl_descriptor(pair[0]), data, LENGTH, 1);
    expect_no_completion(&ring);
    while (received < LENGTH) {
        CHECK(nl_ring_enter(&ring, 0, 0) >= 0);
        ssize_t length = recv(pair[1], got + received, LENGTH - (size_t)received, MSG_DONTWAIT);
        if (length < 0)
            CHECK_EQUAL(errno, EAGAIN);
        else
            received += length;
    }
    CHECK_EQUAL(next_result(&ring, 1), LENGTH);
    CHECK(memcmp(data, got, LENGTH) == 0);
    nl_ring_close(&ring);
    close_pair(pair);
    free(data);
    free(got);
}

CASE(send_to_a_closed_peer_is_an_error_and_no_signal)
{
    struct nl_ring ring;
    int pair[2];
    struct iovec part = {.iov_base = "x", .iov_len = 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    open_ring(&ring, 4, 8);
    unix_pair(pair);
    close(pair[1]);
    nl_prep_send(next_sqe(&ring), nl_descriptor(pair[0]), "x", 1, 1);
    CHECK_EQUAL(next_result(&ring, 1), -EPIPE);
    nl_prep_sendmsg(next_sqe(&ring), nl_descriptor(pair[0]), &message, 0, 2);
    CHECK_EQUAL(next_result(&ring, 2), -EPIPE);
    close(pair[0]);
    nl_ring_close(&ring);
}

CASE(messages_are_gathered_and_scattered)
{
    struct nl_ring ring;
    int pair[2];
    char first[3] = {0}, second[8] = {0};
    struct iovec out[] = {{"ab", 2}, {"cde", 3}}, in[] = {{first, 3}, {second, 8}};
    struct msghdr sent = {.msg_iov = out, .msg_iovlen = 2}, received = {.msg_iov = in, .msg_iovlen = 2};
    open_ring(&ring, 4, 8);
    unix_pair(pair);
    nl_prep_sendmsg(next_sqe(&ring), nl_descriptor(pair[0]), &sent, MSG_WAITALL, 1);
    CHECK_EQUAL(next_result(&ring, 1), 5);
    nl_prep_recvmsg(next_sqe(&ring), nl_descriptor(pair[1]), &received, 0, 2);
    CHECK_EQUAL(next_result(&ring, 2), 5);
    CHECK(memcmp(first, "abc", 3) == 0 && memcmp(second, "de", 2) == 0);
    nl_ring_close(&ring);
    close_pair(pair);
}

CASE(recv_passes_its_flags_on)
{
    struct nl_ring ring;
    int pair[2];
    char byte = 0;
    open_ring(&ring, 4, 8);
    unix_pair(pair);
    CHECK_EQUAL(write(pair[1], "x", 1), 1);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(pair[0]), &byte, 1, MSG_PEEK, 1);
    CHECK_EQUAL(next_result(&ring, 1), 1);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(pair[0]), &byte, 1, 0, 2);
    CHECK_EQUAL(next_result(&ring, 2), 1);
    nl_prep_recv(next_sqe(&ring), nl_descriptor(pair[0]), &byte, 1, MSG_DONTWAIT, 3);
    CHECK_EQUAL(next_result(&ring, 3), -EAGAIN);
    nl_ring_close(&ring);
    close_pair(pair);
}

CASE(shutdown_ends_one_side)
{
    struct nl_ring ring;
    int pair[2];
    char byte;
    open_ring(&ring, 4, 8);
    tcp_pair(pair);
    nl_prep_shutdown(next_sqe(&ring), nl_descriptor(pair[0]), SHUT_WR, 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    CHECK_EQUAL(recv(pair[1], &byte, 1, 0), 0);
    CHECK_EQUAL(write(pair[1], "x", 1), 1);
    CHECK_EQUAL(recv(pair[0], &byte, 1, 0), 1);
    nl_ring_close(&ring);
    close_pair(pair);
}

CASE(close_closes_a_descriptor)
{
    struct nl_ring ring;
    int pair[2];
    char byte;
    open_ring(&ring, 4, 8);
    unix_pair(pair);
    nl_prep_close(next_sqe(&ring), nl_descriptor(pair[0]), 1);
    CHECK_EQUAL(next_result(&ring, 1), 0);
    CHECK_EQUAL(read(pair[1], &byte, 1), 0);
    CHECK_EQUAL(fcntl(pair[0], F_GETFD), -1);
    close(pair[1]);
    nl_ring_close(&ring);
}

CASE(poll_reports_once)
{
    struct nl_ring ring;
    int pair[2];
    open_ring(&ring, 4, 8);
    unix_pair(pair);
    nl_prep_poll(next_sqe(&ring), nl_descriptor(pair[0]), POLLIN, 1);
    expect_no_completion(&ring);
    CHECK_EQUAL(write(pair[1], "x", 1), 1);
    CHECK(next_result(&ring, 1) & POLLIN);
    CHECK_EQUAL(write(pair[1], "x", 1), 1);
    expect_no_completion(&ring);
    nl_prep_poll(next_sqe(&ring), nl_descriptor(pair[0]), POLLIN | POLLOUT, 2);
    CHECK_EQUAL(next_result(&ring, 2) & (POLLIN | POLLOUT), POLLIN | POLLOUT);
    nl_ring_close(&ring);
    close_pair(pair);
}

CASE(read_and_write_use_the_offset)
{
    struct nl_ring ring;
    char data[4] = {0};
    open_ring(&ring, 4, 8);
    int file = memfd_create("netloop", MFD_CLOEXEC);
    CHECK(file >= 0);
    nl_prep_write(next_sqe(&ring), nl_descriptor(file), "abcdef", 6, 0, 1);
    CHECK_EQUAL(next_result(&ring, 1), 6);
    nl_prep_read(next_sqe(&ring), nl_descriptor(file), data, 4, 2, 2);
    CHECK_EQUAL(next_result(&ring, 2), 4);
    CHECK(memcmp(data, "cdef", 4) == 0);
    nl_prep_read(next_sqe(&ring), nl_descriptor(file), data, 4, UINT64_MAX, 3);
    CHECK_EQUAL(next_result(&ring, 3), 4);
    CHECK(memcmp(data, "abcd", 4) == 0);
    CHECK_EQUAL(lseek(file, 0, SEEK_CUR), 4);
    close(file);
    nl_ring_close(&ring);
}

CASE(a_read_waits_for_a_pipe)
{
    struct nl_ring ring;
    int ends[2];
    char byte = 0;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(pipe2(ends, O_CLOEXEC), 0);
    nl_prep_read(next_sqe(&ring), nl_descriptor(ends[0]), &byte, 1, UINT64_MAX, 1);
    expect_no_completion(&ring);
    CHECK_EQUAL(write(ends[1], "x", 1), 1);
    CHECK_EQUAL(next_result(&ring, 1), 1);
    CHECK_EQUAL(byte, 'x');
    close_pair(ends);
    nl_ring_close(&ring);
}
