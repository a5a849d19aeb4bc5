/* The load generator: keeps N connections busy with messages, checks every reply, reports one measured window. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "connecting.h"
#include "descriptors.h"
#include "fail.h"
#include "load_options.h"
#include "load_report.h"
#include "load_state.h"

#define EVENTS_PER_TURN 256
#define DRAIN_SECONDS 10
#define GATE_SECONDS 60

static void make_messages(struct load *load)
{
    const struct load_options *options = load->options;
    struct file_bytes request = file_bytes_of(options->request_file);
    load->reply = file_bytes_of(options->reply_file);
    load->upgrade = file_bytes_of(options->upgrade_file);
    if (request.bytes != NULL)
        source_bytes(&load->source, request.bytes, request.length);
    else
        source_random(&load->source, options->size);
    load->message_size = request.bytes != NULL ? request.length : options->size;
    load->reply_size = load->reply.bytes != NULL ? load->reply.length : load->message_size;
}

static void turn(struct load *load, uint64_t deadline)
{
    struct epoll_event events[EVENTS_PER_TURN];
    uint64_t now = now_ns();
    int timeout = deadline > now ? (int)((deadline - now + NS_PER_MS - 1) / NS_PER_MS) : 0;
    int count = epoll_wait(load->epoll, events, EVENTS_PER_TURN, timeout);
    if (count < 0 && errno != EINTR)
        fail(errno, "epoll_wait");
    for (int i = 0; i < count; i++)
        client_ready(load, events[i].data.ptr, events[i].events);
}

/* Send and receive for a time; messages may be under way at its end. */
static void run_for(struct load *load, double seconds)
{
    uint64_t deadline = now_ns() + (uint64_t)(seconds * (double)NS_PER_SECOND);
    load->sending = true;
    for (unsigned number = 0; number < load->options->connections; number++)
        client_fill(load, &load->clients[number]);
    if (load->broadcasting)
        client_broadcast(load);
    while (now_ns() < deadline && load->clients_alive > 0)
        turn(load, deadline);
}

static bool anything_in_flight(const struct load *load)
{
    for (unsigned number = 0; number < load->options->connections; number++)
        if (!load->clients[number].failed && load->clients[number].in_flight > 0)
            return true;
    return false;
}

/* Begin nothing new and wait for the replies still under way; one that never comes is an error. */
static void drain(struct load *load)
{
    uint64_t deadline = now_ns() + DRAIN_SECONDS * NS_PER_SECOND;
    load->sending = false;
    while (anything_in_flight(load) && now_ns() < deadline)
        turn(load, deadline);
    for (unsigned number = 0; number < load->options->connections; number++) {
        struct client *client = &load->clients[number];
        if (!client->failed && client->in_flight > 0)
            client_fail(load, client, ERROR_STALLED, "no complete reply within 10 seconds", 0);
    }
}

/* A first message on every connection, all answered: a server may accept long after the connection was made. */
static void exchange_first(struct load *load)
{
    run_for(load, 0.0);
    drain(load);
}

static void open_all(struct load *load)
{
    for (unsigned number = 0; number < load->options->connections; number++) {
        client_open(load, &load->clients[number], number);
        /* A server that is not there or has stopped accepting will not take the next thousand either. */
        if (load->clients[number].failed)
            break;
        if (!load->options->in_turn)
            continue;
        load->sending = true;
        client_fill(load, &load->clients[number]);
        drain(load);
    }
}

static void wait_for_line(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    for (char byte = 0; byte != '\n';) {
        int ready = poll(&input, 1, GATE_SECONDS * 1000);
        if (ready == 0)
            fail(0, "no line on standard input within %d seconds", GATE_SECONDS);
        if (ready < 0 || read(STDIN_FILENO, &byte, 1) <= 0)
            return;
    }
}

/* Measured from quiet to quiet, so that another program can count what happens in between and nothing else. */
static void measure_gated(struct load *load, struct window *window, struct histogram *latency)
{
    drain(load);
    puts("ready");
    fflush(stdout);
    wait_for_line();
    window_begin(window, load);
    run_for(load, load->options->seconds);
    drain(load);
    window_end(window, load);
    *latency = load->latency;
}

static void measure(struct load *load, struct window *window, struct histogram *latency)
{
    window_begin(window, load);
    run_for(load, load->options->seconds);
    window_end(window, load);
    *latency = load->latency;
    drain(load);
}

/* A window from before the first connection on. What it has begun counts with the time that it took in the end. */
static void measure_cold(struct load *load, struct window *window, struct histogram *latency)
{
    for (unsigned number = 0; number < load->options->connections; number++)
        client_prepare(load, &load->clients[number], number);
    window_begin(window, load);
    run_for(load, load->options->seconds);
    window_end(window, load);
    drain(load);
    *latency = load->latency;
}

static void measure_warm(struct load *load, struct window *window, struct histogram *latency)
{
    const struct load_options *options = load->options;
    open_all(load);
    if (load_errors_total(&load->errors) != 0)
        return;
    if (!options->in_turn)
        exchange_first(load);
    load->broadcasting = options->broadcast;
    if (options->warmup > 0.0)
        run_for(load, options->warmup);
    if (options->gate)
        measure_gated(load, window, latency);
    else
        measure(load, window, latency);
}

static void allocate(struct load *load)
{
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0)
        fail(errno, "cannot create an epoll instance");
    load->receive_buffer = malloc(RECEIVE_SIZE);
    load->clients = calloc(load->options->connections, sizeof *load->clients);
    if (load->receive_buffer == NULL || load->clients == NULL)
        fail(ENOMEM, "cannot allocate %u connections", load->options->connections);
    for (unsigned number = 0; number < load->options->connections; number++)
        load->clients[number].fd = -1;
}

static void release(struct load *load)
{
    for (unsigned number = 0; number < load->options->connections; number++) {
        disconnect_client(&load->clients[number]);
        free(load->clients[number].reply);
    }
    close(load->epoll);
    free(load->clients);
    free(load->receive_buffer);
    source_free(&load->source);
}

int main(int argc, char **argv)
{
    static struct load_options options;
    static struct load load = {.options = &options};
    static struct histogram latency;
    struct window window = {0};
    load_options_parse(&options, argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    raise_descriptor_limit(options.connections);
    make_messages(&load);
    allocate(&load);
    if (options.cold)
        measure_cold(&load, &window, &latency);
    else
        measure_warm(&load, &window, &latency);
    window_report(&window, &load, &latency);
    if (options.gate)
        wait_for_line();
    bool correct = load_errors_total(&load.errors) == 0;
    release(&load);
    return correct ? 0 : 1;
}
