#define _GNU_SOURCE
#include "connecting.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_SECONDS 5
#define UPGRADE_REPLY_MAX 4096u
/* Each source address has some 28,000 ports, and a closed connection keeps its own for a minute. */
#define CHURN_ADDRESSES 200u

static bool bind_source(int fd, unsigned number)
{
    const int one = 1;
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1u + number % CHURN_ADDRESSES)};
    return setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) == 0 &&
           bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
}

static bool configure(const struct load_options *options, int fd)
{
    /* The send timeout bounds connect as well (socket(7)). */
    const struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
    const int one = 1;
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0 &&
           (options->udp || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
}

static int connect_socket(struct load *load)
{
    const struct load_options *options = load->options;
    int fd = socket(AF_INET, (options->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)options->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (!configure(options, fd) || (options->churn && !bind_source(fd, load->opened++)) ||
        connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int reason = errno == EINPROGRESS ? ETIMEDOUT : errno;
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

/* The server sends nothing after its head before it gets a message, so the head's end is the end of what comes. */
static const char *upgrade(const struct load *load, int fd)
{
    char reply[UPGRADE_REPLY_MAX + 1] = "";
    size_t length = 0;
    if (send(fd, load->upgrade.bytes, load->upgrade.length, MSG_NOSIGNAL) != (ssize_t)load->upgrade.length)
        return "cannot send the request for an upgrade";
    while (strstr(reply, "\r\n\r\n") == NULL) {
        ssize_t received = recv(fd, reply + length, UPGRADE_REPLY_MAX - length, 0);
        if (received <= 0)
            return "no complete reply to the request for an upgrade";
        length += (size_t)received;
        reply[length] = '\0';
    }
    if (strncmp(reply, "HTTP/1.1 101", 12) != 0)
        return "the upgrade was refused";
    return strcmp(reply + length - 4, "\r\n\r\n") == 0 ? NULL : "bytes came with the upgrade that nobody asked for";
}

void disconnect_client(struct client *client)
{
    if (client->tls != NULL)
        tls_close(client->tls);
    client->tls = NULL;
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

bool connect_client(struct load *load, struct client *client, const char **why, int *errnum)
{
    *why = NULL;
    *errnum = 0;
    int fd = connect_socket(load);
    if (fd < 0) {
        *why = "cannot connect";
        *errnum = errno;
        return false;
    }
    if (load->options->tls)
        client->tls = tls_open(fd, why);
    if (*why == NULL && load->upgrade.bytes != NULL)
        *why = upgrade(load, fd);
    if (*why == NULL && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        *why = "cannot make the socket non-blocking";
    client->fd = fd;
    if (*why != NULL)
        disconnect_client(client);
    return *why == NULL;
}
