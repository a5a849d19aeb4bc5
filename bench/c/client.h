/* One connection of the load generator: sends messages, checks what comes back, measures how long it took. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdint.h>

#include "load_errors.h"
#include "load_state.h"

/* Make ready, without a connection: client_fill() connects. `number` makes the bytes of each start elsewhere. */
void client_prepare(struct load *load, struct client *client, unsigned number);
/* Make ready and connect, or count an ERROR_CONNECT. */
void client_open(struct load *load, struct client *client, unsigned number);
/* Begin messages until the pipeline is as deep as it should be; a client without a connection connects first. */
void client_fill(struct load *load, struct client *client);
/* When broadcasting, and everybody has had the last message: have the first client send the next one. */
void client_broadcast(struct load *load);
/* Serve epoll events. */
void client_ready(struct load *load, struct client *client, uint32_t events);
/* Count an error and close the connection: what follows on it would be misleading. */
void client_fail(struct load *load, struct client *client, enum load_error kind, const char *what, int errnum);

#endif
