/*
 * The life cycle of a transport, stream, datagram or pipe, as one table.
 *
 *   new          made, and not yet in the ring's endpoint table
 *   open         reads and writes
 *   half closed  write_eof() was called: what is in the outbox is sent, then the sending side is shut down
 *   draining     close() was called: reading has ended, the outbox is still being sent
 *   cancelling   nothing more is to be sent: operations in flight are being cancelled and awaited; when there are none,
 *                and the place that asyncio gives the call among what is scheduled has come, connection_lost() is called
 *   closing      the protocol has been told, and no operation holds the file any more; it is being closed
 *   closed       the file is closed and the transport has left the endpoint table
 *
 * A file must not be closed while an operation is in flight on it: the operation holds a reference, so no FIN would be
 * sent, and the slot could be taken by a new connection while the old receive is still armed. Hence "cancelling".
 *
 * A transport moves by Transport.step() alone (netloop/transports/base.pyx), which also does what entering a state
 * asks for.
 */
#ifndef NL_LIFECYCLE_H
#define NL_LIFECYCLE_H

enum nl_state {
    NL_NEW,
    NL_OPEN,
    NL_HALF_CLOSED,
    NL_DRAINING,
    NL_CANCELLING,
    NL_CLOSING,
    NL_CLOSED,
    NL_STATES
};

enum nl_event {
    NL_ON_ATTACHED,    /* it is in the endpoint table */
    NL_ON_WRITE_EOF,   /* the application ends its side */
    NL_ON_CLOSE,       /* the application closes, or the peer ended and the protocol does not keep it open */
    NL_ON_DRAINED,     /* the outbox is empty and no send is in flight */
    NL_ON_ABORT,       /* abort(), or a fatal error */
    NL_ON_TOLD,        /* no operation is in flight, and connection_lost() has been called */
    NL_ON_FILE_CLOSED, /* the file is closed */
    NL_ON_RING_CLOSED, /* the loop was closed: nothing is in flight, and nobody will call or cancel any more */
    NL_EVENTS
};

/* The state after an event. An event that means nothing in a state leaves it as it is. */
static inline enum nl_state nl_next_state(enum nl_state state, enum nl_event event)
{
    /* Only what moves stands here: a state is written as its number and one, so that 0 means to stay. */
#define TO(next) (unsigned char)((next) + 1)
    static const unsigned char table[NL_STATES][NL_EVENTS] = {
        [NL_NEW] = {[NL_ON_ATTACHED] = TO(NL_OPEN)},
        [NL_OPEN] = {[NL_ON_WRITE_EOF] = TO(NL_HALF_CLOSED),
                     [NL_ON_CLOSE] = TO(NL_DRAINING),
                     [NL_ON_ABORT] = TO(NL_CANCELLING)},
        [NL_HALF_CLOSED] = {[NL_ON_CLOSE] = TO(NL_DRAINING),
                            [NL_ON_ABORT] = TO(NL_CANCELLING)},
        [NL_DRAINING] = {[NL_ON_DRAINED] = TO(NL_CANCELLING),
                         [NL_ON_ABORT] = TO(NL_CANCELLING),
                         [NL_ON_RING_CLOSED] = TO(NL_CLOSED)},
        [NL_CANCELLING] = {[NL_ON_TOLD] = TO(NL_CLOSING),
                           [NL_ON_RING_CLOSED] = TO(NL_CLOSED)},
        [NL_CLOSING] = {[NL_ON_FILE_CLOSED] = TO(NL_CLOSED),
                        [NL_ON_RING_CLOSED] = TO(NL_CLOSED)},
        [NL_CLOSED] = {0},
    };
#undef TO
    return table[state][event] ? (enum nl_state)(table[state][event] - 1) : state;
}

#endif
