/*
 * The three io_uring system calls behind one replaceable shim.
 *
 * Everything that reaches the kernel's ring goes through a `struct nl_sys`, so a test can hand the ring one that makes
 * the n-th call fail. Each function returns the call's result, or -errno.
 */
#ifndef NL_SYS_H
#define NL_SYS_H

#include "nl_kernel.h"

struct nl_ring;

struct nl_sys {
    int (*setup)(struct nl_sys *sys, unsigned entries, struct io_uring_params *params);
    int (*enter)(struct nl_sys *sys, int fd, unsigned submit, unsigned wait, unsigned flags, const void *arg,
                 size_t size);
    int (*control)(struct nl_sys *sys, int fd, unsigned opcode, const void *arg, unsigned count);
    /* Is shown a ring before each of its enters, or NULL. A test may change what is about to be submitted. */
    void (*review)(struct nl_sys *sys, struct nl_ring *ring);
};

/* The real system calls. */
void nl_sys_real(struct nl_sys *sys);

enum nl_sys_call { NL_CALL_SETUP = 1, NL_CALL_ENTER = 2, NL_CALL_CONTROL = 4, NL_CALL_ANY = 7 };

/* A shim that counts the calls it is told to watch and makes one of them fail instead of reaching the kernel. */
struct nl_fault {
    struct nl_sys sys; /* first, so that a pointer to it is a pointer to the fault */
    unsigned watched;  /* nl_sys_call values, or-ed */
    uint64_t calls;    /* watched calls so far */
    uint64_t nth;      /* which of them fails, counted from 1; 0: none */
    int error;         /* the errno it fails with */
};

void nl_fault_init(struct nl_fault *fault, unsigned watched, uint64_t nth, int error);

#endif
