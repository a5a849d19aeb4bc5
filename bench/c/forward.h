/*
 * What the io_uring servers share: what a connection receives is sent on to another, or to itself, from the very buffers
 * that the kernel chose. All sends of a turn go out with the one io_uring_enter that waits for the next completions.
 *
 * The order in which a byte travels: on_receive queues the buffer at the connection where it goes, flush turns the queue
 * into one send, on_send gives the buffers back.
 */
#ifndef BENCH_FORWARD_H
#define BENCH_FORWARD_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "uring.h"

#define GATHER_MAX 16

/* What a completion is of; a program's own operations begin with OWN. */
enum operation { RECEIVE, SEND, OWN };

/* Indexed by descriptor. A descriptor is closed only when no operation of it is in flight, so none can be mistaken. */
struct connection {
    int other;        /* where what it receives goes: itself, or its counterpart, which sends what that receives */
    int head, tail;   /* buffers to be sent on it, a list through forward.next */
    unsigned sent;    /* bytes of the head buffer that are already out */
    unsigned sending; /* buffers the send in flight covers; 0: none in flight */
    bool receiving;   /* a multishot receive is armed */
    bool ended;       /* it will receive no more */
    bool shut;        /* and nothing more will be sent on it, which its peer has been told */
    bool failed;      /* what is still queued is not sent */
    bool busy;        /* the program has an operation of its own in flight on it */
    bool dirty;       /* on the list of connections to flush */
    bool starving;    /* on the list of those whose receive ended for want of a buffer */
    struct msghdr message;
    struct iovec parts[GATHER_MAX];
};

struct forward {
    struct uring ring;
    struct buffer_group buffers;
    int listener;
    struct connection *connections;
    unsigned *length; /* of what each buffer holds */
    int *next;
    int *dirty;
    unsigned dirty_count;
    int *starving;
    unsigned starving_count;
};

/* Read the arguments BUFFERS BUFFER_SIZE if there are two, and prepare everything but the listener. */
void forward_open(struct forward *forward, int count, char **arguments);
/* A number from the command line. */
unsigned forward_parse(const char *text, const char *what, unsigned lowest, unsigned highest, bool power_of_two);
/* Listen, print the port, and serve for ever. Completions of the program's own operations go to `own`. */
_Noreturn void forward_serve(struct forward *forward,
                             void (*own)(struct forward *, unsigned, int, const struct io_uring_cqe *));

/* An empty submission whose completion tells the operation and the descriptor. */
struct io_uring_sqe *forward_prepare(struct forward *forward, unsigned operation, unsigned opcode, int fd);
/* A new connection, which receives nothing yet. */
void forward_add(struct forward *forward, int fd, int other);
void forward_receive(struct forward *forward, int fd);
/* End a connection and its counterpart as soon as nothing is in flight; what is queued is dropped. */
void forward_give_up(struct forward *forward, int fd);
/* Have accepted connections complete as the program's own operation. */
void forward_accept(struct forward *forward, unsigned operation);
/* The new connection of such a completion, or -1; arms the accept again if needed. */
int forward_accepted(struct forward *forward, unsigned operation, const struct io_uring_cqe *cqe);

#endif
