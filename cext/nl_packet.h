/*
 * What the kernel tells of a datagram beside its payload and its sender, and what it is told of one that is sent: the
 * control messages of recvmsg(2) and sendmsg(2), and the error queue of a socket.
 */
#ifndef NL_PACKET_H
#define NL_PACKET_H

/* The system's headers come before the kernel's, which leave out what is declared already. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include <linux/errqueue.h>

#include "nl_datagram.h"

/* Of <netinet/udp.h> and <linux/net_tstamp.h>, named here because older headers lack one or the other. */
#define NL_SOL_UDP 17
#define NL_UDP_SEGMENT 103
#define NL_UDP_GRO 104
#define NL_SO_TXTIME 61
#define NL_ORIGIN_LOCAL 1

/* Largest payloads: a datagram's length has 16 bits, and for IPv4 its header is counted in. */
#define NL_PAYLOAD_LIMIT_4 (65535 - 20 - 8)
#define NL_PAYLOAD_LIMIT_6 (65535 - 8)

/* Control messages of a send: source, type of service, transmit time and segment size take 96 bytes at most. */
#define NL_SEND_CONTROL_ROOM 128

struct nl_arrival {
    int64_t time;          /* when the kernel has received it, nanoseconds since 1970; 0: not told */
    int64_t hardware_time; /* when the device has */
    uint32_t interface;    /* 0: not told */
    uint32_t dropped;      /* datagrams that the socket has dropped until then; 0: none, or not told */
    uint16_t segment;      /* size of each datagram that was coalesced with others, 0: it came alone */
    int16_t service;       /* type of service or traffic class, -1: not told */
    int16_t hops;          /* time to live or hop limit, -1: not told */
    uint16_t family;       /* of the destination, 0: not told */
    unsigned char destination[16];
};

static inline int64_t nl_nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* Copy what a control message carries, if it carries that much: one that found too little room is cut. */
static inline bool nl_control_copy(void *value, size_t size, const struct cmsghdr *control)
{
    if (control->cmsg_len < CMSG_LEN(size))
        return false;
    memcpy(value, CMSG_DATA(control), size);
    return true;
}

static inline int nl_control_int(const struct cmsghdr *control)
{
    int value = 0;
    /* IPv4's type of service is a byte. */
    if (!nl_control_copy(&value, sizeof(value), control) && control->cmsg_len > CMSG_LEN(0))
        value = *CMSG_DATA(control);
    return value;
}

static inline void nl_arrival_read_socket(struct nl_arrival *arrival, const struct cmsghdr *control)
{
    if (control->cmsg_type == SO_RXQ_OVFL) {
        arrival->dropped = (uint32_t)nl_control_int(control);
    } else if (control->cmsg_type == SCM_TIMESTAMPNS) {
        struct timespec time;
        if (nl_control_copy(&time, sizeof(time), control))
            arrival->time = nl_nanoseconds(&time);
    } else if (control->cmsg_type == SCM_TIMESTAMPING) {
        struct timespec times[3]; /* by the kernel, unused, by the device */
        if (nl_control_copy(times, sizeof(times), control))
            arrival->hardware_time = nl_nanoseconds(&times[2]);
    }
}

static inline void nl_arrival_read_internet(struct nl_arrival *arrival, const struct cmsghdr *control)
{
    if (control->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        if (!nl_control_copy(&info, sizeof(info), control))
            return;
        arrival->family = AF_INET;
        arrival->interface = (uint32_t)info.ipi_ifindex;
        memcpy(arrival->destination, &info.ipi_addr, sizeof(info.ipi_addr));
    } else if (control->cmsg_type == IP_TOS) {
        arrival->service = (int16_t)(nl_control_int(control) & 0xff);
    } else if (control->cmsg_type == IP_TTL) {
        arrival->hops = (int16_t)nl_control_int(control);
    }
}

static inline void nl_arrival_read_internet6(struct nl_arrival *arrival, const struct cmsghdr *control)
{
    if (control->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        if (!nl_control_copy(&info, sizeof(info), control))
            return;
        arrival->family = AF_INET6;
        arrival->interface = info.ipi6_ifindex;
        memcpy(arrival->destination, &info.ipi6_addr, sizeof(info.ipi6_addr));
    } else if (control->cmsg_type == IPV6_TCLASS) {
        arrival->service = (int16_t)(nl_control_int(control) & 0xff);
    } else if (control->cmsg_type == IPV6_HOPLIMIT) {
        arrival->hops = (int16_t)nl_control_int(control);
    }
}

/* The control messages of a datagram; those that were not asked for are passed over. */
static inline void nl_arrival_read(struct nl_arrival *arrival, const void *memory, size_t length)
{
    struct msghdr message = {.msg_control = (void *)(uintptr_t)memory, .msg_controllen = length};
    memset(arrival, 0, sizeof(*arrival));
    arrival->service = arrival->hops = -1;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(&message); control; control = CMSG_NXTHDR(&message, control)) {
        if (control->cmsg_len < CMSG_LEN(0) ||
            (size_t)((const unsigned char *)memory + length - (const unsigned char *)control) < control->cmsg_len)
            return;
        if (control->cmsg_level == SOL_SOCKET)
            nl_arrival_read_socket(arrival, control);
        else if (control->cmsg_level == IPPROTO_IP)
            nl_arrival_read_internet(arrival, control);
        else if (control->cmsg_level == IPPROTO_IPV6)
            nl_arrival_read_internet6(arrival, control);
        else if (control->cmsg_level == NL_SOL_UDP && control->cmsg_type == NL_UDP_GRO)
            arrival->segment = (uint16_t)nl_control_int(control);
    }
}

