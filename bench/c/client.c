#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "clock.h"
#include "fail.h"

#define CONNECT_TIMEOUT_SECONDS 5
/* A prime, so that neighbouring connections are far apart in the source. */
#define POSITION_STEP 7919u

void client_close(struct load *load, struct client *client)
{
    if (client->fd < 0)
        return;
    close(client->fd);
    client->fd = -1;
    load->clients_alive--;
}

void client_fail(struct load *load, struct client *client, enum load_error kind, const char *what, int errnum)
{
    unsigned number = (unsigned)(client - load->clients);
    load_errors_add(&load->errors, kind, "connection %u: %s%s%s", number, what, errnum ? ": " : "",
                    errnum ? strerror(errnum) : "");
    client_close(load, client);
}

static int connect_to(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    const struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_SECONDS};
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* The send timeout bounds connect as well (socket(7)). */
    const int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int reason = errno == EINPROGRESS ? ETIMEDOUT : errno;
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

void client_open(struct load *load, struct client *client, unsigned number)
{
    client->fd = connect_to(load->options->port);
    if (client->fd < 0) {
        load_errors_add(&load->errors, ERROR_CONNECT, "connection %u: cannot connect: %s", number, strerror(errno));
        return;
    }
    load->clients_alive++;
    client->unreceived = load->message_size;
    if (load->options->http_path == NULL) {
        client->send_position = (size_t)number * POSITION_STEP % load->source.period;
        client->receive_position = client->send_position;
    } else if ((client->reply = calloc(1, sizeof *client->reply)) == NULL) {
        fail(ENOMEM, "cannot allocate the reply buffer of connection %u", number);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
        fail(errno, "cannot watch connection %u", number);
}

static void watch_output(struct load *load, struct client *client, bool wanted)
{
    if (client->watches_output == wanted)
        return;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = client};
    if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, client->fd, &event) < 0)
        fail(errno, "cannot change what is watched on a connection");
    client->watches_output = wanted;
}

static void flush(struct load *load, struct client *client)
{
    while (client->unsent > 0) {
        size_t run = client->unsent < load->source.period ? client->unsent : load->source.period;
        ssize_t sent = send(client->fd, load->source.bytes + client->send_position, run, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0) {
            client_fail(load, client, errno == EPIPE || errno == ECONNRESET ? ERROR_CLOSED : ERROR_IO, "send", errno);
            return;
        }
        client->unsent -= (size_t)sent;
        client->send_position = source_advance(&load->source, client->send_position, (size_t)sent);
    }
    watch_output(load, client, client->unsent > 0);
}

void client_fill(struct load *load, struct client *client)
{
    if (client->fd < 0 || !load->sending || client->in_flight >= load->options->depth)
        return;
    while (client->in_flight < load->options->depth) {
        client->started[client->next_start] = now_ns();
        client->next_start = (client->next_start + 1) % MAX_DEPTH;
        client->in_flight++;
        client->unsent += load->message_size;
    }
    flush(load, client);
}

static void message_complete(struct load *load, struct client *client)
{
    unsigned oldest = (client->next_start + MAX_DEPTH - client->in_flight) % MAX_DEPTH;
    histogram_add(&load->latency, now_ns() - client->started[oldest]);
    load->messages++;
    client->in_flight--;
}

/* Compare received bytes with the ones that were sent at the same place of the stream. False: the connection failed. */
static bool check_echo(struct load *load, struct client *client, const char *data, size_t length)
{
    while (length > 0) {
        size_t run = length < client->unreceived ? length : client->unreceived;
        if (run > load->source.period)
            run = load->source.period;
        if (client->in_flight == 0) {
            client_fail(load, client, ERROR_MISMATCH, "more bytes came back than were sent", 0);
            return false;
        }
        if (memcmp(data, load->source.bytes + client->receive_position, run) != 0) {
            client_fail(load, client, ERROR_MISMATCH, "a byte that came back is not the one that was sent", 0);
            return false;
        }
        client->receive_position = source_advance(&load->source, client->receive_position, run);
        client->unreceived -= run;
        data += run;
        length -= run;
        if (client->unreceived == 0) {
            message_complete(load, client);
            client->unreceived = load->message_size;
        }
    }
    return true;
}

static bool check_http(struct load *load, struct client *client, const char *data, size_t length)
{
    while (length > 0) {
        if (client->in_flight == 0) {
            client_fail(load, client, ERROR_HTTP, "bytes came that belong to no request", 0);
            return false;
        }
        struct http_progress progress =
            http_reply_take(client->reply, data, length, load->options->expected_body);
        if (progress.wrong != NULL) {
            client_fail(load, client, ERROR_HTTP, progress.wrong, 0);
            return false;
        }
        if (progress.complete)
            message_complete(load, client);
        data += progress.used;
        length -= progress.used;
    }
    return true;
}

/* One receive per event: epoll is level-triggered and comes back while there is more. */
static void receive(struct load *load, struct client *client)
{
    ssize_t received = recv(client->fd, load->receive_buffer, RECEIVE_SIZE, MSG_DONTWAIT);
    if (received < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (received <= 0) {
        client_fail(load, client, received == 0 || errno == ECONNRESET ? ERROR_CLOSED : ERROR_IO,
                    received == 0 ? "the server closed the connection" : "receive", received == 0 ? 0 : errno);
        return;
    }
    load->bytes_received += (uint64_t)received;
    bool correct = load->options->http_path == NULL
                       ? check_echo(load, client, load->receive_buffer, (size_t)received)
                       : check_http(load, client, load->receive_buffer, (size_t)received);
    if (correct)
        client_fill(load, client);
}

void client_ready(struct load *load, struct client *client, uint32_t events)
{
    if (client->fd >= 0 && (events & EPOLLOUT) != 0)
        flush(load, client);
    if (client->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0)
        receive(load, client);
}
