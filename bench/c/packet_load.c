/*
 * The load for packets that go one way only. The window of packets under way fits into the receiver's buffer, so none may
 * be lost, and one that is missing is an error.
 *
 * With --reply the server sends: an order, eight bytes with a number, asks it for so many of the packets in that file.
 * With --request the server takes: an order has it forget what it counted, and answer when the number of packets reaches
 * or passes a multiple of that in the order (never for 0), with three numbers of eight bytes: packets, bytes, and the
 * size of its receive buffer. Answers go to where the order came from, packets come from --connections sockets in turn.
 *
 * With --same-cpu it is on the server's CPU, and the two take turns: as a sender it goes first, so that the server finds
 * whole bursts waiting, and as a receiver it leaves the server alone until that waits. From another CPU one client could
 * not keep a server busy, and what is measured would be how the two wake each other.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "clock.h"
#include "fail.h"
#include "file_bytes.h"
#include "load_options.h"
#include "load_report.h"
#include "load_state.h"
#include "packets.h"

#define STALL_MS 5000
#define GATE_SECONDS 60

struct traffic {
    struct load *load;
    struct packet_batch batch;
    struct packet_run run;
    int *sockets;
    unsigned next; /* the socket that sends the next packet */
    unsigned burst;
    bool server_sends;
    uint64_t asked; /* packets sent, or ordered */
    uint64_t done;  /* packets received, or acknowledged */
};

static bool failed(const struct traffic *traffic)
{
    return load_errors_total(&traffic->load->errors) > 0;
}

static void error(struct traffic *traffic, enum load_error kind, const char *what, uint64_t found, uint64_t wanted)
{
    load_errors_add(&traffic->load->errors, kind, "%s: %" PRIu64 ", not %" PRIu64, what, found, wanted);
}

static int connected_socket(const struct load_options *options, bool coalesce)
{
    int fd = packets_socket(coalesce);
    const struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)options->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (const struct sockaddr *)&server, sizeof server) < 0)
        fail(errno, "cannot connect a socket");
    return fd;
}

static void order(struct traffic *traffic, uint64_t number)
{
    if (send(traffic->sockets[0], &number, sizeof number, 0) < 0)
        load_errors_add(&traffic->load->errors, ERROR_IO, "cannot order: %s", strerror(errno));
}

/* Whether something is there to be received, before too long. */
static bool wait_for_server(struct traffic *traffic)
{
    struct pollfd input = {.fd = traffic->sockets[0], .events = POLLIN};
    int ready;
    do
        ready = poll(&input, 1, STALL_MS);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        error(traffic, ERROR_STALLED, "packets that have come, and nothing for five seconds", traffic->done,
              traffic->asked);
    return ready > 0;
}

/* The server sends ------------------------------------------------------------------------------------------------- */

static void check_packets(struct traffic *traffic, unsigned message)
{
    const size_t size = traffic->run.size;
    const size_t length = traffic->batch.messages[message].msg_len;
    const size_t segment = packets_segment(&traffic->batch, message);
    const size_t count = length / size;
    if (segment != size || length % size != 0) {
        error(traffic, ERROR_MISMATCH, "bytes in a packet", segment, size);
        return;
    }
    if (count > PACKET_BURST_MAX || memcmp(traffic->batch.vectors[message].iov_base, traffic->run.bytes, length) != 0)
        load_errors_add(&traffic->load->errors, ERROR_MISMATCH, "a packet with other bytes than it should have");
    traffic->done += count;
    traffic->load->messages += count;
    traffic->load->bytes_received += length;
}

static void receive_packets(struct traffic *traffic)
{
    if (!wait_for_server(traffic))
        return;
    unsigned messages = packets_receive(traffic->sockets[0], &traffic->batch, MSG_DONTWAIT);
    for (unsigned i = 0; i < messages; i++)
        check_packets(traffic, i);
}

/* The server takes ------------------------------------------------------------------------------------------------- */

static bool receive_answer(struct traffic *traffic, uint64_t numbers[3])
{
    const size_t length = 3 * sizeof *numbers;
    if (!wait_for_server(traffic))
        return false;
    ssize_t received = recv(traffic->sockets[0], numbers, length, 0);
    if (received == (ssize_t)length)
        return true;
    error(traffic, received < 0 ? ERROR_IO : ERROR_MISMATCH, "bytes in an answer", (uint64_t)received, length);
    return false;
}

static void take_answer(struct traffic *traffic)
{
    uint64_t numbers[3];
    if (!receive_answer(traffic, numbers))
        return;
    if (numbers[0] > traffic->asked || numbers[1] != numbers[0] * traffic->run.size) {
        error(traffic, ERROR_MISMATCH, "bytes that the server has taken", numbers[1], numbers[0] * traffic->run.size);
        return;
    }
    traffic->load->messages += numbers[0] - traffic->done;
    traffic->done = numbers[0];
}

