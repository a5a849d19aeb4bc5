/* The fixed-file table: slots, and connections that live in them without a descriptor of the process. */
#include <sys/resource.h>

#include "nl_files.h"
#include "support.h"

enum { ACCEPT = 1, RECV, SEND, CLOSE, INSTALL, OPTION, CANCEL };

static void open_table(struct nl_ring *ring, struct nl_files *files, unsigned total, unsigned margin)
{
    open_ring(ring, 16, 32);
    CHECK_EQUAL(nl_files_open(files, ring, total, margin), 0);
}

static void close_table(struct nl_ring *ring, struct nl_files *files)
{
    nl_ring_close(ring);
    nl_files_close(files);
}

/* A connection accepted into a slot of the table. Returns the client's descriptor. */
static int accept_into(struct nl_ring *ring, int slot)
{
    struct sockaddr_in address;
    int listener = listen_on_loopback(&address);
    int client = connect_to(&address);
    nl_prep_accept(next_sqe(ring), nl_descriptor(listener), NULL, NULL, slot, 0, ACCEPT);
    CHECK_EQUAL(next_result(ring, ACCEPT), 0);
    close(listener);
    return client;
}

static void close_slot(struct nl_ring *ring, int slot)
{
    nl_prep_close(next_sqe(ring), nl_fixed_file(slot), CLOSE);
    CHECK_EQUAL(next_result(ring, CLOSE), 0);
}

