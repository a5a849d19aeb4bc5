/*
 * One function per operation: each writes a submission entry, and nothing else.
 *
 * A `struct nl_file` says whether the number is a descriptor or a slot of the ring's fixed-file table.
 */
#ifndef NL_PREP_H
#define NL_PREP_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "nl_kernel.h"

struct nl_file {
    int number;
    unsigned flag; /* IOSQE_FIXED_FILE, or 0 for a plain descriptor */
};

static inline struct nl_file nl_descriptor(int fd)
{
    return (struct nl_file){.number = fd, .flag = 0};
}

static inline struct nl_file nl_fixed_file(int slot)
{
    return (struct nl_file){.number = slot, .flag = IOSQE_FIXED_FILE};
}

static inline void nl_prep(struct io_uring_sqe *sqe, unsigned opcode, struct nl_file file, const void *address,
                           unsigned length, uint64_t offset, uint64_t token)
{
    sqe->opcode = (uint8_t)opcode;
    sqe->flags = (uint8_t)file.flag;
    sqe->fd = file.number;
    sqe->addr = (uint64_t)(uintptr_t)address;
    sqe->len = length;
    sqe->off = offset;
    sqe->user_data = token;
}

/*
 * `slot`: where in the fixed-file table the connection goes, or -1 for a plain descriptor. `how`: 0, to wait for a
 * connection, or NL_ACCEPT_DONTWAIT, which fails with EAGAIN if there is none.
 *
 * An accept makes the new socket and its file before it looks whether a connection is there.
 */
static inline void nl_prep_accept(struct io_uring_sqe *sqe, struct nl_file file, struct sockaddr *address,
                                  socklen_t *length, int slot, unsigned how, uint64_t token)
{
    nl_prep(sqe, IORING_OP_ACCEPT, file, address, 0, (uint64_t)(uintptr_t)length, token);
    sqe->ioprio = (uint16_t)how;
    /* Direct descriptors live outside the process's table, where close-on-exec has no meaning and is refused. */
    sqe->accept_flags = slot < 0 ? SOCK_CLOEXEC | SOCK_NONBLOCK : SOCK_NONBLOCK;
    sqe->file_index = (uint32_t)(slot + 1);
}

/* Multishot: one completion per chunk of data, each in a buffer of the group, until one comes without F_MORE. */
static inline void nl_prep_recv_multishot(struct io_uring_sqe *sqe, struct nl_file file, unsigned group, uint64_t token)
{
    nl_prep(sqe, IORING_OP_RECV, file, NULL, 0, 0, token);
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = (uint16_t)group;
}

static inline void nl_prep_recv(struct io_uring_sqe *sqe, struct nl_file file, void *buffer, unsigned length,
                                unsigned flags, uint64_t token)
{
    nl_prep(sqe, IORING_OP_RECV, file, buffer, length, 0, token);
    sqe->msg_flags = flags;
}

/* Single-shot: the kernel takes a buffer of the group once there is data, and fills at most `length` bytes of it. */
static inline void nl_prep_recv_group(struct io_uring_sqe *sqe, struct nl_file file, unsigned length, unsigned group,
                                      uint64_t token)
{
    nl_prep(sqe, IORING_OP_RECV, file, NULL, length, 0, token);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = (uint16_t)group;
}

static inline void nl_prep_send(struct io_uring_sqe *sqe, struct nl_file file, const void *data, unsigned length,
                                uint64_t token)
{
    nl_prep(sqe, IORING_OP_SEND, file, data, length, 0, token);
    sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
}

/*
 * A send that says nothing unless it fails, or could not take everything at once: no completion means that all was sent,
 * as soon as the kernel has taken the submission. MSG_DONTWAIT has it end there, and MSG_WAITALL makes a failure of what
 * was sent in part, whose completion tells how much that was.
 */
static inline void nl_prep_send_silent(struct io_uring_sqe *sqe, struct nl_file file, const void *data,
                                       unsigned length, uint64_t token)
{
    nl_prep(sqe, IORING_OP_SEND, file, data, length, 0, token);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT;
}

/* The same with a message of several pieces. */
static inline void nl_prep_sendmsg_silent(struct io_uring_sqe *sqe, struct nl_file file, const struct msghdr *message,
                                          uint64_t token)
{
    nl_prep(sqe, IORING_OP_SENDMSG, file, message, 1, 0, token);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT;
}

/*
 * Send a datagram to an address (Linux 6.1) or, where `name` is NULL, to where the socket is connected. The kernel
 * sends at most 2 GiB at a time; no socket takes a datagram of that size.
 */