static void send_burst(struct traffic *traffic)
{
    const unsigned senders = traffic->load->options->connections;
    if (senders == 1) {
        packets_send(traffic->sockets[0], NULL, &traffic->run, traffic->burst);
        return;
    }
    for (unsigned i = 0; i < traffic->burst; i++) {
        packets_send(traffic->sockets[traffic->next], NULL, &traffic->run, 1);
        traffic->next = (traffic->next + 1) % senders;
    }
}

/* Find out how much the server's buffer holds, and order answers at a distance that goes with it. */
static void agree(struct traffic *traffic)
{
    uint64_t numbers[3];
    order(traffic, 0);
    if (failed(traffic) || !receive_answer(traffic, numbers))
        return;
    uint64_t fitting = numbers[2] / PACKET_BURSTS / (2 * traffic->run.size + 1024);
    traffic->burst = fitting == 0 ? 1 : fitting < PACKET_BURST_MAX ? (unsigned)fitting : PACKET_BURST_MAX;
    order(traffic, traffic->burst);
    if (!failed(traffic))
        receive_answer(traffic, numbers);
}

/* Both ------------------------------------------------------------------------------------------------------------- */

static void go_on(struct traffic *traffic, bool more)
{
    while (more && traffic->asked - traffic->done <= (uint64_t)(PACKET_BURSTS - 1) * traffic->burst) {
        if (traffic->server_sends)
            order(traffic, traffic->burst);
        else
            send_burst(traffic);
        traffic->asked += traffic->burst;
    }
    if (traffic->server_sends)
        receive_packets(traffic);
    else
        take_answer(traffic);
}

static void run_for(struct traffic *traffic, double seconds)
{
    uint64_t deadline = now_ns() + (uint64_t)(seconds * (double)NS_PER_SECOND);
    do
        go_on(traffic, true);
    while (!failed(traffic) && now_ns() < deadline);
}

static void drain(struct traffic *traffic)
{
    while (!failed(traffic) && traffic->done < traffic->asked)
        go_on(traffic, false);
}

static void wait_for_line(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    for (char byte = 0; byte != '\n';)
        if (poll(&input, 1, GATE_SECONDS * 1000) <= 0 || read(STDIN_FILENO, &byte, 1) <= 0)
            return;
}

/*
 * A SCHED_FIFO process runs until it waits for something, and a SCHED_BATCH process that is woken waits for its turn. Not
 * everybody may ask for the first; the figures are a little worse without it, for every server.
 */
static void take_turns(const struct traffic *traffic)
{
    const struct sched_param first = {.sched_priority = 2}; /* before a server that is of this kind itself, too */
    const struct sched_param plain = {0};
    if (traffic->server_sends)
        (void)sched_setscheduler(0, SCHED_BATCH, &plain);
    else
        (void)sched_setscheduler(0, SCHED_FIFO, &first);
}

static void set_up(struct traffic *traffic, const struct load_options *options)
{
    struct file_bytes request = file_bytes_of(options->request_file);
    struct file_bytes reply = file_bytes_of(options->reply_file);
    if ((request.bytes == NULL) == (reply.bytes == NULL))
        fail(0, "either --request or --reply says which way packets go");
    traffic->server_sends = reply.bytes != NULL;
    const struct file_bytes packet = traffic->server_sends ? reply : request;
    if (packet.length > MAX_DATAGRAM_SIZE || packet.length == PACKET_ORDER_SIZE)
        fail(0, "a packet has at most %u bytes, and not %zu", MAX_DATAGRAM_SIZE, PACKET_ORDER_SIZE);
    traffic->run = packets_run(packet.bytes, packet.length, PACKET_BURST_MAX);
    traffic->load->message_size = traffic->load->reply_size = packet.length;
    traffic->sockets = calloc(options->connections, sizeof *traffic->sockets);
    if (traffic->sockets == NULL)
        fail(ENOMEM, "cannot allocate %u sockets", options->connections);
    for (unsigned i = 0; i < options->connections; i++)
        traffic->sockets[i] = connected_socket(options, traffic->server_sends);
    packets_allocate(&traffic->batch);
    if (traffic->server_sends)
        traffic->burst = packets_burst(traffic->sockets[0], packet.length);
    else
        agree(traffic);
}

/* The window; from quiet to quiet if another program is to count what happens meanwhile. */
static void measure(struct traffic *traffic, struct window *window, const struct load_options *options)
{
    if (options->gate) {
        drain(traffic);
        puts("ready");
        fflush(stdout);
        wait_for_line();
    }
    window_begin(window, traffic->load);
    run_for(traffic, options->seconds);
    if (options->gate)
        drain(traffic);
    window_end(window, traffic->load);
    drain(traffic);
}

int main(int argc, char **argv)
{
    static struct load_options options;
    static struct load load = {.options = &options};
    static struct traffic traffic = {.load = &load};
    struct window window = {0};
    load_options_parse(&options, argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    set_up(&traffic, &options);
    if (options.same_cpu)
        take_turns(&traffic);
    if (!failed(&traffic))
        run_for(&traffic, options.warmup);
    if (!failed(&traffic))
        measure(&traffic, &window, &options);
    window_report(&window, &load, &load.latency);
    if (options.gate)
        wait_for_line();
    return failed(&traffic) ? 1 : 0;
}