/* What the peer sees: 1 data, 0 the end of the stream, -EAGAIN nothing. */
static int peek(int client)
{
    char byte;
    ssize_t length = recv(client, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return length < 0 ? -errno : (int)length;
}

CASE(slots_are_handed_out_down_to_the_margin)
{
    struct nl_ring ring;
    struct nl_files files;
    open_table(&ring, &files, 10, 3);
    CHECK_EQUAL(files.total, 10);
    for (int slot = 0; slot < 7; slot++)
        CHECK_EQUAL(nl_files_take(&files), slot);
    CHECK_EQUAL(nl_files_take(&files), -1);
    CHECK_EQUAL(nl_files_used(&files), 7);
    nl_files_give(&files, 4);
    CHECK_EQUAL(nl_files_used(&files), 6);
    CHECK_EQUAL(nl_files_take(&files), 4);
    CHECK_EQUAL(nl_files_take(&files), -1);
    close_table(&ring, &files);
    CHECK_EQUAL(nl_files_used(&files), 0);
}

CASE(a_table_is_as_large_as_the_descriptor_limit_allows)
{
    struct nl_ring ring;
    struct nl_files files;
    struct rlimit limit;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 64;
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQUAL(nl_files_open(&files, &ring, 1000, 64), -EINVAL);
    CHECK_EQUAL(files.total, 0);
    CHECK_EQUAL(nl_files_open(&files, &ring, 1000, 8), 0);
    CHECK_EQUAL(files.total, 64);
    close_table(&ring, &files);
}

CASE(a_second_table_is_refused)
{
    struct nl_ring ring;
    struct nl_files files, second;
    open_table(&ring, &files, 4, 0);
    CHECK_EQUAL(nl_files_open(&second, &ring, 4, 0), -EBUSY);
    CHECK_EQUAL(second.total, 0);
    CHECK_EQUAL(nl_files_open(&second, &ring, 4, 4), -EINVAL);
    close_table(&ring, &files);
}

CASE(a_connection_is_accepted_into_the_slot_named_for_it)
{
    struct nl_ring ring;
    struct nl_files files;
    char data[8] = {0};
    open_table(&ring, &files, 8, 0);
    unsigned before = count_descriptors();
    int client = accept_into(&ring, 5);
    CHECK_EQUAL(count_descriptors(), before + 1); /* the client's own */
    nl_prep_send(next_sqe(&ring), nl_fixed_file(5), "hello", 5, SEND);
    CHECK_EQUAL(next_result(&ring, SEND), 5);
    CHECK_EQUAL(recv(client, data, sizeof(data), 0), 5);
    CHECK(memcmp(data, "hello", 5) == 0);
    CHECK_EQUAL(send(client, "back", 4, 0), 4);
    nl_prep_recv(next_sqe(&ring), nl_fixed_file(5), data, sizeof(data), 0, RECV);
    CHECK_EQUAL(next_result(&ring, RECV), 4);
    CHECK(memcmp(data, "back", 4) == 0);
    nl_prep_recv(next_sqe(&ring), nl_fixed_file(4), data, sizeof(data), 0, RECV);
    CHECK_EQUAL(next_result(&ring, RECV), -EBADF);
    close_slot(&ring, 5);
    close(client);
    close_table(&ring, &files);
}

CASE(accepts_armed_together_tell_each_connections_address)
{
    struct nl_ring ring;
    struct nl_files files;
    struct sockaddr_in address, peers[4], own;
    struct io_uring_cqe cqe;
    socklen_t lengths[4];
    int clients[4];
    open_table(&ring, &files, 8, 0);
    int listener = listen_on_loopback(&address);
    for (unsigned i = 0; i < 4; i++) {
        memset(&peers[i], 0, sizeof(peers[i]));
        lengths[i] = sizeof(peers[i]);
        nl_prep_accept(next_sqe(&ring), nl_descriptor(listener), (struct sockaddr *)&peers[i], &lengths[i], (int)i, 0,
                       100 + i);
    }
    expect_no_completion(&ring);
    for (unsigned i = 0; i < 4; i++)
        clients[i] = connect_to(&address);
    for (unsigned i = 0; i < 4; i++) {
        next_completion(&ring, &cqe);
        unsigned slot = (unsigned)(cqe.user_data - 100);
        CHECK(slot < 4);
        CHECK_EQUAL(cqe.res, 0);
        CHECK_EQUAL(lengths[slot], sizeof(struct sockaddr_in));
        CHECK_EQUAL(peers[slot].sin_family, AF_INET);
    }
    /* The address told for a slot is that of the client whose connection is in it. */
    for (unsigned i = 0; i < 4; i++) {
        socklen_t length = sizeof(own);
        unsigned slot = 0;
        char byte = 0;
        CHECK_EQUAL(getsockname(clients[i], (struct sockaddr *)&own, &length), 0);
        while (slot < 4 && peers[slot].sin_port != own.sin_port)
            slot++;
        CHECK(slot < 4);
        CHECK_EQUAL(peers[slot].sin_addr.s_addr, own.sin_addr.s_addr);
        nl_prep_send(next_sqe(&ring), nl_fixed_file((int)slot), "x", 1, SEND);
        CHECK_EQUAL(next_result(&ring, SEND), 1);
        CHECK_EQUAL(recv(clients[i], &byte, 1, MSG_DONTWAIT), 1);
        close(clients[i]);
    }
    close(listener);
    close_table(&ring, &files);
}

CASE(a_connection_can_be_accepted_as_a_descriptor)
{
    struct nl_ring ring;
    struct sockaddr_in address;
    open_ring(&ring, 4, 8);
    int listener = listen_on_loopback(&address);
    int client = connect_to(&address);
    nl_prep_accept(next_sqe(&ring), nl_descriptor(listener), NULL, NULL, -1, 0, ACCEPT);
    int fd = next_result(&ring, ACCEPT);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK_EQUAL(write(fd, "x", 1), 1);
    close(fd);
    close(client);
    close(listener);
    nl_ring_close(&ring);
}

CASE(a_slot_can_be_given_a_descriptor)
{
    struct nl_ring ring;
    struct nl_files files;
    int32_t fd = -1;
    char byte = 0;
    open_table(&ring, &files, 4, 0);
    int client = accept_into(&ring, 2);
    nl_prep_install(next_sqe(&ring), 2, INSTALL);
    CHECK_EQUAL(nl_ring_call(&ring, INSTALL, &fd), 0);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQUAL(write(fd, "x", 1), 1);
    CHECK_EQUAL(recv(client, &byte, 1, 0), 1);
    /* The descriptor and the slot are two names of one connection: it ends with the last. */
    close_slot(&ring, 2);
    CHECK_EQUAL(peek(client), -EAGAIN);
    close(fd);
    CHECK_EQUAL(recv(client, &byte, 1, 0), 0);
    nl_prep_install(next_sqe(&ring), 3, INSTALL);
    CHECK_EQUAL(nl_ring_call(&ring, INSTALL, &fd), 0);
    CHECK_EQUAL(fd, -EBADF);
    close(client);
    close_table(&ring, &files);
}

CASE(socket_options_are_set_and_read_through_the_ring)
{
    struct nl_ring ring;
    struct nl_files files;
    int32_t result = -1, fd = -1;
    int on = 1, value = 0;
    socklen_t length = sizeof(value);
    open_table(&ring, &files, 4, 0);
    int client = accept_into(&ring, 1);
    nl_prep_sockopt(next_sqe(&ring), nl_fixed_file(1), NL_SOCKET_SETSOCKOPT, IPPROTO_TCP, TCP_NODELAY, &on,
                    sizeof(on), OPTION);
    CHECK_EQUAL(nl_ring_call(&ring, OPTION, &result), 0);
    CHECK_EQUAL(result, 0);
    nl_prep_sockopt(next_sqe(&ring), nl_fixed_file(1), NL_SOCKET_SETSOCKOPT, SOL_SOCKET, SO_KEEPALIVE, &on,
                    sizeof(on), OPTION);
    CHECK_EQUAL(nl_ring_call(&ring, OPTION, &result), 0);
    CHECK_EQUAL(result, 0);
    nl_prep_sockopt(next_sqe(&ring), nl_fixed_file(1), NL_SOCKET_GETSOCKOPT, SOL_SOCKET, SO_KEEPALIVE, &value,
                    sizeof(value), OPTION);
    CHECK_EQUAL(nl_ring_call(&ring, OPTION, &result), 0);
    CHECK_EQUAL(result, sizeof(value));
    CHECK_EQUAL(value, 1);
    nl_prep_install(next_sqe(&ring), 1, INSTALL);
    CHECK_EQUAL(nl_ring_call(&ring, INSTALL, &fd), 0);
    CHECK_EQUAL(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    CHECK_EQUAL(value, 1);
    nl_prep_sockopt(next_sqe(&ring), nl_fixed_file(1), NL_SOCKET_SETSOCKOPT, SOL_SOCKET, 9999, &on, sizeof(on),
                    OPTION);
    CHECK_EQUAL(nl_ring_call(&ring, OPTION, &result), 0);
    CHECK_EQUAL(result, -ENOPROTOOPT);
    close(fd);
    close(client);
    close_table(&ring, &files);
}

CASE(closing_a_slot_ends_the_connection)
{
    struct nl_ring ring;
    struct nl_files files;
    char byte;
    open_table(&ring, &files, 4, 0);
    int client = accept_into(&ring, 3);
    CHECK_EQUAL(peek(client), -EAGAIN);
    close_slot(&ring, 3);
    CHECK_EQUAL(recv(client, &byte, 1, 0), 0);
    nl_prep_close(next_sqe(&ring), nl_fixed_file(3), CLOSE);
    CHECK_EQUAL(next_result(&ring, CLOSE), -EBADF);
    close(client);
    close_table(&ring, &files);
}

CASE(closing_a_slot_while_a_receive_is_in_flight_does_not_end_the_connection)
{
    struct nl_ring ring;
    struct nl_files files;
    char data[4];
    open_table(&ring, &files, 4, 0);
    int client = accept_into(&ring, 0);
    nl_prep_recv(next_sqe(&ring), nl_fixed_file(0), data, sizeof(data), 0, RECV);
    expect_no_completion(&ring);
    close_slot(&ring, 0);
    CHECK_EQUAL(peek(client), -EAGAIN);
    nl_prep_cancel(next_sqe(&ring), RECV, CANCEL);
    CHECK_EQUAL(next_result(&ring, RECV), -ECANCELED);
    CHECK_EQUAL(recv(client, data, 1, 0), 0);
    close(client);
    close_table(&ring, &files);
}

CASE(a_slot_can_be_used_again_and_again)
{
    struct nl_ring ring;
    struct nl_files files;
    char byte = 0;
    open_table(&ring, &files, 2, 0);
    unsigned before = count_descriptors();
    for (char round = 'a'; round <= 'z'; round++) {
        int slot = nl_files_take(&files);
        int client = accept_into(&ring, slot);
        nl_prep_send(next_sqe(&ring), nl_fixed_file(slot), &round, 1, SEND);
        CHECK_EQUAL(next_result(&ring, SEND), 1);
        CHECK_EQUAL(recv(client, &byte, 1, 0), 1);
        CHECK_EQUAL(byte, round);
        close_slot(&ring, slot);
        nl_files_give(&files, slot);
        close(client);
    }
    CHECK_EQUAL(nl_files_used(&files), 0);
    CHECK_EQUAL(count_descriptors(), before);
    close_table(&ring, &files);
}
