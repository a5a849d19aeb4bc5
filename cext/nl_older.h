/*
 * An older kernel, for tests on one that is not: a shim under which this kernel does not know what that one does not.
 */
#ifndef NL_OLDER_H
#define NL_OLDER_H

#include "nl_sys.h"

/* What may be lacking; or-ed. */
enum nl_lacking {
    NL_LACKS_INSTALL = 1,        /* a descriptor for a fixed file, Linux 6.8 */
    NL_LACKS_ACCEPT_NOW = 2,     /* an accept that does not wait, Linux 6.10 */
    NL_LACKS_READ_MULTISHOT = 4, /* Linux 6.7 */
    NL_LACKS_OPTIONS = 8,        /* socket options as commands, Linux 6.7 */
    NL_LACKS_NAMES = 16,         /* the names of a socket as a command, Linux 6.19 */
    NL_LACKS_RELEASE = 32,       /* files that go at once when they are closed in the table, Linux 6.13 */
    NL_LACKS_RESTRICTIONS = 64,  /* of what a ring may do, Linux 5.10; a policy may refuse them anywhere */
    NL_LACKS_NAPI = 128,         /* polling the queues of network cards, Linux 6.9 */
};

struct nl_older {
    struct nl_sys sys;      /* first, so that a pointer to it is a pointer to the whole */
    unsigned lacking;       /* nl_lacking values, or-ed */
    unsigned unknown_flags; /* set-up flags that are refused */
};

void nl_older_init(struct nl_older *older, unsigned lacking, unsigned unknown_flags);

#endif
