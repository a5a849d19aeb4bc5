/* What the load generator keeps: of each connection, and of all of them together. */
#ifndef BENCH_LOAD_STATE_H
#define BENCH_LOAD_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file_bytes.h"
#include "histogram.h"
#include "http_reply.h"
#include "load_errors.h"
#include "load_options.h"
#include "stream_source.h"
#include "tls.h"

#define RECEIVE_SIZE (256u << 10)

struct client {
    int fd; /* -1 once the connection has failed, and between two connections of a churning client */
    bool failed;
    bool watches_output;
    unsigned in_flight;   /* messages begun whose reply is not complete */
    unsigned next_start;  /* index in `started` of the next message begun */
    size_t unsent;        /* bytes of begun messages not yet given to the kernel */
    size_t unreceived;    /* bytes still to come of the oldest reply (echo) */
    size_t send_position; /* positions in the stream source */
    size_t receive_position;
    struct http_reply *reply;    /* HTTP only */
    struct tls *tls;             /* TLS only */
    uint64_t started[MAX_DEPTH]; /* when each message under way was begun, a ring */
};

/* What all connections share. */
struct load {
    const struct load_options *options;
    struct stream_source source;
    struct file_bytes reply;   /* what every reply must be; no bytes: what was sent */
    struct file_bytes upgrade; /* what opens every connection; no bytes: nothing */
    size_t message_size;       /* bytes sent per message */
    size_t reply_size;         /* bytes of its reply (HTTP: unused) */
    int epoll;
    bool sending;           /* begin a new message when one is complete */
    bool broadcasting;      /* the first client sends, all receive */
    unsigned awaited;       /* when broadcasting: clients that have not had the message yet */
    unsigned clients_alive; /* those that have not failed */
    unsigned opened;        /* connections made so far, for the choice of source addresses */
    struct client *clients;
    uint64_t messages;
    uint64_t bytes_received;
    struct histogram latency;
    const struct histogram *residents; /* a herd: the latencies of those that had been there before; or NULL */
    struct load_errors errors;
    char *receive_buffer;
};

#endif
