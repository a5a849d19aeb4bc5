/*
 * The life cycle of a stream transport, as one table.
 *
 *   open         reads and writes
 *   half closed  write_eof() was called: what is in the outbox is sent, then the sending side is shut down
 *   draining     close() was called: reading has ended, the outbox is still being sent
 *   cancelling   nothing more is to be sent; operations in flight are being cancelled and awaited, and when there are
 *                none any more, connection_lost() is called
 *   closing      no operation holds the file any more; the kernel is closing it
 *   closed       the file is closed
 *
 * A file must not be closed while an operation is in flight on it: the operation holds a reference, so no FIN would be
 * sent, and the slot could be taken by a new connection while the old receive is still armed. Hence "cancelling".
 */
#ifndef NL_LIFECYCLE_H
#define NL_LIFECYCLE_H

enum nl_state { NL_OPEN, NL_HALF_CLOSED, NL_DRAINING, NL_CANCELLING, NL_CLOSING, NL_CLOSED, NL_STATES };

enum nl_event {
    NL_ON_WRITE_EOF,   /* the application ends its side */
    NL_ON_CLOSE,       /* the application closes, or the peer ended and the protocol does not keep it open */
    NL_ON_DRAINED,     /* the outbox is empty and no send is in flight */
    NL_ON_ABORT,       /* abort(), or a fatal error */
    NL_ON_QUIET,       /* no operation is in flight */
    NL_ON_FILE_CLOSED, /* the kernel has closed the file */
    NL_EVENTS
};

/* The state after an event. An event that means nothing in a state leaves it as it is. */
static inline enum nl_state nl_next_state(enum nl_state state, enum nl_event event)
{
    static const unsigned char table[NL_STATES][NL_EVENTS] = {
        /*                   write_eof       close          drained        abort          quiet          file closed */
        [NL_OPEN] =        { NL_HALF_CLOSED, NL_DRAINING,   NL_OPEN,       NL_CANCELLING, NL_OPEN,       NL_OPEN },
        [NL_HALF_CLOSED] = { NL_HALF_CLOSED, NL_DRAINING,   NL_HALF_CLOSED, NL_CANCELLING, NL_HALF_CLOSED,
                             NL_HALF_CLOSED },
        [NL_DRAINING] =    { NL_DRAINING,    NL_DRAINING,   NL_CANCELLING, NL_CANCELLING, NL_DRAINING,   NL_DRAINING },
        [NL_CANCELLING] =  { NL_CANCELLING,  NL_CANCELLING, NL_CANCELLING, NL_CANCELLING, NL_CLOSING,    NL_CANCELLING },
        [NL_CLOSING] =     { NL_CLOSING,     NL_CLOSING,    NL_CLOSING,    NL_CLOSING,    NL_CLOSING,    NL_CLOSED },
        [NL_CLOSED] =      { NL_CLOSED,      NL_CLOSED,     NL_CLOSED,     NL_CLOSED,     NL_CLOSED,     NL_CLOSED },
    };
    return (enum nl_state)table[state][event];
}

#endif
