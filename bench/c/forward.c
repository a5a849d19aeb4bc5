#define _GNU_SOURCE
#include "forward.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fail.h"
#include "listener.h"

#define SUBMISSIONS 2048
#define COMPLETIONS 16384
#define NONE (-1)

struct io_uring_sqe *forward_prepare(struct forward *forward, unsigned operation, unsigned opcode, int fd)
{
    struct io_uring_sqe *sqe = uring_prepare(&forward->ring);
    sqe->opcode = (uint8_t)opcode;
    sqe->fd = fd;
    sqe->user_data = (uint64_t)operation << 32 | (unsigned)fd;
    return sqe;
}

void forward_accept(struct forward *forward, unsigned operation)
{
    struct io_uring_sqe *sqe = forward_prepare(forward, operation, IORING_OP_ACCEPT, forward->listener);
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    sqe->accept_flags = SOCK_CLOEXEC;
}

int forward_accepted(struct forward *forward, unsigned operation, const struct io_uring_cqe *cqe)
{
    if (cqe->res == -EMFILE || cqe->res == -ENFILE)
        fail(-cqe->res, "cannot accept more connections");
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        forward_accept(forward, operation);
    if (cqe->res < 0)
        return -1;
    connection_no_delay(cqe->res);
    return cqe->res;
}

void forward_add(struct forward *forward, int fd, int other)
{
    forward->connections[fd] = (struct connection){.other = other, .head = NONE, .tail = NONE};
}

void forward_receive(struct forward *forward, int fd)
{
    struct io_uring_sqe *sqe = forward_prepare(forward, RECEIVE, IORING_OP_RECV, fd);
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
    forward->connections[fd].receiving = true;
}

static void mark_dirty(struct forward *forward, int fd)
{
    if (forward->connections[fd].dirty)
        return;
    forward->connections[fd].dirty = true;
    forward->dirty[forward->dirty_count++] = fd;
}

/* Give back the first `count` queued buffers. */
static void release(struct forward *forward, struct connection *connection, unsigned count)
{
    for (; count > 0 && connection->head != NONE; count--) {
        buffer_return(&forward->buffers, (unsigned)connection->head);
        connection->head = forward->next[connection->head];
        connection->sent = 0;
    }
    if (connection->head == NONE)
        connection->tail = NONE;
}

static bool is_idle(const struct connection *connection)
{
    return connection->ended && connection->head == NONE && connection->sending == 0 && !connection->receiving &&
           !connection->dirty && !connection->starving && !connection->busy;
}

/* Everything queued is sent: pass the end of the other one on, and close both when they are done. */
static void on_drained(struct forward *forward, int fd)
{
    struct connection *connection = &forward->connections[fd];
    int other = connection->other;
    if (connection->head != NONE || connection->sending > 0 || !forward->connections[other].ended)
        return;
    if (is_idle(connection) && is_idle(&forward->connections[other])) {
        close(fd);
        if (other != fd)
            close(other);
    } else if (!connection->shut) {
        connection->shut = true;
        shutdown(fd, SHUT_WR);
    }
}

static void fail_one(struct forward *forward, int fd)
{
    struct connection *connection = &forward->connections[fd];
    connection->failed = connection->ended = connection->shut = true;
    if (connection->sending == 0)
        release(forward, connection, forward->buffers.count);
    /* Ends an armed receive and a send in flight, whose completions then let the descriptor be closed. */
    shutdown(fd, SHUT_RDWR);
}

void forward_give_up(struct forward *forward, int fd)
{
    fail_one(forward, fd);
    fail_one(forward, forward->connections[fd].other);
    mark_dirty(forward, fd);
}

static void enqueue(struct forward *forward, int fd, int buffer, unsigned length)
{
    struct connection *connection = &forward->connections[fd];
    forward->length[buffer] = length;
    forward->next[buffer] = NONE;
    if (connection->tail == NONE)
        connection->head = buffer;
    else
        forward->next[connection->tail] = buffer;
    connection->tail = buffer;
    mark_dirty(forward, fd);
}

