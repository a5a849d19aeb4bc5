/* What the servers begin with: a listening socket on 127.0.0.1 and its port on standard output. */
#ifndef BENCH_LISTENER_H
#define BENCH_LISTENER_H

#define LISTEN_BACKLOG 4096

/* A listening socket on a free port of 127.0.0.1. */
int listener_open(void);
/* Print the port, so that whoever started the server knows that it is ready. */
void listener_announce(int fd);
/* Switch off Nagle's algorithm, as asyncio and uvloop do on every connection. */
void connection_no_delay(int fd);
/* Raise the limit of open files as far as it goes and return it. */
unsigned descriptor_limit(void);

#endif
