/* What wakes a loop: two ends of a pipe, and on a kernel whose ring would be late to read that, of a socket. */
#include "check.h"
#include "nl_wake.h"

#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

static int refusal; /* what preadv2() fails with; 0: the kernel is asked */

long __real_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
    long given[6];
    va_list arguments;
    if (number == SYS_preadv2 && refusal) {
        errno = refusal;
        return -1;
    }
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        given[i] = va_arg(arguments, long);
    va_end(arguments);
    return __real_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

static mode_t kind_of(int descriptor)
{
    struct stat status;
    CHECK_EQUAL(fstat(descriptor, &status), 0);
    return status.st_mode & S_IFMT;
}

static void check_ends(mode_t kind)
{
    int ends[2];
    char bytes[8];
    CHECK_EQUAL(nl_wake_ends(ends), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(kind_of(ends[i]), kind);
        CHECK_EQUAL(fcntl(ends[i], F_GETFD), FD_CLOEXEC);
    }
    CHECK_EQUAL(write(ends[1], "abc", 3), 3);
    CHECK_EQUAL(read(ends[0], bytes, sizeof(bytes)), 3);
    CHECK_EQUAL(memcmp(bytes, "abc", 3), 0);
    close(ends[0]);
    close(ends[1]);
}

CASE(a_pipe_where_the_kernel_reads_it_at_once)
{
    refusal = EAGAIN;
    check_ends(S_IFIFO);
}

CASE(sockets_where_the_kernel_does_not)
{
    refusal = EOPNOTSUPP;
    check_ends(S_IFSOCK);
}

CASE(a_pipe_where_the_kernel_may_not_be_asked)
{
    refusal = ENOSYS;
    check_ends(S_IFIFO);
}

CASE(the_kernel_answers_by_one_of_these)
{
    int ends[2];
    CHECK_EQUAL(nl_wake_ends(ends), 0);
    CHECK(kind_of(ends[0]) == S_IFIFO || kind_of(ends[0]) == S_IFSOCK);
    close(ends[0]);
    close(ends[1]);
}
