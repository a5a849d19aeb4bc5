#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"
#include "connecting.h"
#include "fail.h"

/* A prime, so that neighbouring connections are far apart in the source. */
#define POSITION_STEP 7919u

void client_fail(struct load *load, struct client *client, enum load_error kind, const char *what, int errnum)
{
    unsigned number = (unsigned)(client - load->clients);
    load_errors_add(&load->errors, kind, "connection %u: %s%s%s", number, what, errnum ? ": " : "",
                    errnum ? strerror(errnum) : "");
    disconnect_client(client);
    if (!client->failed)
        load->clients_alive--;
    client->failed = true;
}

static void connect_and_watch(struct load *load, struct client *client)
{
    const char *why;
    int errnum;
    if (!connect_client(load, client, &why, &errnum)) {
        client_fail(load, client, ERROR_CONNECT, why, errnum);
        return;
    }
    client->watches_output = false;
    client->unreceived = load->reply_size;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
        fail(errno, "cannot watch a connection");
}

void client_prepare(struct load *load, struct client *client, unsigned number)
{
    load->clients_alive++;
    if (load->reply.bytes == NULL && !load->options->broadcast) {
        client->send_position = (size_t)number * POSITION_STEP % load->source.period;
        client->receive_position = client->send_position;
    }
    if (load->options->http && (client->reply = calloc(1, sizeof *client->reply)) == NULL)
        fail(ENOMEM, "cannot allocate the reply buffer of connection %u", number);
}

void client_open(struct load *load, struct client *client, unsigned number)
{
    client_prepare(load, client, number);
    connect_and_watch(load, client);
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
        const char *bytes = load->source.bytes + client->send_position;
        ssize_t sent =
            client->tls != NULL ? tls_send(client->tls, bytes, run) : send(client->fd, bytes, run, MSG_NOSIGNAL);
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

static void begin_message(struct load *load, struct client *client, uint64_t now)
{
    client->started[client->next_start] = now;
    client->next_start = (client->next_start + 1) % MAX_DEPTH;
    client->in_flight++;
    client->unsent += load->broadcasting ? 0 : load->message_size;
}

void client_fill(struct load *load, struct client *client)
{
    if (client->failed || !load->sending || load->broadcasting || client->in_flight >= load->options->depth)
        return;
    while (client->in_flight < load->options->depth)
        begin_message(load, client, now_ns());
    if (client->fd < 0)
        connect_and_watch(load, client);
    if (client->fd >= 0)
        flush(load, client);
}

void client_broadcast(struct load *load)
{
    if (!load->sending || load->awaited > 0 || load->clients[0].failed)
        return;
    uint64_t now = now_ns();
    for (unsigned number = 0; number < load->options->connections; number++)
        if (!load->clients[number].failed)
            begin_message(load, &load->clients[number], now);
    load->awaited = load->clients_alive;
    load->clients[0].unsent = load->message_size;
    flush(load, &load->clients[0]);
}

static void message_complete(struct load *load, struct client *client)
{
    unsigned oldest = (client->next_start + MAX_DEPTH - client->in_flight) % MAX_DEPTH;
    histogram_add(&load->latency, now_ns() - client->started[oldest]);
    load->messages++;
    client->in_flight--;
    client->unreceived = load->reply_size;
    if (load->options->churn)
        disconnect_client(client);
    if (load->broadcasting && --load->awaited == 0)
        client_broadcast(load);
}

/* What is to come next: a part of the reply every message has, or of what this connection has sent. */
static const char *expected_bytes(const struct load *load, const struct client *client)
{
    if (load->reply.bytes != NULL)
        return load->reply.bytes + (load->reply_size - client->unreceived);
    return load->source.bytes + client->receive_position;
}

/* Compare received bytes with those that must come. False: the connection failed, or is over. */
static bool check_bytes(struct load *load, struct client *client, const char *data, size_t length)
{
    while (length > 0) {
        size_t run = length < client->unreceived ? length : client->unreceived;
        if (load->reply.bytes == NULL && run > load->source.period)
            run = load->source.period;
        if (client->in_flight == 0 || client->fd < 0) {
            client_fail(load, client, ERROR_MISMATCH, "more bytes came back than belong to the messages sent", 0);
            return false;
        }
        if (memcmp(data, expected_bytes(load, client), run) != 0) {
            client_fail(load, client, ERROR_MISMATCH, "a byte that came back is not the one that should", 0);
            return false;
        }
        if (load->reply.bytes == NULL)
            client->receive_position = source_advance(&load->source, client->receive_position, run);
        client->unreceived -= run;
        data += run;
        length -= run;
        if (client->unreceived == 0)
            message_complete(load, client);
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
        struct http_progress progress = http_reply_take(client->reply, data, length, &load->reply);
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

/* Receive once and check; false when there is nothing more to receive now. */
static bool receive_some(struct load *load, struct client *client)
{
    ssize_t received = client->tls != NULL ? tls_receive(client->tls, load->receive_buffer, RECEIVE_SIZE)
                                           : recv(client->fd, load->receive_buffer, RECEIVE_SIZE, 0);
    if (received < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    if (received <= 0) {
        client_fail(load, client, received == 0 || errno == ECONNRESET ? ERROR_CLOSED : ERROR_IO,
                    received == 0 ? "the server closed the connection" : "receive", received == 0 ? 0 : errno);
        return false;
    }
    load->bytes_received += (uint64_t)received;
    return load->options->http ? check_http(load, client, load->receive_buffer, (size_t)received)
                               : check_bytes(load, client, load->receive_buffer, (size_t)received);
}

/*
 * One receive per event: epoll is level-triggered and comes back while there is more. Of what libssl has already read
 * epoll knows nothing, so a TLS connection is read to the end.
 */
static void receive(struct load *load, struct client *client)
{
    bool more = receive_some(load, client);
    while (more && client->tls != NULL)
        more = receive_some(load, client);
    client_fill(load, client);
}

void client_ready(struct load *load, struct client *client, uint32_t events)
{
    if (client->fd >= 0 && (events & EPOLLOUT) != 0)
        flush(load, client);
    if (client->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0)
        receive(load, client);
}