static void on_receive(struct forward *forward, int fd, const struct io_uring_cqe *cqe)
{
    struct connection *connection = &forward->connections[fd];
    if (cqe->res > 0 && !connection->failed)
        enqueue(forward, connection->other, (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT), (unsigned)cqe->res);
    else if ((cqe->flags & IORING_CQE_F_BUFFER) != 0)
        buffer_return(&forward->buffers, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    if ((cqe->flags & IORING_CQE_F_MORE) != 0)
        return;
    connection->receiving = false;
    if (cqe->res == -ENOBUFS && !connection->failed) {
        connection->starving = true;
        forward->starving[forward->starving_count++] = fd;
    } else if (cqe->res > 0 && !connection->failed) {
        forward_receive(forward, fd);
    } else if (cqe->res < 0 && !connection->failed) {
        forward_give_up(forward, fd);
    } else {
        connection->ended = true;
        mark_dirty(forward, connection->other);
    }
}

/* MSG_WAITALL makes the kernel go on after a short send, so less than everything means an error is on its way. */
static void on_send(struct forward *forward, int fd, const struct io_uring_cqe *cqe)
{
    struct connection *connection = &forward->connections[fd];
    unsigned covered = connection->sending;
    unsigned sent = cqe->res > 0 ? (unsigned)cqe->res : 0;
    connection->sending = 0;
    if (cqe->res < 0 || connection->failed) {
        forward_give_up(forward, fd);
        return;
    }
    while (covered-- > 0 && sent >= forward->length[connection->head] - connection->sent) {
        sent -= forward->length[connection->head] - connection->sent;
        release(forward, connection, 1);
    }
    connection->sent += sent;
    if (connection->head != NONE)
        mark_dirty(forward, fd);
    else
        on_drained(forward, fd);
}

static unsigned gather(struct forward *forward, struct connection *connection)
{
    unsigned count = 0;
    unsigned skip = connection->sent;
    for (int buffer = connection->head; buffer != NONE && count < GATHER_MAX; buffer = forward->next[buffer]) {
        connection->parts[count].iov_base = buffer_bytes(&forward->buffers, (unsigned)buffer) + skip;
        connection->parts[count].iov_len = forward->length[buffer] - skip;
        skip = 0;
        count++;
    }
    return count;
}

/* One send per connection at a time, or its bytes could overtake one another; it takes all that is queued. */
static void flush(struct forward *forward, int fd)
{
    struct connection *connection = &forward->connections[fd];
    connection->dirty = false;
    if (connection->sending > 0)
        return;
    if (connection->head == NONE) {
        on_drained(forward, fd);
        return;
    }
    unsigned count = gather(forward, connection);
    struct io_uring_sqe *sqe = forward_prepare(forward, SEND, count == 1 ? IORING_OP_SEND : IORING_OP_SENDMSG, fd);
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

static void feed_starving(struct forward *forward)
{
    for (unsigned i = 0; i < forward->starving_count; i++) {
        int fd = forward->starving[i];
        forward->connections[fd].starving = false;
        if (forward->connections[fd].failed)
            mark_dirty(forward, fd);
        else
            forward_receive(forward, fd);
    }
    forward->starving_count = 0;
}

void forward_serve(struct forward *forward, void (*own)(struct forward *, unsigned, int, const struct io_uring_cqe *))
{
    listener_announce(forward->listener);
    for (;;) {
        uring_submit_and_wait(&forward->ring);
        unsigned count = uring_completions(&forward->ring);
        for (unsigned i = 0; i < count; i++) {
            const struct io_uring_cqe *cqe = uring_completion(&forward->ring, i);
            unsigned operation = (unsigned)(cqe->user_data >> 32);
            int fd = (int)(uint32_t)cqe->user_data;
            if (operation == RECEIVE)
                on_receive(forward, fd, cqe);
            else if (operation == SEND)
                on_send(forward, fd, cqe);
            else
                own(forward, operation, fd, cqe);
        }
        uring_seen(&forward->ring, count);
        if (buffers_publish(&forward->buffers))
            feed_starving(forward);
        for (unsigned i = 0; i < forward->dirty_count; i++)
            flush(forward, forward->dirty[i]);
        forward->dirty_count = 0;
    }
}

unsigned forward_parse(const char *text, const char *what, unsigned lowest, unsigned highest, bool power_of_two)
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

void forward_open(struct forward *forward, int arguments_count, char **arguments)
{
    unsigned count = arguments_count == 2 ? forward_parse(arguments[0], "BUFFERS", 1, 32768, true) : 512;
    unsigned size = arguments_count == 2 ? forward_parse(arguments[1], "BUFFER_SIZE", 64, 1u << 20, false) : 4096;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    unsigned descriptors = descriptor_limit();
    forward->connections = table(descriptors, sizeof *forward->connections);
    forward->dirty = table(descriptors, sizeof *forward->dirty);
    forward->starving = table(descriptors, sizeof *forward->starving);
    forward->length = table(count, sizeof *forward->length);
    forward->next = table(count, sizeof *forward->next);
    uring_open(&forward->ring, SUBMISSIONS, COMPLETIONS);
    buffers_open(&forward->buffers, &forward->ring, count, size);
    forward->listener = listener_open();
}
