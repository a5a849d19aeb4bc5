/*
 * The life of a buffer of a pool that the application reads in place, as one table.
 *
 *             offer                 receive                    send
 *      ┌───────────────► kernel's ───────────┐        ┌──────────────────┐
 *      │                  │  │               ▼        │  ◄──────┐        ▼
 *    free ◄───────────────┘  │             leased ────┘   sent  └──── sending ──┐
 *      ▲     withdraw        │ lose          ▲  │                        ▲ send │
 *      │                     ▼               │  │                        └──────┘
 *      │                   lost              │  │
 *      ├──────────── take ───────────────────┘  │
 *      └──────────── release ───────────────────┘
 *
 *   free      nobody's: the pool may offer it to the kernel, or hand it to the application to build a message in
 *   kernel's  offered for receives: the kernel may write to it at any moment
 *   leased    the application's: one or more leases or views of it are out, and it reads or writes it
 *   sending   the same, and at least one lease was handed to a transport: the kernel may read it until its last word
 *   lost      the kernel's for ever: its loop was closed, and the kernel has not said that it has let go
 *
 * So no buffer is the kernel's to write to and the application's to read at once, and none is free before the kernel has
 * done with it. A buffer moves by nl_pool_step() alone (nl_pool.h).
 */
#ifndef NL_LEASE_H
#define NL_LEASE_H

enum nl_lease_state {
    NL_BUFFER_FREE,
    NL_BUFFER_KERNELS,
    NL_BUFFER_LEASED,
    NL_BUFFER_SENDING,
    NL_BUFFER_LOST,
    NL_BUFFER_STATES
};

enum nl_lease_event {
    NL_LEASE_OFFER,    /* into the queue from which the kernel takes buffers */
    NL_LEASE_WITHDRAW, /* that queue is the kernel's no more, and nothing is in flight on it */
    NL_LEASE_LOSE,     /* the same, but something is in flight */
    NL_LEASE_RECEIVE,  /* a completion has brought it */
    NL_LEASE_TAKE,     /* the application wants an empty one */
    NL_LEASE_SEND,     /* a lease of it was handed to a transport */
    NL_LEASE_SENT,     /* the last of those was sent or given up, and nothing of it is in flight */
    NL_LEASE_RELEASE,  /* the last lease and the last view of it are gone */
    NL_LEASE_EVENTS
};

/* The state after an event, or -1 for an event that cannot be: the caller's mistake. */
static inline int nl_next_lease(enum nl_lease_state state, enum nl_lease_event event)
{
    /* A state is written as its number and one, so that 0 means that it cannot be. */
#define TO(next) (unsigned char)((next) + 1)
    static const unsigned char table[NL_BUFFER_STATES][NL_LEASE_EVENTS] = {
        [NL_BUFFER_FREE] = {[NL_LEASE_OFFER] = TO(NL_BUFFER_KERNELS),
                            [NL_LEASE_TAKE] = TO(NL_BUFFER_LEASED)},
        [NL_BUFFER_KERNELS] = {[NL_LEASE_RECEIVE] = TO(NL_BUFFER_LEASED),
                               [NL_LEASE_WITHDRAW] = TO(NL_BUFFER_FREE),
                               [NL_LEASE_LOSE] = TO(NL_BUFFER_LOST)},
        [NL_BUFFER_LEASED] = {[NL_LEASE_SEND] = TO(NL_BUFFER_SENDING),
                              [NL_LEASE_RELEASE] = TO(NL_BUFFER_FREE)},
        [NL_BUFFER_SENDING] = {[NL_LEASE_SEND] = TO(NL_BUFFER_SENDING),
                               [NL_LEASE_SENT] = TO(NL_BUFFER_LEASED)},
        [NL_BUFFER_LOST] = {0},
    };
#undef TO
    return (int)table[state][event] - 1;
}

#endif