/* The address that a datagram was sent to, with the port that it came to; 0: it is not known. */
static inline socklen_t nl_arrival_name(const struct nl_arrival *arrival, unsigned port, struct sockaddr_storage *name)
{
    struct sockaddr_in *four = (void *)name;
    struct sockaddr_in6 *six = (void *)name;
    if (arrival->family == AF_INET) {
        memset(four, 0, sizeof(*four));
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)port);
        memcpy(&four->sin_addr, arrival->destination, sizeof(four->sin_addr));
        return sizeof(*four);
    }
    if (arrival->family != AF_INET6)
        return 0;
    memset(six, 0, sizeof(*six));
    six->sin6_family = AF_INET6;
    six->sin6_port = htons((uint16_t)port);
    memcpy(&six->sin6_addr, arrival->destination, sizeof(six->sin6_addr));
    if (IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&six->sin6_addr))
        six->sin6_scope_id = arrival->interface;
    return sizeof(*six);
}

/* Append a control message to those in `memory`, of which `length` bytes are used; returns the new length. */
static inline size_t nl_control_add(unsigned char *memory, size_t length, int level, int type, const void *data,
                                    size_t size)
{
    struct cmsghdr *control = (void *)(memory + length);
    memset(control, 0, CMSG_SPACE(size));
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(control), data, size);
    return length + CMSG_SPACE(size);
}

static inline size_t nl_control_add_segment(unsigned char *memory, size_t length, unsigned size)
{
    uint16_t segment = (uint16_t)size;
    return nl_control_add(memory, length, NL_SOL_UDP, NL_UDP_SEGMENT, &segment, sizeof(segment));
}

static inline size_t nl_control_add_source4(unsigned char *memory, size_t length, const void *address,
                                            unsigned interface)
{
    struct in_pktinfo info = {.ipi_ifindex = (int)interface};
    memcpy(&info.ipi_spec_dst, address, sizeof(info.ipi_spec_dst));
    return nl_control_add(memory, length, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
}

static inline size_t nl_control_add_source6(unsigned char *memory, size_t length, const void *address,
                                            unsigned interface)
{
    struct in6_pktinfo info = {.ipi6_ifindex = interface};
    memcpy(&info.ipi6_addr, address, sizeof(info.ipi6_addr));
    return nl_control_add(memory, length, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
}

/* `six`: the datagram leaves by IPv6, and not merely from a socket of that family. */
static inline size_t nl_control_add_service(unsigned char *memory, size_t length, bool six, int service)
{
    return nl_control_add(memory, length, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, &service,
                          sizeof(service));
}

/* The differentiated services code point that a socket gives its packets, in the upper six bits. */
static inline int nl_dscp_of(int fd, bool six)
{
    int service = 0;
    socklen_t size = sizeof(service);
    if (getsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, &service, &size) || service < 0)
        return 0;
    return service & 0xfc;
}

static inline size_t nl_control_add_time(unsigned char *memory, size_t length, uint64_t time)
{
    return nl_control_add(memory, length, SOL_SOCKET, NL_SO_TXTIME, &time, sizeof(time));
}

/* An entry of a socket's error queue. */
struct nl_send_error {
    int error;
    unsigned origin; /* SO_EE_ORIGIN_ */
    uint32_t info;   /* for EMSGSIZE the path's MTU */
    socklen_t destination_length, offender_length;
    struct sockaddr_storage destination, offender;
};

static inline void nl_send_error_read(struct nl_send_error *found, const struct cmsghdr *control)
{
    struct sock_extended_err error;
    if (!nl_control_copy(&error, sizeof(error), control))
        return;
    const struct sockaddr *offender = (const void *)(CMSG_DATA(control) + sizeof(error));
    size_t length = control->cmsg_len - CMSG_LEN(sizeof(error));
    found->error = (int)error.ee_errno;
    found->origin = error.ee_origin;
    found->info = error.ee_info;
    if (length < sizeof(struct sockaddr_in) || offender->sa_family == AF_UNSPEC)
        return;
    found->offender_length = offender->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (found->offender_length <= length)
        memcpy(&found->offender, offender, found->offender_length);
    else
        found->offender_length = 0;
}

/* Take the oldest entry out of a socket's error queue. Says whether there was one. */
static inline bool nl_send_error_take(int fd, struct nl_send_error *found)
{
    _Alignas(struct cmsghdr) unsigned char memory[256];
    struct msghdr message = {.msg_name = &found->destination,
                             .msg_namelen = sizeof(found->destination),
                             .msg_control = memory,
                             .msg_controllen = sizeof(memory)};
    memset(found, 0, sizeof(*found));
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
        return false;
    found->destination_length = message.msg_namelen;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(&message); control; control = CMSG_NXTHDR(&message, control))
        if ((control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_RECVERR) ||
            (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_RECVERR))
            nl_send_error_read(found, control);
    return true;
}

#endif
