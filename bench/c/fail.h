/* Giving up with one clear line on standard error. */
#ifndef BENCH_FAIL_H
#define BENCH_FAIL_H

#define EXIT_USAGE 2

/* Print "program: message", followed by strerror(errnum) when errnum is not zero, and exit with EXIT_USAGE. */
_Noreturn void fail(int errnum, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
