/*
 * The limit: a TCP echo server in C with nothing between it and io_uring. Multishot accept, multishot receive into a
 * provided-buffer ring, echoed from the very buffers the kernel chose; all sends of a turn go out with the one
 * io_uring_enter that waits for the next completions.
 *
 * The order in which a byte travels: on_receive queues the buffer at its connection, flush turns the queue into one
 * send, on_send gives the buffers back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fail.h"
#include "listener.h"
#include "uring.h"

#define SUBMISSIONS 2048
#define COMPLETIONS 16384
#define GATHER_MAX 16
#define NONE (-1)

enum operation { ACCEPT, RECEIVE, SEND };

/* Indexed by descriptor. A descriptor is closed only when no operation of it is in flight, so none can be mistaken. */
struct connection {
    int head, tail;   /* received buffers not yet sent, a list through server.next */
    unsigned sent;    /* bytes of the head buffer that are already out */
    unsigned sending; /* buffers the send in flight covers; 0: none in flight */
    bool receiving;   /* a multishot receive is armed */
    bool closing;
    bool dirty;    /* on the list of connections to flush */
    bool starving; /* on the list of those whose receive ended for want of a buffer */
    struct msghdr message;
    struct iovec parts[GATHER_MAX];
};

struct server {
    struct uring ring;
    struct buffer_group buffers;
    int listener;
    unsigned descriptors;
    struct connection *connections;
    unsigned *length; /* of what each buffer holds */
    int *next;
    int *dirty;
    unsigned dirty_count;
    int *starving;
    unsigned starving_count;
};

static struct io_uring_sqe *prepare(struct server *server, enum operation operation, unsigned opcode, int fd)
{
    struct io_uring_sqe *sqe = uring_prepare(&server->ring);
    sqe->opcode = (uint8_t)opcode;
    sqe->fd = fd;
    sqe->user_data = (uint64_t)operation << 32 | (unsigned)fd;
    return sqe;
}

static void arm_accept(struct server *server)
{
    struct io_uring_sqe *sqe = prepare(server, ACCEPT, IORING_OP_ACCEPT, server->listener);
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    sqe->accept_flags = SOCK_CLOEXEC;
}

static void arm_receive(struct server *server, int fd)
{
    struct io_uring_sqe *sqe = prepare(server, RECEIVE, IORING_OP_RECV, fd);
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
    server->connections[fd].receiving = true;
}

static void mark_dirty(struct server *server, int fd)
{
    if (server->connections[fd].dirty)
        return;
    server->connections[fd].dirty = true;
    server->dirty[server->dirty_count++] = fd;
}

/* Give back the first `count` queued buffers. */
static void release(struct server *server, struct connection *connection, unsigned count)
{
    for (; count > 0 && connection->head != NONE; count--) {
        buffer_return(&server->buffers, (unsigned)connection->head);
        connection->head = server->next[connection->head];
        connection->sent = 0;
    }
    if (connection->head == NONE)
        connection->tail = NONE;
}

static void close_when_idle(struct server *server, int fd)
{
    struct connection *connection = &server->connections[fd];
    if (!connection->closing || connection->receiving || connection->sending > 0 || connection->head != NONE ||
        connection->dirty || connection->starving)
        return;
    close(fd);
}

static void give_up(struct server *server, int fd)
{
    struct connection *connection = &server->connections[fd];
    release(server, connection, server->buffers.count);
    connection->closing = true;
    /* Ends an armed receive, whose completion then lets the descriptor be closed. */
    shutdown(fd, SHUT_RDWR);
}

static void on_accept(struct server *server, const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0) {
        connection_no_delay(cqe->res);
        server->connections[cqe->res] = (struct connection){.head = NONE, .tail = NONE};
        arm_receive(server, cqe->res);
    } else if (cqe->res == -EMFILE || cqe->res == -ENFILE) {
        fail(-cqe->res, "cannot accept more connections");
    }
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        arm_accept(server);
}

static void enqueue(struct server *server, int fd, int buffer, unsigned length)
{
    struct connection *connection = &server->connections[fd];
    server->length[buffer] = length;
    server->next[buffer] = NONE;
    if (connection->tail == NONE)
        connection->head = buffer;
    else
        server->next[connection->tail] = buffer;
    connection->tail = buffer;
    mark_dirty(server, fd);
}

