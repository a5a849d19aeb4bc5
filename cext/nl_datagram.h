/*
 * How a multishot RECVMSG lays a datagram out in its buffer: the kernel's header, the sender's address in room of a
 * fixed size, control messages in as much room as the receive was armed with, mostly none, then the payload.
 */
#ifndef NL_DATAGRAM_H
#define NL_DATAGRAM_H

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "nl_kernel.h"

/* The largest datagram that is received whole: as much as asyncio asks for. UDP's are at most 65,527 bytes. */
#define NL_DATAGRAM_LIMIT (256U * 1024)
#define NL_DATAGRAM_NAME_ROOM sizeof(struct sockaddr_storage)
#define NL_DATAGRAM_HEAD (sizeof(struct io_uring_recvmsg_out) + NL_DATAGRAM_NAME_ROOM)
/* The most room for control messages that a receive may be armed with, a multiple of 16. */
#define NL_DATAGRAM_CONTROL_ROOM 256U

static_assert(sizeof(struct io_uring_recvmsg_out) == 16, "the header of a received datagram is 16 bytes");
static_assert(NL_DATAGRAM_HEAD % 16 == 0, "the address and the payload behind it are aligned");

struct nl_datagram {
    const struct sockaddr_storage *name;
    socklen_t name_length; /* 0: the sender has no address */
    const unsigned char *control;
    size_t control_length;
    const unsigned char *payload;
    size_t length;
    bool truncated; /* the datagram was larger than the buffer */
};

/*
 * Describe what a completion with this result has left in its buffer. `room` is what it has for control messages, and
 * `limit` how much of a payload is wanted.
 */
static inline struct nl_datagram nl_datagram_read(const unsigned char *buffer, int32_t result, size_t room,
                                                  size_t limit)
{
    const struct io_uring_recvmsg_out *head = (const void *)buffer;
    size_t filled = result < 0 ? 0 : (size_t)result, before = NL_DATAGRAM_HEAD + room;
    size_t length = filled > before ? filled - before : 0;
    bool cut = length > limit; /* it is in what the buffer has for control messages too */
    return (struct nl_datagram){
        .name = (const void *)(buffer + sizeof(*head)),
        .name_length = head->namelen < NL_DATAGRAM_NAME_ROOM ? head->namelen : (socklen_t)NL_DATAGRAM_NAME_ROOM,
        .control = buffer + NL_DATAGRAM_HEAD,
        .control_length = head->controllen < room ? head->controllen : room,
        .payload = buffer + before,
        .length = cut ? limit : length,
        .truncated = cut || (head->flags & MSG_TRUNC) != 0,
    };
}

/* A copy of what comes before a payload, aligned as a buffer of the application's may not be. */
struct nl_datagram_front {
    _Alignas(16) unsigned char bytes[NL_DATAGRAM_HEAD + NL_DATAGRAM_CONTROL_ROOM];
};

/*
 * The same for a buffer of that size which the application can write to at any time: all that is judged by is copied
 * first. Only the payload is described where it lies.
 */
static inline struct nl_datagram nl_datagram_read_copied(struct nl_datagram_front *front, const unsigned char *buffer,
                                                         size_t size, int32_t result, size_t room)
{
    size_t before = NL_DATAGRAM_HEAD + room;
    memcpy(front->bytes, buffer, before);
    struct nl_datagram datagram = nl_datagram_read(front->bytes, result, room, size - before);
    datagram.payload = buffer + before;
    return datagram;
}

/* A hash of a socket address, 1 to 32 bits wide; every byte counts, so ports in a row spread as others do. */
static inline unsigned nl_name_hash(const struct sockaddr_storage *name, size_t length, unsigned bits)
{
    const unsigned char *at = (const void *)name;
    uint64_t hash = length;
    while (length > 0) {
        uint64_t word = 0;
        size_t taken = length < sizeof(word) ? length : sizeof(word);
        memcpy(&word, at, taken);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15U;
        hash ^= hash >> 32;
        at += taken;
        length -= taken;
    }
    return (unsigned)((hash * 0x9E3779B97F4A7C15U) >> (64 - bits));
}

/*
 * How many bytes of the socket's send buffer are free, and at most how many a UDP datagram takes: each fragment's data,
 * rounded up by the allocator to less than twice its size, and the kernel's description of it. The kernel lets a send
 * through while the buffer is not full, so datagrams that fit by this reckoning are all taken without waiting.
 */
static inline long nl_datagram_room(int fd)
{
    uint32_t memory[9]; /* SK_MEMINFO_: 2 is what is being sent, 3 the limit */
    socklen_t size = sizeof(memory);
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) || size < 4 * sizeof(*memory))
        return 0;
    return (long)memory[3] - (long)memory[2];
}

/* How many datagrams the socket has dropped, for want of room in its receive buffer mostly. */
static inline uint32_t nl_datagram_drops(int fd)
{
    uint32_t memory[9]; /* SK_MEMINFO_: 8 is what was dropped */
    socklen_t size = sizeof(memory);
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) || size < sizeof(memory) ? 0 : memory[8];
}

static inline long nl_datagram_charge(size_t length)
{
    /* No fragment carries less than IPv6's smallest MTU, 1280, without its headers. */
    return (long)(2 * length + (length / 1232 + 1) * 2048);
}

#endif
