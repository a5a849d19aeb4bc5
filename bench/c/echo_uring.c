/*
 * The limit: a TCP echo server in C with nothing between it and io_uring. Multishot accept, multishot receive into a
 * provided-buffer ring, echoed from the very buffers the kernel chose.
 */
#include "fail.h"
#include "forward.h"

enum { ACCEPT = OWN };

static void on_accept(struct forward *server, unsigned operation, int listener, const struct io_uring_cqe *cqe)
{
    (void)listener;
    int fd = forward_accepted(server, operation, cqe);
    if (fd < 0)
        return;
    forward_add(server, fd, fd);
    forward_receive(server, fd);
}

int main(int argc, char **argv)
{
    static struct forward server;
    if (argc != 1 && argc != 3)
        fail(0, "usage: echo_uring [BUFFERS BUFFER_SIZE]");
    forward_open(&server, argc - 1, argv + 1);
    forward_accept(&server, ACCEPT);
    forward_serve(&server, on_accept);
}