static inline void nl_prep_sendto(struct io_uring_sqe *sqe, struct nl_file file, const void *data, size_t length,
                                  const void *name, size_t name_length, unsigned flags, uint64_t token)
{
    nl_prep(sqe, IORING_OP_SEND, file, data, length < INT32_MAX ? (unsigned)length : INT32_MAX,
            (uint64_t)(uintptr_t)name, token);
    sqe->addr_len = (uint16_t)name_length;
    sqe->msg_flags = MSG_NOSIGNAL | flags;
}

static inline void nl_prep_sendmsg(struct io_uring_sqe *sqe, struct nl_file file, const struct msghdr *message,
                                   unsigned flags, uint64_t token)
{
    nl_prep(sqe, IORING_OP_SENDMSG, file, message, 1, 0, token);
    sqe->msg_flags = MSG_NOSIGNAL | flags;
}

/*
 * Send memory without copying it; it completes a second time when the kernel refers to the memory no more. `options` is
 * 0 or NL_SEND_ZC_REPORT_USAGE. `index` is the memory's entry in the table of registered memory, or -1 if it has none.
 */
static inline void nl_prep_send_zc(struct io_uring_sqe *sqe, struct nl_file file, const void *data, unsigned length,
                                   unsigned options, int index, uint64_t token)
{
    nl_prep(sqe, IORING_OP_SEND_ZC, file, data, length, 0, token);
    sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
    sqe->ioprio = (uint16_t)options;
    if (index >= 0) {
        sqe->ioprio |= IORING_RECVSEND_FIXED_BUF;
        sqe->buf_index = (uint16_t)index;
    }
}

/* The same with a message of several pieces, none of which it takes by an index. */
static inline void nl_prep_sendmsg_zc(struct io_uring_sqe *sqe, struct nl_file file, const struct msghdr *message,
                                      unsigned options, uint64_t token)
{
    nl_prep(sqe, IORING_OP_SENDMSG_ZC, file, message, 1, 0, token);
    sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
    sqe->ioprio = (uint16_t)options;
}

/* What the last completion of either says: did the kernel copy all the same? */
static inline bool nl_notice_copied(int result)
{
    return ((unsigned)result & NL_NOTIF_COPIED) != 0;
}

static inline void nl_prep_recvmsg(struct io_uring_sqe *sqe, struct nl_file file, struct msghdr *message,
                                   unsigned flags, uint64_t token)
{
    nl_prep(sqe, IORING_OP_RECVMSG, file, message, 1, 0, token);
    sqe->msg_flags = flags;
}

/* Single-shot, into a buffer of the group; the message's one vector gives the most bytes to take, which is not 0. */
static inline void nl_prep_recvmsg_group(struct io_uring_sqe *sqe, struct nl_file file, struct msghdr *message,
                                         unsigned group, uint64_t token)
{
    nl_prep_recvmsg(sqe, file, message, 0, token);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = (uint16_t)group;
}

/*
 * Multishot: one completion per datagram, each in a buffer of the group (nl_datagram.h). Of the message, which the
 * kernel copies, only the lengths of name and control data count. An empty datagram is the last one of a shot.
 */
static inline void nl_prep_recvmsg_multishot(struct io_uring_sqe *sqe, struct nl_file file, struct msghdr *message,
                                             unsigned group, uint64_t token)
{
    nl_prep_recvmsg(sqe, file, message, 0, token);
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = (uint16_t)group;
}

static inline void nl_prep_connect(struct io_uring_sqe *sqe, struct nl_file file, const struct sockaddr *address,
                                   socklen_t length, uint64_t token)
{
    nl_prep(sqe, IORING_OP_CONNECT, file, address, 0, length, token);
}

static inline void nl_prep_shutdown(struct io_uring_sqe *sqe, struct nl_file file, int how, uint64_t token)
{
    nl_prep(sqe, IORING_OP_SHUTDOWN, file, NULL, (unsigned)how, 0, token);
}

static inline void nl_prep_close(struct io_uring_sqe *sqe, struct nl_file file, uint64_t token)
{
    /* A slot is named by file_index; the fixed-file flag itself is refused. */
    if (file.flag) {
        nl_prep(sqe, IORING_OP_CLOSE, nl_descriptor(0), NULL, 0, 0, token);
        sqe->file_index = (uint32_t)(file.number + 1);
    } else {
        nl_prep(sqe, IORING_OP_CLOSE, file, NULL, 0, 0, token);
    }
}

