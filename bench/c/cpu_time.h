/* How long the threads of a process have run, from /proc/PID/task/TID/schedstat. */
#ifndef BENCH_CPU_TIME_H
#define BENCH_CPU_TIME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Sum of the run time of all living threads, kernel workers of an io_uring included, in nanoseconds. False when the
 * process is gone. A thread that is on a CPU at this moment is counted up to its last scheduler tick.
 */
bool cpu_time_of(pid_t pid, uint64_t *nanoseconds);

#endif
