/*
 * A herd: clients that connect all at once, as after a server's restart. Each sends one message, gets it back and sees
 * the connection closed. The window ends when the last one is served. Residents, connections that were there before,
 * exchange messages one after the other meanwhile. The first byte of a message tells the server whether its client
 * stays.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "descriptors.h"
#include "fail.h"
#include "load_options.h"
#include "load_report.h"
#include "load_state.h"
#include "stream_source.h"

#define EVENTS_PER_TURN 256
#define BETWEEN_TURNS 16u
#define LIMIT_SECONDS 40u
#define STAY 's'
#define LEAVE 'l'

enum progress { CONNECTING, ASKING, ENDING, OVER };

struct member {
    int fd;
    enum progress progress;
    bool resident;
    size_t received;
    uint64_t began;
};

struct herd {
    struct load *load;
    struct member *members; /* the residents, one more of them, and then the herd */
    unsigned residents;
    unsigned unserved; /* members of the herd that wait for their reply */
    unsigned open;     /* connections that are not over */
    bool resting;      /* residents send nothing more */
    struct histogram stays;
    char *message;
    char *buffer;
};

static void end(struct herd *herd, struct member *member)
{
    close(member->fd);
    member->fd = -1;
    member->progress = OVER;
    herd->open--;
}

static void lose(struct herd *herd, struct member *member, enum load_error kind, const char *what, int errnum)
{
    unsigned number = (unsigned)(member - herd->members);
    load_errors_add(&herd->load->errors, kind, "connection %u: %s%s%s", number, what, errnum ? ": " : "",
                    errnum ? strerror(errnum) : "");
    if (!member->resident && member->progress < ENDING)
        herd->unserved--;
    end(herd, member);
}

static void watch(struct herd *herd, struct member *member, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = member};
    if (epoll_ctl(herd->load->epoll, operation, member->fd, &event) < 0)
        fail(errno, "cannot watch a connection");
}

static void start(struct herd *herd, struct member *member)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)herd->load->options->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    member->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (member->fd < 0)
        fail(errno, "cannot make a socket");
    member->progress = CONNECTING;
    member->began = now_ns();
    herd->open++;
    if (connect(member->fd, (const struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        lose(herd, member, ERROR_CONNECT, "cannot connect", errno);
    else
        watch(herd, member, EPOLL_CTL_ADD, EPOLLOUT);
}

/* A new connection's send buffer holds a message, and so does that of one whose last message was answered. */
static void ask(struct herd *herd, struct member *member)
{
    size_t size = herd->load->message_size;
    herd->message[0] = member->resident ? STAY : LEAVE;
    ssize_t sent = send(member->fd, herd->message, size, MSG_NOSIGNAL);
    member->received = 0;
    if (sent == (ssize_t)size)
        member->progress = ASKING;
    else
        lose(herd, member, ERROR_IO, "send", sent < 0 ? errno : 0);
}

static void connected(struct herd *herd, struct member *member)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(member->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error != 0) {
        lose(herd, member, ERROR_CONNECT, "cannot connect", error);
        return;
    }
    watch(herd, member, EPOLL_CTL_MOD, EPOLLIN);
    ask(herd, member);
}

static void answered(struct herd *herd, struct member *member)
{
    uint64_t now = now_ns();
    herd->load->messages++;
    histogram_add(member->resident ? &herd->stays : &herd->load->latency, now - member->began);
    if (!member->resident) {
        herd->unserved--;
        member->progress = ENDING;
    } else if (herd->resting) {
        end(herd, member);
    } else {
        member->began = now;
        ask(herd, member);
    }
}

static void receive(struct herd *herd, struct member *member)
{
    size_t wanted = herd->load->message_size - member->received;
    ssize_t received = recv(member->fd, herd->buffer, RECEIVE_SIZE, 0);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (received == 0 && member->progress == ENDING) {
        end(herd, member);
        return;
    }
    if (received <= 0) {
        lose(herd, member, ERROR_CLOSED, received == 0 ? "the server closed the connection" : "receive",
             received == 0 ? 0 : errno);
        return;
    }
    herd->load->bytes_received += (uint64_t)received;
    herd->message[0] = member->resident ? STAY : LEAVE;
    if ((size_t)received > wanted || memcmp(herd->buffer, herd->message + member->received, (size_t)received) != 0) {
        lose(herd, member, ERROR_MISMATCH, "what came back is not what was sent", 0);
        return;
    }
    member->received += (size_t)received;
    if (member->received == herd->load->message_size)
        answered(herd, member);
}

static void turn(struct herd *herd, int milliseconds)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(herd->load->epoll, events, EVENTS_PER_TURN, milliseconds);
    if (count < 0 && errno != EINTR)
        fail(errno, "epoll_wait");
    for (int i = 0; i < count; i++) {
        struct member *member = events[i].data.ptr;
        if (member->progress == CONNECTING)
            connected(herd, member);
        else
            receive(herd, member);
    }
}

