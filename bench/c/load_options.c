#define _GNU_SOURCE
#include "load_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "fail.h"

static const char usage[] =
    "usage: load --port N [options]\n"
    "Drives a server on 127.0.0.1, checks every byte that comes back and prints one line of JSON.\n"
    "  --port N            port of the server\n"
    "  --connections N     connections kept open at once (default 1)\n"
    "  --size BYTES        size of a message (default 64); its bytes are pseudo-random\n"
    "  --request FILE      send the bytes of this file as each message instead\n"
    "  --reply FILE        each reply must be the bytes of this file; otherwise it must be what was sent\n"
    "  --http              replies are HTTP/1.1 200 with a Content-Length, and --reply is their body\n"
    "  --upgrade FILE      open each connection with these bytes, which an HTTP/1.1 101 must answer\n"
    "  --tls               speak TLS (with libssl.so.3 of the system); the certificate is not verified\n"
    "  --udp               send each message as one datagram\n"
    "  --churn             a new connection for every message\n"
    "  --broadcast         after a first exchange on each connection only the first one sends, and all must receive\n"
    "  --in-turn           a first exchange on each connection before the next one is made, not on all at once\n"
    "  --cold              connect when the window begins, and count the latencies of all messages begun in it\n"
    "  --residents N       a herd: so many connections exist before it and exchange messages all the time (default 0)\n"
    "  --same-cpu          one-way packets: this runs on the server's CPU, and is to take turns with it\n"
    "  --depth N           messages under way per connection (default 1, at most 64)\n"
    "  --seconds S         length of the measured window (default 1)\n"
    "  --warmup S          traffic before the window that is checked but not counted (default 0.1)\n"
    "  --server-pid PID    report the CPU time of this process within the window\n"
    "  --gate              after the warm-up print \"ready\", begin when a line arrives on standard input,\n"
    "                      and after the report keep the connections until another line or the end of input\n"
    "Exit status: 0 all replies correct, 1 errors (counted in the JSON), 2 wrong use.\n";

static const struct option long_options[] = {
    {"port", required_argument, NULL, 'p'},       {"connections", required_argument, NULL, 'c'},
    {"size", required_argument, NULL, 's'},       {"depth", required_argument, NULL, 'd'},
    {"seconds", required_argument, NULL, 't'},    {"warmup", required_argument, NULL, 'w'},
    {"request", required_argument, NULL, 'q'},    {"reply", required_argument, NULL, 'r'},
    {"upgrade", required_argument, NULL, 'u'},    {"http", no_argument, NULL, 'H'},
    {"tls", no_argument, NULL, 'T'},              {"udp", no_argument, NULL, 'U'},
    {"churn", no_argument, NULL, 'C'},            {"broadcast", no_argument, NULL, 'B'},
    {"in-turn", no_argument, NULL, 'I'},          {"same-cpu", no_argument, NULL, 'A'},
    {"cold", no_argument, NULL, 'D'},             {"residents", required_argument, NULL, 'R'},
    {"server-pid", required_argument, NULL, 'P'}, {"gate", no_argument, NULL, 'g'},
    {"help", no_argument, NULL, 'h'},             {NULL, 0, NULL, 0},
};

static unsigned parse_count(const char *name, const char *text, unsigned lowest, unsigned highest)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || *text == '-' || value < lowest || value > highest)
        fail(0, "--%s must be a whole number from %u to %u, not \"%s\"", name, lowest, highest, text);
    return (unsigned)value;
}

static double parse_seconds(const char *name, const char *text, double highest)
{
    char *end;
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(value >= 0.0 && value <= highest))
        fail(0, "--%s must be a number of seconds from 0 to %g, not \"%s\"", name, highest, text);
    return value;
}

static void check(const struct load_options *options)
{
    if (options->port == 0)
        fail(0, "--port is missing");
    if (options->http && options->request_file == NULL)
        fail(0, "--http needs --request");
    if (options->depth != 1 && (options->http || options->churn || options->broadcast))
        fail(0, "--http, --churn and --broadcast send one message at a time: --depth must be 1");
    bool plain = !options->http && !options->churn && !options->broadcast && !options->tls;
    if (options->udp && (!plain || options->upgrade_file != NULL))
        fail(0, "--udp goes with plain messages only");
    if (options->udp && options->size > MAX_DATAGRAM_SIZE)
        fail(0, "a datagram holds at most %u bytes", MAX_DATAGRAM_SIZE);
    if (options->cold && (options->broadcast || options->in_turn || options->gate || options->udp))
        fail(0, "--cold does not go with --broadcast, --in-turn, --gate or --udp");
    if (options->broadcast && (options->http || options->churn))
        fail(0, "--broadcast goes with plain messages only");
}

static void apply(struct load_options *options, int option)
{
    switch (option) {
    case 'p': options->port = parse_count("port", optarg, 1, 65535); break;
    case 'c': options->connections = parse_count("connections", optarg, 1, MAX_CONNECTIONS); break;
    case 's': options->size = parse_count("size", optarg, 1, MAX_MESSAGE_SIZE); break;
    case 'd': options->depth = parse_count("depth", optarg, 1, MAX_DEPTH); break;
    case 't': options->seconds = parse_seconds("seconds", optarg, 3600.0); break;
    case 'w': options->warmup = parse_seconds("warmup", optarg, 600.0); break;
    case 'P': options->server_pid = (pid_t)parse_count("server-pid", optarg, 1, 1u << 30); break;
    case 'q': options->request_file = optarg; break;
    case 'r': options->reply_file = optarg; break;
    case 'u': options->upgrade_file = optarg; break;
    case 'H': options->http = true; break;
    case 'T': options->tls = true; break;
    case 'U': options->udp = true; break;
    case 'C': options->churn = true; break;
    case 'B': options->broadcast = true; break;
    case 'I': options->in_turn = true; break;
    case 'A': options->same_cpu = true; break;
    case 'D': options->cold = true; break;
    case 'R': options->residents = parse_count("residents", optarg, 0, MAX_CONNECTIONS); break;
    case 'g': options->gate = true; break;
    case 'h': fputs(usage, stdout); exit(0);
    default: fputs(usage, stderr); exit(EXIT_USAGE);
    }
}

void load_options_parse(struct load_options *options, int argc, char **argv)
{
    *options = (struct load_options){.connections = 1, .depth = 1, .size = 64, .seconds = 1.0, .warmup = 0.1};
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
        apply(options, option);
    if (optind < argc)
        fail(0, "unexpected argument \"%s\"", argv[optind]);
    check(options);
}
