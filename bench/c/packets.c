#define _GNU_SOURCE
#include "packets.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define BUFFER_WANTED (8 << 20)
/* Linux before 6.9 takes 64 segments, and all of them must fit into one IP packet. */
#define SEGMENTS_MAX 64u
#define PAYLOAD_MAX 65507u
#define MESSAGES_MAX (PACKET_BURST_MAX)

static void enlarge(int fd, int forced, int allowed)
{
    const int wanted = BUFFER_WANTED;
    /* Beyond the system's limit only a privileged process may go; others get as much as there is. */
    if (setsockopt(fd, SOL_SOCKET, forced, &wanted, sizeof wanted) < 0)
        (void)setsockopt(fd, SOL_SOCKET, allowed, &wanted, sizeof wanted);
}

int packets_socket(bool coalesce)
{
    const int one = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail(errno, "cannot create a socket");
    enlarge(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    enlarge(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    if (coalesce && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) < 0)
        fail(errno, "UDP_GRO");
    return fd;
}

unsigned packets_burst(int fd, size_t size)
{
    int room = 0;
    socklen_t length = sizeof room;
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, &length) < 0)
        fail(errno, "SO_RCVBUF");
    /* A packet is charged for the memory it takes: its data, rounded up, and the kernel's description of it. */
    size_t fitting = (size_t)room / PACKET_BURSTS / (2 * size + 1024);
    if (fitting == 0)
        fail(0, "the receive buffer of %d bytes is too small for packets of %zu bytes", room, size);
    return fitting < PACKET_BURST_MAX ? (unsigned)fitting : PACKET_BURST_MAX;
}

void packets_allocate(struct packet_batch *batch)
{
    batch->buffers = malloc((size_t)PACKET_BATCH * PACKET_ROOM);
    if (batch->buffers == NULL)
        fail(ENOMEM, "cannot allocate the receive buffers");
    for (unsigned i = 0; i < PACKET_BATCH; i++) {
        batch->vectors[i] = (struct iovec){.iov_base = batch->buffers + (size_t)i * PACKET_ROOM, .iov_len = PACKET_ROOM};
        batch->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->sources[i],
            .msg_iov = &batch->vectors[i],
            .msg_iovlen = 1,
            .msg_control = &batch->control[i],
        };
    }
}

struct packet_run packets_run(const char *packet, size_t size, unsigned count)
{
    char *bytes = malloc(size * count);
    if (bytes == NULL)
        fail(ENOMEM, "cannot allocate %u packets", count);
    for (unsigned i = 0; i < count; i++)
        memcpy(bytes + i * size, packet, size);
    return (struct packet_run){.bytes = bytes, .size = size};
}

unsigned packets_receive(int fd, struct packet_batch *batch, int flags)
{
    for (unsigned i = 0; i < PACKET_BATCH; i++) {
        batch->messages[i].msg_hdr.msg_namelen = sizeof batch->sources[i];
        batch->messages[i].msg_hdr.msg_controllen = sizeof batch->control[i];
    }
    int count = recvmmsg(fd, batch->messages, PACKET_BATCH, flags | MSG_WAITFORONE, NULL);
    if (count < 0 && errno != EAGAIN && errno != EINTR)
        fail(errno, "recvmmsg");
    return count < 0 ? 0 : (unsigned)count;
}

size_t packets_segment(const struct packet_batch *batch, unsigned message)
{
    struct msghdr *header = (struct msghdr *)&batch->messages[message].msg_hdr;
    for (struct cmsghdr *one = CMSG_FIRSTHDR(header); one != NULL; one = CMSG_NXTHDR(header, one)) {
        int size;
        if (one->cmsg_level != IPPROTO_UDP || one->cmsg_type != UDP_GRO)
            continue;
        memcpy(&size, CMSG_DATA(one), sizeof size);
        return (size_t)size;
    }
    return batch->messages[message].msg_len;
}

static void describe_segments(struct msghdr *header, void *control, size_t room, size_t size)
{
    const uint16_t segment = (uint16_t)size;
    header->msg_control = control;
    header->msg_controllen = room;
    struct cmsghdr *one = CMSG_FIRSTHDR(header);
    one->cmsg_level = IPPROTO_UDP;
    one->cmsg_type = UDP_SEGMENT;
    one->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(one), &segment, sizeof segment);
}

static void send_all(int fd, struct mmsghdr *messages, unsigned count)
{
    while (count > 0) {
        int sent = sendmmsg(fd, messages, count, 0);
        if (sent < 0 && errno != EINTR)
            fail(errno, "sendmmsg");
        messages += sent < 0 ? 0 : sent;
        count -= sent < 0 ? 0 : (unsigned)sent;
    }
}

void packets_send(int fd, const struct sockaddr_in *to, const struct packet_run *run, unsigned count)
{
    static struct mmsghdr messages[MESSAGES_MAX];
    static struct iovec vectors[MESSAGES_MAX];
    /* All messages say the same of their segments. */
    static union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr aligned;
    } control;
    const size_t fitting = PAYLOAD_MAX / run->size;
    const unsigned segments = fitting < SEGMENTS_MAX ? (unsigned)fitting : SEGMENTS_MAX;
    unsigned used = 0;
    for (unsigned done = 0; done < count; used++) {
        const unsigned now = count - done < segments ? count - done : segments;
        vectors[used] = (struct iovec){.iov_base = (char *)run->bytes + done * run->size, .iov_len = now * run->size};
        messages[used].msg_hdr = (struct msghdr){
            .msg_name = (void *)to,
            .msg_namelen = to == NULL ? 0 : sizeof *to,
            .msg_iov = &vectors[used],
            .msg_iovlen = 1,
        };
        if (now > 1)
            describe_segments(&messages[used].msg_hdr, &control, sizeof control, run->size);
        done += now;
    }
    send_all(fd, messages, used);
}
