/* The load generator's command line. */
#ifndef BENCH_LOAD_OPTIONS_H
#define BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define MAX_CONNECTIONS 20000u
#define MAX_DEPTH 64u
#define MAX_MESSAGE_SIZE (16u << 20)
#define MAX_DATAGRAM_SIZE 65507u

struct load_options {
    unsigned port;
    unsigned connections;
    unsigned depth;
    size_t size;
    double seconds;
    double warmup;
    pid_t server_pid;
    const char *request_file;
    const char *reply_file;
    const char *upgrade_file;
    bool http;
    bool tls;
    bool udp;
    bool churn;
    bool broadcast;
    unsigned residents;
    bool in_turn;
    bool cold;
    bool same_cpu;
    bool gate;
};

void load_options_parse(struct load_options *options, int argc, char **argv);

#endif
