/*
 * The limit of a TCP relay: each connection is passed on to a server on a port of 127.0.0.1, both ways, from the buffers
 * of a provided-buffer ring into which multishot receives have put it. The end of one direction is passed on, too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fail.h"
#include "forward.h"
#include "listener.h"

enum { ACCEPT = OWN, CONNECT };

static struct sockaddr_in target;

static void on_accept(struct forward *relay, const struct io_uring_cqe *cqe)
{
    int near = forward_accepted(relay, ACCEPT, cqe);
    if (near < 0)
        return;
    int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (far < 0)
        fail(errno, "cannot create a socket");
    connection_no_delay(far);
    forward_add(relay, near, far);
    forward_add(relay, far, near);
    struct io_uring_sqe *sqe = forward_prepare(relay, CONNECT, IORING_OP_CONNECT, far);
    sqe->addr = (uint64_t)(uintptr_t)&target;
    sqe->off = sizeof target;
    relay->connections[far].busy = true;
}

static void on_connect(struct forward *relay, int far, const struct io_uring_cqe *cqe)
{
    int near = relay->connections[far].other;
    relay->connections[far].busy = false;
    if (cqe->res < 0) {
        forward_give_up(relay, near);
        return;
    }
    forward_receive(relay, near);
    forward_receive(relay, far);
}

static void on_own(struct forward *relay, unsigned operation, int fd, const struct io_uring_cqe *cqe)
{
    if (operation == ACCEPT)
        on_accept(relay, cqe);
    else
        on_connect(relay, fd, cqe);
}

int main(int argc, char **argv)
{
    static struct forward relay;
    if (argc != 2 && argc != 4)
        fail(0, "usage: relay_uring PORT [BUFFERS BUFFER_SIZE]");
    target.sin_family = AF_INET;
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    target.sin_port = htons((uint16_t)forward_parse(argv[1], "PORT", 1, 65535, false));
    forward_open(&relay, argc - 2, argv + 2);
    forward_accept(&relay, ACCEPT);
    forward_serve(&relay, on_own);
}
