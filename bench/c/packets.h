/* Many datagrams per system call: sendmmsg and recvmmsg, with segmentation (UDP_SEGMENT) and coalescing (UDP_GRO). */
#ifndef BENCH_PACKETS_H
#define BENCH_PACKETS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Messages of one receive call, and room for each: what the kernel coalesces is at most one IP packet. */
#define PACKET_BATCH 32u
#define PACKET_ROOM (64u << 10)
/* Packets on their way to one socket in one direction: as many as are sure to fit into its receive buffer, and no more. */
#define PACKET_BURSTS 2u
#define PACKET_BURST_MAX 512u
/* A datagram of this length is an order, a number of packets in the machine's byte order; no other has it. */
#define PACKET_ORDER_SIZE sizeof(uint64_t)

struct packet_batch {
    struct mmsghdr messages[PACKET_BATCH];
    struct iovec vectors[PACKET_BATCH];
    struct sockaddr_in sources[PACKET_BATCH];
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control[PACKET_BATCH];
    char *buffers;
};

/* A run of equal datagrams: `bytes` is as many of them, one behind the other, as ever leave at once. */
struct packet_run {
    const char *bytes;
    size_t size;
};

/* A UDP socket whose buffers are as large as this process may make them. */
int packets_socket(bool coalesce);
/* How many packets of a size fit into this socket's receive buffer, in each of PACKET_BURSTS bursts. */
unsigned packets_burst(int fd, size_t size);
void packets_allocate(struct packet_batch *batch);
/* A run of `count` times these bytes. */
struct packet_run packets_run(const char *packet, size_t size, unsigned count);

/*
 * Receive what is there, after waiting for the first unless `flags` say otherwise; how many messages, 0 when there are
 * none. Each may be several packets, of packets_segment() bytes, the last one perhaps shorter.
 */
unsigned packets_receive(int fd, struct packet_batch *batch, int flags);
size_t packets_segment(const struct packet_batch *batch, unsigned message);

/* Send the first `count` packets of a run, in as few calls as possible; to the connected peer where `to` is NULL. */
void packets_send(int fd, const struct sockaddr_in *to, const struct packet_run *run, unsigned count);

#endif
