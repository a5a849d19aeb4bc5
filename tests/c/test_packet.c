/* Control messages of datagrams: what is told of them, and what they are told of. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "nl_packet.h"

#define SECOND INT64_C(1000000000)

/* All that a datagram of IPv6 may come with; returns its length. */
static size_t write_everything(unsigned char *memory)
{
    struct in6_pktinfo info = {.ipi6_ifindex = 7};
    struct timespec times[3] = {{.tv_sec = 9}, {0}, {.tv_sec = 3, .tv_nsec = 4}};
    int service = 0xb9, hops = 63, segment = 1200;
    uint32_t dropped = 5;
    size_t length = 0;
    inet_pton(AF_INET6, "fe80::5", &info.ipi6_addr);
    length = nl_control_add(memory, length, SOL_SOCKET, SCM_TIMESTAMPNS, &times[0], sizeof(times[0]));
    length = nl_control_add(memory, length, SOL_SOCKET, SCM_TIMESTAMPING, times, sizeof(times));
    length = nl_control_add(memory, length, SOL_SOCKET, SO_RXQ_OVFL, &dropped, sizeof(dropped));
    length = nl_control_add(memory, length, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    length = nl_control_add(memory, length, IPPROTO_IPV6, IPV6_TCLASS, &service, sizeof(service));
    length = nl_control_add(memory, length, IPPROTO_IPV6, IPV6_HOPLIMIT, &hops, sizeof(hops));
    return nl_control_add(memory, length, NL_SOL_UDP, NL_UDP_GRO, &segment, sizeof(segment));
}

CASE(everything_is_read)
{
    _Alignas(16) unsigned char memory[NL_DATAGRAM_CONTROL_ROOM];
    struct nl_arrival arrival;
    struct sockaddr_storage name;
    struct sockaddr_in6 *six = (void *)&name;
    size_t length = write_everything(memory);
    CHECK(length <= sizeof(memory));
    nl_arrival_read(&arrival, memory, length);
    CHECK_EQUAL(arrival.time, 9 * SECOND);
    CHECK_EQUAL(arrival.hardware_time, 3 * SECOND + 4);
    CHECK_EQUAL(arrival.dropped, 5);
    CHECK_EQUAL(arrival.interface, 7);
    CHECK_EQUAL(arrival.service, 0xb9);
    CHECK_EQUAL(arrival.hops, 63);
    CHECK_EQUAL(arrival.segment, 1200);
    CHECK_EQUAL(nl_arrival_name(&arrival, 53, &name), sizeof(*six));
    CHECK_EQUAL(six->sin6_family, AF_INET6);
    CHECK_EQUAL(ntohs(six->sin6_port), 53);
    CHECK_EQUAL(six->sin6_scope_id, 7);
}

CASE(nothing_is_read_beyond_the_end)
{
    _Alignas(16) unsigned char whole[NL_DATAGRAM_CONTROL_ROOM];
    struct nl_arrival arrival;
    size_t length = write_everything(whole);
    for (size_t cut = 1; cut < length; cut++) {
        /* Memory of just that size, so that the sanitizer sees what reads beyond it. */
        unsigned char *memory = malloc(cut);
        CHECK(memory);
        memcpy(memory, whole, cut);
        nl_arrival_read(&arrival, memory, cut);
        free(memory);
    }
}

CASE(what_is_not_there_is_not_told)
{
    struct nl_arrival arrival;
    struct sockaddr_storage name;
    nl_arrival_read(&arrival, NULL, 0);
    CHECK_EQUAL(arrival.time, 0);
    CHECK_EQUAL(arrival.service, -1);
    CHECK_EQUAL(arrival.hops, -1);
    CHECK_EQUAL(arrival.segment, 0);
    CHECK_EQUAL(nl_arrival_name(&arrival, 53, &name), 0);
}

CASE(a_type_of_service_of_one_byte)
{
    _Alignas(16) unsigned char memory[64];
    unsigned char service = 0xfe;
    struct nl_arrival arrival;
    nl_arrival_read(&arrival, memory, nl_control_add(memory, 0, IPPROTO_IP, IP_TOS, &service, 1));
    CHECK_EQUAL(arrival.service, 0xfe);
}

CASE(the_control_messages_of_a_send_fit_their_room)
{
    _Alignas(16) unsigned char memory[NL_SEND_CONTROL_ROOM];
    struct in6_addr source = IN6ADDR_LOOPBACK_INIT;
    size_t length = nl_control_add_source6(memory, 0, &source, 1);
    length = nl_control_add_service(memory, length, true, 2);
    length = nl_control_add_time(memory, length, 12345);
    length = nl_control_add_segment(memory, length, 1200);
    CHECK(length <= sizeof(memory));
}

CASE(a_socket_without_errors_has_none)
{
    struct nl_send_error found;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(fd >= 0);
    CHECK(!nl_send_error_take(fd, &found));
    CHECK_EQUAL(nl_datagram_drops(fd), 0);
    close(fd);
}

CASE(the_error_of_a_refused_datagram)
{
    struct nl_send_error found;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int on = 1, gone = socket(AF_INET, SOCK_DGRAM, 0), fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_EQUAL(bind(gone, (void *)&address, size), 0);
    CHECK_EQUAL(getsockname(gone, (void *)&address, &size), 0);
    close(gone);
    CHECK_EQUAL(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
    CHECK_EQUAL(sendto(fd, "x", 1, 0, (void *)&address, size), 1);
    for (int tries = 0; !nl_send_error_take(fd, &found); tries++) {
        CHECK(tries < 1000);
        usleep(1000);
    }
    CHECK_EQUAL(found.error, ECONNREFUSED);
    CHECK_EQUAL(found.origin, SO_EE_ORIGIN_ICMP);
    CHECK_EQUAL(((struct sockaddr_in *)&found.destination)->sin_port, address.sin_port);
    CHECK_EQUAL(found.offender_length, sizeof(struct sockaddr_in));
    CHECK_EQUAL(((struct sockaddr_in *)&found.offender)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    close(fd);
}
