/* Listening sockets that several processes share: who is woken, and accepts that do not wait. */
#include <poll.h>

#include "nl_accept.h"
#include "nl_files.h"
#include "support.h"

enum { ACCEPT = 1, POLL, NAME };

/* A flag of an accept that no kernel knows. */
#define UNKNOWN_FLAG (1U << 14)

CASE(everybody_who_polls_a_listener_is_woken)
{
    struct nl_ring rings[3];
    struct sockaddr_in address;
    int listener = listen_on_loopback(&address);
    for (unsigned i = 0; i < 3; i++) {
        open_ring(&rings[i], 4, 8);
        nl_prep_poll(next_sqe(&rings[i]), nl_descriptor(listener), POLLIN, POLL);
        expect_no_completion(&rings[i]);
    }
    int client = connect_to(&address);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(next_result(&rings[i], POLL) & POLLIN);
        nl_ring_close(&rings[i]);
    }
    close(client);
    close(listener);
}

/* Linux before 6.10 refuses the flag, before it looks at the descriptor. */
CASE(an_accept_that_does_not_wait_ends_when_it_is_submitted)
{
    struct nl_ring ring;
    struct nl_files files;
    struct sockaddr_in address, peer, name;
    socklen_t length = sizeof(peer), name_length = sizeof(name);
    int32_t result;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_files_open(&files, &ring, 4, 0), 0);
    int listener = listen_on_loopback(&address);
    nl_prep_accept(next_sqe(&ring), NOBODY, NULL, NULL, -1, NL_ACCEPT_DONTWAIT, ACCEPT);
    int known = next_result(&ring, ACCEPT);
    CHECK(known == -EBADF || known == -EINVAL);
    if (known == -EBADF) {
        nl_prep_accept(next_sqe(&ring), nl_descriptor(listener), NULL, NULL, 1, NL_ACCEPT_DONTWAIT, ACCEPT);
        CHECK_EQUAL(nl_ring_submit(&ring), 1);
        CHECK(nl_ring_take(&ring, ACCEPT, &result));
        CHECK_EQUAL(result, -EAGAIN);
        int client = connect_to(&address);
        CHECK_EQUAL(getsockname(client, (struct sockaddr *)&name, &name_length), 0);
        nl_prep_accept(next_sqe(&ring), nl_descriptor(listener), (struct sockaddr *)&peer, &length, 1,
                       NL_ACCEPT_DONTWAIT, ACCEPT);
        CHECK_EQUAL(nl_ring_submit(&ring), 1);
        CHECK(nl_ring_take(&ring, ACCEPT, &result));
        CHECK_EQUAL(result, 0);
        CHECK_EQUAL(peer.sin_port, name.sin_port);
        close(client);
    }
    close(listener);
    nl_ring_close(&ring);
    nl_files_close(&files);
}

CASE(a_flag_that_the_kernel_does_not_know_is_refused)
{
    struct nl_ring ring;
    open_ring(&ring, 4, 8);
    nl_prep_accept(next_sqe(&ring), NOBODY, NULL, NULL, -1, UNKNOWN_FLAG, ACCEPT);
    CHECK_EQUAL(next_result(&ring, ACCEPT), -EINVAL);
    nl_prep_accept(next_sqe(&ring), NOBODY, NULL, NULL, -1, 0, ACCEPT);
    CHECK_EQUAL(next_result(&ring, ACCEPT), -EBADF);
    nl_ring_close(&ring);
}

CASE(the_length_of_a_queue_is_known)
{
    struct sockaddr_in address;
    int clients[3], listener = listen_on_loopback(&address);
    unsigned limit;
    fcntl(listener, F_SETFL, O_NONBLOCK);
    CHECK_EQUAL(listen(listener, 77), 0);
    CHECK_EQUAL(nl_accept_queue(listener, &limit), 0);
    CHECK_EQUAL(limit, 77);
    CHECK_EQUAL(nl_accept_now(listener, NULL, NULL), -EAGAIN);
    for (unsigned i = 0; i < 3; i++) {
        clients[i] = connect_to(&address);
        CHECK_EQUAL(nl_accept_queue(listener, &limit), i + 1);
    }
    int accepted = nl_accept_now(listener, NULL, NULL);
    CHECK(accepted >= 0);
    CHECK(fcntl(accepted, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(accepted, F_GETFL) & O_NONBLOCK);
    CHECK_EQUAL(nl_accept_queue(listener, &limit), 2);
    close(accepted);
    for (unsigned i = 0; i < 3; i++)
        close(clients[i]);
    close(listener);
    CHECK_EQUAL(nl_accept_queue(listener, &limit), 1);
    CHECK_EQUAL(limit, 0);
    CHECK_EQUAL(nl_accept_now(listener, NULL, NULL), -EBADF);
}

/* Linux before 6.19 does not know the command. */
CASE(a_slot_tells_its_names)
{
    struct nl_ring ring;
    struct nl_files files;
    struct sockaddr_in address, client_name, found;
    socklen_t length = sizeof(client_name);
    int32_t result;
    open_ring(&ring, 4, 8);
    CHECK_EQUAL(nl_files_open(&files, &ring, 4, 0), 0);
    int listener = listen_on_loopback(&address), client = connect_to(&address);
    CHECK_EQUAL(getsockname(client, (struct sockaddr *)&client_name, &length), 0);
    nl_prep_accept(next_sqe(&ring), nl_descriptor(listener), NULL, NULL, 2, 0, ACCEPT);
    CHECK_EQUAL(next_result(&ring, ACCEPT), 0);
    for (int peer = 0; peer < 2; peer++) {
        length = sizeof(found);
        nl_prep_getsockname(next_sqe(&ring), nl_fixed_file(2), (struct sockaddr *)&found, &length, peer, NAME);
        CHECK_EQUAL(nl_ring_call(&ring, NAME, &result), 0);
        CHECK(result == 0 || result == -EOPNOTSUPP);
        if (result == 0) {
            CHECK_EQUAL(length, sizeof(found));
            CHECK_EQUAL(found.sin_port, peer ? client_name.sin_port : address.sin_port);
        }
    }
    close(client);
    close(listener);
    nl_ring_close(&ring);
    nl_files_close(&files);
}
