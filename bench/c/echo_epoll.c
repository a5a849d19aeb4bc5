/*
 * The reference: a TCP echo server in C on level-triggered epoll, one receive and one send per readiness event. What a
 * Python loop on epoll could reach if Python cost nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fail.h"
#include "listener.h"

#define EVENTS_PER_TURN 256
#define RECEIVE_SIZE (256u << 10)

/* What one connection could not send yet. While there is any, the connection does not receive. */
struct backlog {
    char *bytes;
    size_t length;
    size_t sent;
};

struct server {
    int epoll;
    int listener;
    unsigned descriptors;
    struct backlog *backlogs; /* by descriptor */
    char *receive_buffer;
};

static void watch(struct server *server, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(server->epoll, operation, fd, &event) < 0)
        fail(errno, "epoll_ctl");
}

static void drop(struct server *server, int fd)
{
    free(server->backlogs[fd].bytes);
    server->backlogs[fd] = (struct backlog){0};
    close(fd);
}

static void accept_one(struct server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE)
            fail(errno, "cannot accept more connections");
        return; /* The peer went away, or a signal came; epoll reports the next one. */
    }
    connection_no_delay(fd);
    watch(server, EPOLL_CTL_ADD, fd, EPOLLIN);
}

static void keep_rest(struct server *server, int fd, const char *bytes, size_t length)
{
    struct backlog *backlog = &server->backlogs[fd];
    backlog->bytes = malloc(length);
    if (backlog->bytes == NULL)
        fail(ENOMEM, "cannot keep %zu unsent bytes", length);
    memcpy(backlog->bytes, bytes, length);
    backlog->length = length;
    watch(server, EPOLL_CTL_MOD, fd, EPOLLOUT);
}

/* How much was sent; -1 when the connection is broken. */
static ssize_t send_some(int fd, const char *bytes, size_t length)
{
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return sent;
}

static void echo(struct server *server, int fd)
{
    ssize_t received = recv(fd, server->receive_buffer, RECEIVE_SIZE, 0);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    ssize_t sent = received > 0 ? send_some(fd, server->receive_buffer, (size_t)received) : -1;
    if (sent < 0)
        drop(server, fd);
    else if (sent < received)
        keep_rest(server, fd, server->receive_buffer + sent, (size_t)(received - sent));
}

static void send_rest(struct server *server, int fd)
{
    struct backlog *backlog = &server->backlogs[fd];
    ssize_t sent = send_some(fd, backlog->bytes + backlog->sent, backlog->length - backlog->sent);
    if (sent < 0) {
        drop(server, fd);
        return;
    }
    backlog->sent += (size_t)sent;
    if (backlog->sent < backlog->length)
        return;
    free(backlog->bytes);
    *backlog = (struct backlog){0};
    watch(server, EPOLL_CTL_MOD, fd, EPOLLIN);
}

static void serve(struct server *server)
{
    struct epoll_event events[EVENTS_PER_TURN];
    for (;;) {
        int count = epoll_wait(server->epoll, events, EVENTS_PER_TURN, -1);
        if (count < 0 && errno != EINTR)
            fail(errno, "epoll_wait");
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == server->listener)
                accept_one(server);
            else if (server->backlogs[fd].bytes != NULL)
                send_rest(server, fd);
            else
                echo(server, fd);
        }
    }
}

int main(void)
{
    struct server server = {0};
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    server.descriptors = descriptor_limit();
    server.backlogs = calloc(server.descriptors, sizeof *server.backlogs);
    server.receive_buffer = malloc(RECEIVE_SIZE);
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.backlogs == NULL || server.receive_buffer == NULL || server.epoll < 0)
        fail(errno, "cannot set up the server");
    server.listener = listener_open();
    watch(&server, EPOLL_CTL_ADD, server.listener, EPOLLIN);
    listener_announce(server.listener);
    serve(&server);
}
