/* What can go wrong under load, counted by kind; the first of all is kept in words. */
#ifndef BENCH_LOAD_ERRORS_H
#define BENCH_LOAD_ERRORS_H

#include <stdint.h>

enum load_error {
    ERROR_CONNECT,  /* a connection could not be made */
    ERROR_MISMATCH, /* a byte came back that was not sent, or one too many */
    ERROR_CLOSED,   /* the server closed a connection, or reset it */
    ERROR_IO,       /* a system call failed */
    ERROR_HTTP,     /* a reply that is not the expected one */
    ERROR_STALLED,  /* a reply that never came */
    LOAD_ERROR_KINDS
};

struct load_errors {
    uint64_t counts[LOAD_ERROR_KINDS];
    char first[200];
};

extern const char *const load_error_names[LOAD_ERROR_KINDS];

void load_errors_add(struct load_errors *errors, enum load_error kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
uint64_t load_errors_total(const struct load_errors *errors);

#endif
