/*
 * Tokens: what travels through the kernel as user_data instead of a pointer.
 *
 * A token names a slot of the endpoint table, the slot's generation at submission, the operation, and a lane (which of
 * several operations of one kind). A completion whose generation is not the slot's present one belongs to an owner that
 * is gone; it is recognised as stale instead of being dereferenced.
 */
#ifndef NL_TOKEN_H
#define NL_TOKEN_H

#include <stdint.h>

#define NL_TOKEN_NONE 0ULL /* nobody's: a completion that is to be ignored */
#define NL_GENERATION_LIMIT (1U << 24)
/* The slot of operations that a call awaits, and which no endpoint owns; and so how many slots endpoints may have. */
#define NL_CALL_SLOT ((1U << 24) - 1)
#define NL_SLOT_LIMIT NL_CALL_SLOT

enum nl_op {
    NL_ACCEPT = 1,
    NL_RECV,
    NL_RECV_LEASED, /* into the pool whose number is the lane; see core/pool.pyx */
    NL_RECVMSG, /* of datagrams, into their own buffer group */
    NL_SEND,
    NL_SINGLE, /* the only operation of its endpoint */
    NL_CLOSE,
    NL_SHUTDOWN,
    NL_POLL,
    NL_READ,
    NL_READ_MESSAGE, /* into the buffers of datagrams, which hold any that asyncio would take whole */
    NL_WRITE,
    NL_OPTION,
    NL_INSTALL,
    NL_COMMAND, /* a command on a socket whose answer a call awaits */
    NL_CANCEL,
};

/* Generations start at 1, so no token is ever NL_TOKEN_NONE. */
static inline uint64_t nl_token(uint32_t slot, uint32_t generation, unsigned op, unsigned lane)
{
    return ((uint64_t)slot << 40) | ((uint64_t)generation << 16) | ((uint64_t)(lane & 0xff) << 8) | (op & 0xff);
}

static inline uint32_t nl_token_slot(uint64_t token)
{
    return (uint32_t)(token >> 40);
}

static inline uint32_t nl_token_generation(uint64_t token)
{
    return (uint32_t)(token >> 16) & (NL_GENERATION_LIMIT - 1);
}

static inline unsigned nl_token_lane(uint64_t token)
{
    return (unsigned)(token >> 8) & 0xff;
}

static inline unsigned nl_token_op(uint64_t token)
{
    return (unsigned)token & 0xff;
}

#endif
