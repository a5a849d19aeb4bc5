/*
 * The limit for datagrams: a server in C that sends, takes or echoes packets, many per system call. What it is asked for,
 * and what it answers, is what the Python programs of these rows do; see packet_load.c.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "fail.h"
#include "file_bytes.h"
#include "listener.h"
#include "packets.h"

struct server {
    int fd;
    struct packet_batch batch;
};

/* What was taken since the last order, and how much of it when it was last answered. */
struct count {
    struct sockaddr_in customer;
    uint64_t every;
    uint64_t packets;
    uint64_t bytes;
    uint64_t answered;
};

static bool is_order(const struct server *server, unsigned message, uint64_t *number)
{
    if (server->batch.messages[message].msg_len != PACKET_ORDER_SIZE)
        return false;
    memcpy(number, server->batch.vectors[message].iov_base, sizeof *number);
    return true;
}

static void serve_orders(struct server *server, struct file_bytes packet)
{
    const struct packet_run run = packets_run(packet.bytes, packet.length, PACKET_BURST_MAX);
    for (;;) {
        unsigned count = packets_receive(server->fd, &server->batch, 0);
        for (unsigned i = 0; i < count; i++) {
            uint64_t wanted;
            if (is_order(server, i, &wanted) && wanted <= PACKET_BURST_MAX)
                packets_send(server->fd, &server->batch.sources[i], &run, (unsigned)wanted);
        }
    }
}

static void answer(const struct server *server, const struct count *count)
{
    int room = 0;
    socklen_t length = sizeof room;
    getsockopt(server->fd, SOL_SOCKET, SO_RCVBUF, &room, &length);
    const uint64_t numbers[3] = {count->packets, count->bytes, (uint64_t)room};
    if (sendto(server->fd, numbers, sizeof numbers, 0, (const struct sockaddr *)&count->customer,
               sizeof count->customer) < 0)
        fail(errno, "cannot answer");
}

static void take_message(struct server *server, struct count *count, unsigned message)
{
    uint64_t number;
    if (is_order(server, message, &number)) {
        *count = (struct count){.customer = server->batch.sources[message], .every = number};
        answer(server, count);
        return;
    }
    const size_t length = server->batch.messages[message].msg_len;
    const size_t segment = packets_segment(&server->batch, message);
    count->packets += segment == 0 ? 1 : (length + segment - 1) / segment;
    count->bytes += length;
    if (count->every > 0 && count->packets / count->every > count->answered / count->every) {
        count->answered = count->packets;
        answer(server, count);
    }
}

static void take_packets(struct server *server)
{
    struct count count = {0};
    for (;;) {
        unsigned messages = packets_receive(server->fd, &server->batch, 0);
        for (unsigned i = 0; i < messages; i++)
            take_message(server, &count, i);
    }
}

static void echo(struct server *server)
{
    for (;;) {
        unsigned count = packets_receive(server->fd, &server->batch, 0);
        for (unsigned i = 0; i < count; i++) {
            server->batch.vectors[i].iov_len = server->batch.messages[i].msg_len;
            server->batch.messages[i].msg_hdr.msg_controllen = 0;
        }
        for (unsigned sent = 0; sent < count;) {
            int now = sendmmsg(server->fd, server->batch.messages + sent, count - sent, 0);
            if (now < 0 && errno != EINTR)
                fail(errno, "sendmmsg");
            sent += now < 0 ? 0 : (unsigned)now;
        }
        for (unsigned i = 0; i < count; i++)
            server->batch.vectors[i].iov_len = PACKET_ROOM;
    }
}

int main(int argc, char **argv)
{
    static struct server server;
    const char *what = argc > 1 ? argv[1] : "";
    const bool takes = strcmp(what, "receive") == 0;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    server.fd = packets_socket(takes);
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(server.fd, (const struct sockaddr *)&address, sizeof address) < 0)
        fail(errno, "cannot bind to 127.0.0.1");
    packets_allocate(&server.batch);
    listener_announce(server.fd);
    if (takes)
        take_packets(&server);
    else if (strcmp(what, "echo") == 0)
        echo(&server);
    else if (strcmp(what, "send") == 0 && argc == 3)
        serve_orders(&server, file_bytes_of(argv[2]));
    fail(0, "usage: packet_server receive | echo | send FILE");
}
