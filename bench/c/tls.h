/*
 * TLS for a connection of the load generator, by the system's libssl. The library is loaded when the first connection
 * asks for it, and the few functions needed are declared here, so that building takes no headers of OpenSSL.
 */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <stddef.h>
#include <sys/types.h>

struct tls;

/* Shake hands on a blocking, connected socket. NULL with a reason in *why when that fails. */
struct tls *tls_open(int fd, const char **why);
/* As send(2) and recv(2) on a non-blocking socket: -1 with EAGAIN when it would block, 0 at the end of the stream. */
ssize_t tls_send(struct tls *tls, const char *bytes, size_t length);
ssize_t tls_receive(struct tls *tls, char *bytes, size_t length);
void tls_close(struct tls *tls);

#endif
