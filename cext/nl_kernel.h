/*
 * The kernel's io_uring interface as netloop needs it.
 *
 * <linux/io_uring.h> of the oldest distribution we build on (Debian 12, Linux 6.1) lacks what later kernels added.
 * Those constants are part of the kernel's stable binary interface, so they are named here once, with an NL_ prefix
 * that cannot clash with a newer header.
 */
#ifndef NL_KERNEL_H
#define NL_KERNEL_H

#include <assert.h>
#include <linux/io_uring.h>
#include <stddef.h>
#include <stdint.h>

/* Set-up flags. */
#define NL_SETUP_NO_SQARRAY (1U << 16) /* Linux 6.6: no indirection array in front of the submission entries */

/* Operations. */
#define NL_OP_READ_MULTISHOT 49    /* Linux 6.7 */
#define NL_OP_WAITID 50            /* Linux 6.7 */
#define NL_OP_FIXED_FD_INSTALL 54  /* Linux 6.8 */
#define NL_OP_BIND 56              /* Linux 6.11 */
#define NL_OP_LISTEN 57            /* Linux 6.11 */
#define NL_OP_RECV_ZC 58           /* Linux 6.15 */
#define NL_OPS_KNOWN 64            /* how many operations a probe asks about */

/* Flags of an accept (ioprio). */
#define NL_ACCEPT_DONTWAIT (1U << 1) /* Linux 6.10 */

/* Flags of a send (ioprio), of its last completion, and what that says of it. */
#define NL_SEND_ZC_REPORT_USAGE (1U << 3) /* Linux 6.2 */
#define NL_CQE_F_NOTIF (1U << 3)          /* Linux 6.0 */
#define NL_NOTIF_COPIED (1U << 31)        /* Linux 6.2 */

/* Registrations. */
#define NL_REGISTER_NAPI 27 /* Linux 6.9: waits poll the queues of network cards before they sleep */

struct nl_napi {
    uint32_t busy_poll_to; /* microseconds */
    uint8_t prefer_busy_poll;
    uint8_t pad[3];
    uint64_t resv;
};

/* Commands on sockets (IORING_OP_URING_CMD). */
#define NL_SOCKET_GETSOCKOPT 2U  /* Linux 6.7 */
#define NL_SOCKET_SETSOCKOPT 3U  /* Linux 6.7 */
#define NL_SOCKET_GETSOCKNAME 5U /* Linux 6.19 */

static_assert(sizeof(struct io_uring_sqe) == 64, "a submission entry is 64 bytes");
static_assert(sizeof(struct io_uring_cqe) == 16, "a completion entry is 16 bytes");
static_assert(sizeof(struct io_uring_buf) == 16, "a provided-buffer entry is 16 bytes");
static_assert(sizeof(struct nl_napi) == 16, "what is registered of busy polling is 16 bytes");
static_assert(offsetof(struct io_uring_sqe, addr) == 16, "level and optname of a socket command lie at 16");
static_assert(offsetof(struct io_uring_sqe, file_index) == 44, "optlen of a socket command lies at 44");
static_assert(offsetof(struct io_uring_sqe, addr_len) == 44, "the length of a send's address lies at 44");
static_assert(offsetof(struct io_uring_sqe, addr3) == 48, "optval of a socket command lies at 48");
static_assert(IORING_OP_SENDMSG_ZC == 48, "operations are numbered as the kernel numbers them");

#endif
