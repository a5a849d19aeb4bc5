/* The result of the measured window, and its one line of JSON. */
#ifndef BENCH_LOAD_REPORT_H
#define BENCH_LOAD_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu_time.h"
#include "load_state.h"

struct window {
    uint64_t began;
    uint64_t ended;
    uint64_t messages;
    uint64_t bytes_received;
    uint64_t server_cpu;
    struct main_thread server_loop; /* the thread that runs the loop, alone */
    uint64_t load_cpu;
    bool server_seen; /* server_cpu and server_loop are known */
};

/* Forget what was counted before and note where the clocks stand. */
void window_begin(struct window *window, struct load *load);
/* Turn the notes into differences. The histogram stays as it is: call before any message that should not count. */
void window_end(struct window *window, const struct load *load);
/* `latency` is the histogram as it stood at the window's end. */
void window_report(const struct window *window, const struct load *load, const struct histogram *latency);

#endif
