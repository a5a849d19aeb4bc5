/* How long the threads of a process have run, from /proc/PID/task/TID/schedstat and stat. */
#ifndef BENCH_CPU_TIME_H
#define BENCH_CPU_TIME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the main thread of a process has had of the CPUs; it is the one that runs the loop. */
struct main_thread {
    uint64_t nanoseconds;  /* run time */
    uint64_t user_ticks;   /* clock ticks in user mode and in the kernel; their sum agrees with the run time, */
    uint64_t kernel_ticks; /* and how it is shared between the two is sampled by the scheduler's tick */
};

/*
 * Sum of the run time of all living threads, kernel workers of an io_uring included, in nanoseconds; and what the main
 * thread has of it, read at the same moment, unless `main` is NULL. False when the process is gone. A thread that is on
 * a CPU at this moment is counted up to its last scheduler tick.
 */
bool cpu_time_of(pid_t pid, uint64_t *nanoseconds, struct main_thread *main);

#endif
