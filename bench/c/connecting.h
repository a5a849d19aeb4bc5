/* Making and ending the connections of the load generator. */
#ifndef BENCH_CONNECTING_H
#define BENCH_CONNECTING_H

#include <stdbool.h>

#include "load_state.h"

/*
 * Connect, with everything that precedes the first message (TLS, the upgrade to another protocol), and leave the
 * socket in client->fd. False, with a reason in *why and an errno or 0 in *errnum, when that fails.
 */
bool connect_client(struct load *load, struct client *client, const char **why, int *errnum);
/* Close the connection, if there is one. */
void disconnect_client(struct client *client);

#endif