static inline void nl_prep_poll(struct io_uring_sqe *sqe, struct nl_file file, unsigned events, uint64_t token)
{
    nl_prep(sqe, IORING_OP_POLL_ADD, file, NULL, 0, 0, token);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    events = (events << 16) | (events >> 16);
#endif
    sqe->poll32_events = events;
}

static inline void nl_prep_read(struct io_uring_sqe *sqe, struct nl_file file, void *buffer, unsigned length,
                                uint64_t offset, uint64_t token)
{
    nl_prep(sqe, IORING_OP_READ, file, buffer, length, offset, token);
}

static inline void nl_prep_write(struct io_uring_sqe *sqe, struct nl_file file, const void *data, unsigned length,
                                 uint64_t offset, uint64_t token)
{
    nl_prep(sqe, IORING_OP_WRITE, file, data, length, offset, token);
}

/*
 * Read from a pipe or a terminal into a buffer of the group, once, or as a multishot (Linux 6.7). A multishot read takes
 * no position; -1 is the file's own, the only one that such a file has.
 */
static inline void nl_prep_read_group(struct io_uring_sqe *sqe, struct nl_file file, int multishot, unsigned group,
                                      uint64_t token)
{
    nl_prep(sqe, multishot ? NL_OP_READ_MULTISHOT : IORING_OP_READ, file, NULL, 0, multishot ? 0 : (uint64_t)-1, token);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = (uint16_t)group;
}

static inline void nl_prep_writev(struct io_uring_sqe *sqe, struct nl_file file, const struct iovec *vectors,
                                  unsigned count, uint64_t offset, uint64_t token)
{
    nl_prep(sqe, IORING_OP_WRITEV, file, vectors, count, offset, token);
}

/* Cancel the operation that has this token. Success is silent: the operation's own completion tells. */
static inline void nl_prep_cancel(struct io_uring_sqe *sqe, uint64_t target, uint64_t token)
{
    nl_prep(sqe, IORING_OP_ASYNC_CANCEL, nl_descriptor(-1), (const void *)(uintptr_t)target, 0, 0, token);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* Cancel every operation on a descriptor. */
static inline void nl_prep_cancel_file(struct io_uring_sqe *sqe, struct nl_file file, uint64_t token)
{
    nl_prep(sqe, IORING_OP_ASYNC_CANCEL, nl_descriptor(file.number), NULL, 0, 0, token);
    sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
    if (file.flag)
        sqe->cancel_flags |= IORING_ASYNC_CANCEL_FD_FIXED;
}

/* Cancel everything the ring has in flight. */
static inline void nl_prep_cancel_all(struct io_uring_sqe *sqe, uint64_t token)
{
    nl_prep(sqe, IORING_OP_ASYNC_CANCEL, nl_descriptor(-1), NULL, 0, 0, token);
    sqe->cancel_flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
}

/* Give a fixed file a descriptor of the process, opened close-on-exec (Linux 6.8). */
static inline void nl_prep_install(struct io_uring_sqe *sqe, int slot, uint64_t token)
{
    nl_prep(sqe, NL_OP_FIXED_FD_INSTALL, nl_fixed_file(slot), NULL, 0, 0, token);
}

/* getsockopt or setsockopt as a command (Linux 6.7), see NL_SOCKET_GETSOCKOPT and NL_SOCKET_SETSOCKOPT. */
static inline void nl_prep_sockopt(struct io_uring_sqe *sqe, struct nl_file file, unsigned command, int level,
                                   int option, const void *value, unsigned length, uint64_t token)
{
    nl_prep(sqe, IORING_OP_URING_CMD, file, NULL, 0, 0, token);
    sqe->off = command;
    sqe->addr = (uint64_t)(uint32_t)level | ((uint64_t)(uint32_t)option << 32);
    sqe->file_index = length;
    sqe->addr3 = (uint64_t)(uintptr_t)value;
}

/* A socket's own name, or its peer's (Linux 6.19); `length` is the room for it, and then its length. */
static inline void nl_prep_getsockname(struct io_uring_sqe *sqe, struct nl_file file, struct sockaddr *address,
                                       socklen_t *length, int peer, uint64_t token)
{
    nl_prep(sqe, IORING_OP_URING_CMD, file, address, 0, NL_SOCKET_GETSOCKNAME, token);
    sqe->file_index = (uint32_t)peer;
    sqe->addr3 = (uint64_t)(uintptr_t)length;
}

#endif
