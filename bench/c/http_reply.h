/* Reading HTTP/1.1 replies that have a Content-Length, one after another, from chunks of any size. */
#ifndef BENCH_HTTP_REPLY_H
#define BENCH_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "file_bytes.h"

#define HTTP_HEAD_MAX 4096u

struct http_reply {
    bool in_body;
    size_t head_length;
    size_t body_length;
    size_t body_seen;
    char head[HTTP_HEAD_MAX + 1];
};

struct http_progress {
    size_t used;       /* how many bytes of the chunk belong to this reply */
    bool complete;     /* the reply ends with the last of them */
    const char *wrong; /* what is not as it must be, or NULL */
};

/* Take bytes of a reply; after `complete` the next one begins. A body other than `expected` (if any bytes) is wrong. */
struct http_progress http_reply_take(struct http_reply *reply, const char *data, size_t length,
                                     const struct file_bytes *expected);

#endif