static void on_receive(struct server *server, int fd, const struct io_uring_cqe *cqe)
{
    struct connection *connection = &server->connections[fd];
    if (cqe->res > 0)
        enqueue(server, fd, (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT), (unsigned)cqe->res);
    else if ((cqe->flags & IORING_CQE_F_BUFFER) != 0)
        buffer_return(&server->buffers, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    if ((cqe->flags & IORING_CQE_F_MORE) != 0)
        return;
    connection->receiving = false;
    if (cqe->res == -ENOBUFS && !connection->closing) {
        connection->starving = true;
        server->starving[server->starving_count++] = fd;
    } else if (cqe->res > 0 && !connection->closing) {
        arm_receive(server, fd);
    } else {
        connection->closing = true;
        close_when_idle(server, fd);
    }
}

/* MSG_WAITALL makes the kernel go on after a short send, so less than everything means an error is on its way. */
static void on_send(struct server *server, int fd, const struct io_uring_cqe *cqe)
{
    struct connection *connection = &server->connections[fd];
    unsigned covered = connection->sending;
    connection->sending = 0;
    if (cqe->res < 0) {
        give_up(server, fd);
    } else {
        unsigned sent = (unsigned)cqe->res;
        while (covered-- > 0 && sent >= server->length[connection->head] - connection->sent) {
            sent -= server->length[connection->head] - connection->sent;
            release(server, connection, 1);
        }
        connection->sent += sent;
        if (connection->head != NONE)
            mark_dirty(server, fd);
    }
    close_when_idle(server, fd);
}

static unsigned gather(struct server *server, struct connection *connection)
{
    unsigned count = 0;
    unsigned skip = connection->sent;
    for (int buffer = connection->head; buffer != NONE && count < GATHER_MAX; buffer = server->next[buffer]) {
        connection->parts[count].iov_base = buffer_bytes(&server->buffers, (unsigned)buffer) + skip;
        connection->parts[count].iov_len = server->length[buffer] - skip;
        skip = 0;
        count++;
    }
    return count;
}

/* One send per connection at a time, or its bytes could overtake one another; it takes all that is queued. */
static void flush(struct server *server, int fd)
{
    struct connection *connection = &server->connections[fd];
    connection->dirty = false;
    if (connection->sending > 0 || connection->head == NONE) {
        close_when_idle(server, fd);
        return;
    }
    unsigned count = gather(server, connection);
    struct io_uring_sqe *sqe = prepare(server, SEND, count == 1 ? IORING_OP_SEND : IORING_OP_SENDMSG, fd);
    sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
    if (count == 1) {
        sqe->addr = (uint64_t)(uintptr_t)connection->parts[0].iov_base;
        sqe->len = (unsigned)connection->parts[0].iov_len;
    } else {
        connection->message = (struct msghdr){.msg_iov = connection->parts, .msg_iovlen = count};
        sqe->addr = (uint64_t)(uintptr_t)&connection->message;
        sqe->len = 1;
    }
    connection->sending = count;
}

static void feed_starving(struct server *server)
{
    for (unsigned i = 0; i < server->starving_count; i++) {
        int fd = server->starving[i];
        server->connections[fd].starving = false;
        if (server->connections[fd].closing)
            close_when_idle(server, fd);
        else
            arm_receive(server, fd);
    }
    server->starving_count = 0;
}

static void dispatch(struct server *server, const struct io_uring_cqe *cqe)
{
    int fd = (int)(uint32_t)cqe->user_data;
    switch ((enum operation)(cqe->user_data >> 32)) {
    case ACCEPT: on_accept(server, cqe); break;
    case RECEIVE: on_receive(server, fd, cqe); break;
    case SEND: on_send(server, fd, cqe); break;
    }
}

static void serve(struct server *server)
{
    for (;;) {
        uring_submit_and_wait(&server->ring);
        unsigned count = uring_completions(&server->ring);
        for (unsigned i = 0; i < count; i++)
            dispatch(server, uring_completion(&server->ring, i));
        uring_seen(&server->ring, count);
        for (unsigned i = 0; i < server->dirty_count; i++)
            flush(server, server->dirty[i]);
        server->dirty_count = 0;
        if (buffers_publish(&server->buffers))
            feed_starving(server);
    }
}

static unsigned parse(const char *text, const char *what, unsigned lowest, unsigned highest, bool power_of_two)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < lowest || value > highest ||
        (power_of_two && (value & (value - 1)) != 0))
        fail(0, "%s must be %s from %u to %u, not \"%s\"", what, power_of_two ? "a power of two" : "a number", lowest,
             highest, text);
    return (unsigned)value;
}

static void *table(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        fail(ENOMEM, "cannot allocate a table of %zu entries", count);
    return memory;
}

int main(int argc, char **argv)
{
    static struct server server;
    if (argc != 1 && argc != 3)
        fail(0, "usage: echo_uring [BUFFERS BUFFER_SIZE]");
    unsigned count = argc == 3 ? parse(argv[1], "BUFFERS", 1, 32768, true) : 512;
    unsigned size = argc == 3 ? parse(argv[2], "BUFFER_SIZE", 64, 1u << 20, false) : 4096;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    server.descriptors = descriptor_limit();
    server.connections = table(server.descriptors, sizeof *server.connections);
    server.dirty = table(server.descriptors, sizeof *server.dirty);
    server.starving = table(server.descriptors, sizeof *server.starving);
    server.length = table(count, sizeof *server.length);
    server.next = table(count, sizeof *server.next);
    uring_open(&server.ring, SUBMISSIONS, COMPLETIONS);
    buffers_open(&server.buffers, &server.ring, count, size);
    server.listener = listener_open();
    arm_accept(&server);
    listener_announce(server.listener);
    serve(&server);
}