/* Take turns until `left` is nothing; whoever is late then has stalled. */
static void finish(struct herd *herd, const unsigned *left)
{
    uint64_t deadline = now_ns() + LIMIT_SECONDS * NS_PER_SECOND;
    while (*left > 0 && now_ns() < deadline)
        turn(herd, 100);
    if (*left > 0)
        load_errors_add(&herd->load->errors, ERROR_STALLED, "%u connections were not served within %u seconds", *left,
                        LIMIT_SECONDS);
}

static void run_for(struct herd *herd, double seconds)
{
    uint64_t deadline = now_ns() + (uint64_t)(seconds * (double)NS_PER_SECOND);
    while (now_ns() < deadline && load_errors_total(&herd->load->errors) == 0)
        turn(herd, 1);
}

/* One that stays, is answered and closes, before all others: what a first connection costs is not measured. */
static void prime(struct herd *herd)
{
    struct member *first = &herd->members[herd->residents];
    first->resident = true;
    herd->resting = true;
    start(herd, first);
    finish(herd, &herd->open);
    herd->resting = false;
}

static void measure(struct herd *herd, struct window *window)
{
    struct load *load = herd->load;
    struct member *first = &herd->members[herd->residents + 1];
    for (unsigned i = 0; i < herd->residents; i++) {
        herd->members[i].resident = true;
        start(herd, &herd->members[i]);
    }
    run_for(herd, herd->residents > 0 ? load->options->warmup : 0.0);
    histogram_clear(&herd->stays);
    window_begin(window, load);
    herd->unserved = load->options->connections;
    for (unsigned i = 0; i < load->options->connections; i++) {
        start(herd, &first[i]);
        if (i % BETWEEN_TURNS == 0)
            turn(herd, 0);
    }
    finish(herd, &herd->unserved);
    window_end(window, load);
    herd->resting = true;
    finish(herd, &herd->open);
}

static void allocate(struct herd *herd, const struct load_options *options)
{
    struct load *load = herd->load;
    size_t members = (size_t)options->connections + options->residents + 1;
    load->message_size = load->reply_size = options->size;
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0)
        fail(errno, "cannot create an epoll instance");
    source_random(&load->source, options->size);
    herd->message = load->source.bytes;
    herd->buffer = malloc(RECEIVE_SIZE);
    herd->members = calloc(members, sizeof *herd->members);
    if (herd->buffer == NULL || herd->members == NULL)
        fail(ENOMEM, "cannot allocate %zu connections", members);
    herd->residents = options->residents;
    load->residents = options->residents > 0 ? &herd->stays : NULL;
}

int main(int argc, char **argv)
{
    static struct load_options options;
    static struct load load = {.options = &options};
    static struct herd herd = {.load = &load};
    struct window window = {0};
    load_options_parse(&options, argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    raise_descriptor_limit(options.connections + options.residents + 1);
    allocate(&herd, &options);
    prime(&herd);
    if (load_errors_total(&load.errors) == 0)
        measure(&herd, &window);
    window_report(&window, &load, &load.latency);
    free(herd.members);
    free(herd.buffer);
    source_free(&load.source);
    return load_errors_total(&load.errors) == 0 ? 0 : 1;
}
