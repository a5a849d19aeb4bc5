#include "load_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"

void window_begin(struct window *window, struct load *load)
{
    *window = (struct window){0};
    load->messages = 0;
    load->bytes_received = 0;
    histogram_clear(&load->latency);
    pid_t server = load->options->server_pid;
    window->server_seen = server > 0 && cpu_time_of(server, &window->server_cpu, &window->server_loop);
    cpu_time_of(getpid(), &window->load_cpu, NULL);
    window->began = now_ns();
}

void window_end(struct window *window, const struct load *load)
{
    uint64_t server_cpu = 0;
    uint64_t load_cpu = 0;
    struct main_thread server_loop = {0};
    window->ended = now_ns();
    pid_t server = load->options->server_pid;
    window->server_seen = window->server_seen && cpu_time_of(server, &server_cpu, &server_loop);
    cpu_time_of(getpid(), &load_cpu, NULL);
    window->server_cpu = server_cpu - window->server_cpu;
    window->server_loop.nanoseconds = server_loop.nanoseconds - window->server_loop.nanoseconds;
    window->server_loop.user_ticks = server_loop.user_ticks - window->server_loop.user_ticks;
    window->server_loop.kernel_ticks = server_loop.kernel_ticks - window->server_loop.kernel_ticks;
    window->load_cpu = load_cpu - window->load_cpu;
    window->messages = load->messages;
    window->bytes_received = load->bytes_received;
}

static double in_us(uint64_t nanoseconds)
{
    return (double)nanoseconds / 1e3;
}

/* Enough of the distribution to draw it: shares of all messages, and what they were answered within. */
static const double shares[] = {0.01, 0.05, 0.1, 0.2, 0.3,  0.4,  0.5,   0.6,   0.7,   0.8,    0.85,
                                0.9,  0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999};

static void print_distribution(const struct histogram *latency)
{
    printf("\"distribution_us\":[");
    for (unsigned i = 0; i < sizeof shares / sizeof shares[0]; i++)
        printf("%s[%g,%.1f]", i == 0 ? "" : ",", shares[i], in_us(histogram_quantile(latency, shares[i])));
    printf("],");
}

static void print_latency(const struct histogram *latency)
{
    double mean = latency->count == 0 ? 0.0 : (double)latency->sum / (double)latency->count / 1e3;
    printf("\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,\"max_us\":%.3f,\"mean_us\":%.3f,",
           in_us(histogram_quantile(latency, 0.5)), in_us(histogram_quantile(latency, 0.99)),
           in_us(histogram_quantile(latency, 0.999)), in_us(latency->max), mean);
}

/* Error texts are our own words and strerror's; only a quote or a backslash could break the JSON. */
static void print_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('"');
}

static void print_errors(const struct load_errors *errors)
{
    printf("\"errors\":{");
    for (unsigned kind = 0; kind < LOAD_ERROR_KINDS; kind++)
        printf("%s\"%s\":%" PRIu64, kind == 0 ? "" : ",", load_error_names[kind], errors->counts[kind]);
    printf("},\"error_total\":%" PRIu64 ",\"first_error\":", load_errors_total(errors));
    if (errors->first[0] == '\0')
        printf("null");
    else
        print_text(errors->first);
}

static void print_server(const struct window *window)
{
    if (!window->server_seen) {
        printf("\"server_cpu_ns\":null,\"loop_cpu_ns\":null,\"loop_user_ticks\":null,\"loop_kernel_ticks\":null,");
        return;
    }
    const struct main_thread *loop = &window->server_loop;
    printf("\"server_cpu_ns\":%" PRIu64 ",\"loop_cpu_ns\":%" PRIu64 ",", window->server_cpu, loop->nanoseconds);
    printf("\"loop_user_ticks\":%" PRIu64 ",\"loop_kernel_ticks\":%" PRIu64 ",", loop->user_ticks, loop->kernel_ticks);
}

void window_report(const struct window *window, const struct load *load, const struct histogram *latency)
{
    const struct load_options *options = load->options;
    double seconds = (double)(window->ended - window->began) / (double)NS_PER_SECOND;
    double rate = seconds > 0.0 ? (double)window->messages / seconds : 0.0;
    printf("{\"connections\":%u,\"size\":%zu,\"depth\":%u,\"reply_size\":%zu,\"http\":%s,", options->connections,
           load->message_size, options->depth, load->reply_size, options->http ? "true" : "false");
    printf("\"seconds\":%.6f,\"messages\":%" PRIu64 ",\"messages_per_second\":%.1f,\"bytes_received\":%" PRIu64 ",",
           seconds, window->messages, rate, window->bytes_received);
    print_latency(latency);
    if (load->residents != NULL)
        printf("\"resident_p99_us\":%.3f,", in_us(histogram_quantile(load->residents, 0.99)));
    print_distribution(latency);
    print_server(window);
    printf("\"load_cpu_ns\":%" PRIu64 ",", window->load_cpu);
    print_errors(&load->errors);
    printf("}\n");
    fflush(stdout);
}
