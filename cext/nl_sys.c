#include "nl_sys.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

static int result_of(long value)
{
    return value < 0 ? -errno : (int)value;
}

static int real_setup(struct nl_sys *sys, unsigned entries, struct io_uring_params *params)
{
    (void)sys;
    return result_of(syscall(__NR_io_uring_setup, entries, params));
}

static int real_enter(struct nl_sys *sys, int fd, unsigned submit, unsigned wait, unsigned flags, const void *arg,
                      size_t size)
{
    (void)sys;
    return result_of(syscall(__NR_io_uring_enter, fd, submit, wait, flags, arg, size));
}

static int real_control(struct nl_sys *sys, int fd, unsigned opcode, const void *arg, unsigned count)
{
    (void)sys;
    return result_of(syscall(__NR_io_uring_register, fd, opcode, arg, count));
}

void nl_sys_real(struct nl_sys *sys)
{
    sys->setup = real_setup;
    sys->enter = real_enter;
    sys->control = real_control;
    sys->review = NULL;
}

static int fails_now(struct nl_sys *sys, enum nl_sys_call call)
{
    struct nl_fault *fault = (struct nl_fault *)sys;
    if (!(fault->watched & call))
        return 0;
    fault->calls++;
    return fault->calls == fault->nth ? fault->error : 0;
}

static int fault_setup(struct nl_sys *sys, unsigned entries, struct io_uring_params *params)
{
    int error = fails_now(sys, NL_CALL_SETUP);
    return error ? -error : real_setup(sys, entries, params);
}

static int fault_enter(struct nl_sys *sys, int fd, unsigned submit, unsigned wait, unsigned flags, const void *arg,
                       size_t size)
{
    int error = fails_now(sys, NL_CALL_ENTER);
    return error ? -error : real_enter(sys, fd, submit, wait, flags, arg, size);
}

static int fault_control(struct nl_sys *sys, int fd, unsigned opcode, const void *arg, unsigned count)
{
    int error = fails_now(sys, NL_CALL_CONTROL);
    return error ? -error : real_control(sys, fd, opcode, arg, count);
}

void nl_fault_init(struct nl_fault *fault, unsigned watched, uint64_t nth, int error)
{
    fault->sys.setup = fault_setup;
    fault->sys.enter = fault_enter;
    fault->sys.control = fault_control;
    fault->sys.review = NULL;
    fault->watched = watched;
    fault->calls = 0;
    fault->nth = nth;
    fault->error = error;
}
