/*
 * Keeping the C library's heap from shrinking and growing again.
 *
 * The payloads of one turn live until its end and are freed together. glibc then gives the top of the heap back to the
 * kernel, and faults it in again in the next turn: 0.7 brk(2) calls per 16 KiB message. glibc raises that threshold by
 * itself, to twice the size of the largest block that the program has freed and that was mapped on its own
 * (mallopt(3), M_TRIM_THRESHOLD), unless the program or its environment has set it. So one such block is freed.
 */
#ifndef NL_HEAP_H
#define NL_HEAP_H

#include <stdlib.h>

/* Half of what the heap may keep at its top. */
#define NL_HEAP_BLOCK ((size_t)16 << 20)

static inline void nl_heap_settle(void)
{
    /* Through a volatile pointer, because a compiler may leave out an allocation that nobody uses. */
    void *volatile block = malloc(NL_HEAP_BLOCK);
    free(block);
}

#endif
