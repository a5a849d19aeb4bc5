#define _GNU_SOURCE
#include "http_reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *parse_head(struct http_reply *reply, const struct file_bytes *expected)
{
    static const char length_name[] = "content-length:";
    if (strncmp(reply->head, "HTTP/1.1 200", 12) != 0)
        return "the status is not HTTP/1.1 200";
    const char *value = NULL;
    for (char *line = strstr(reply->head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, length_name, sizeof length_name - 1) == 0)
            value = line + 2 + sizeof length_name - 1;
    if (value == NULL)
        return "the reply has no Content-Length";
    char *end;
    reply->body_length = strtoul(value, &end, 10);
    if (end == value || *end != '\r')
        return "the Content-Length is not a number";
    if (expected->bytes != NULL && expected->length != reply->body_length)
        return "the Content-Length is not that of the expected body";
    reply->in_body = true;
    reply->body_seen = 0;
    return NULL;
}

/* Copy bytes into the head until its empty line; only then is the body's length known. */
static struct http_progress take_head(struct http_reply *reply, const char *data, size_t length,
                                      const struct file_bytes *expected)
{
    struct http_progress progress = {0};
    while (progress.used < length && !reply->in_body && progress.wrong == NULL) {
        if (reply->head_length == HTTP_HEAD_MAX) {
            progress.wrong = "the reply's head is longer than 4096 bytes";
            break;
        }
        reply->head[reply->head_length++] = data[progress.used++];
        if (reply->head_length >= 4 && memcmp(reply->head + reply->head_length - 4, "\r\n\r\n", 4) == 0) {
            reply->head[reply->head_length] = '\0';
            progress.wrong = parse_head(reply, expected);
        }
    }
    return progress;
}

struct http_progress http_reply_take(struct http_reply *reply, const char *data, size_t length,
                                     const struct file_bytes *expected)
{
    struct http_progress progress = take_head(reply, data, length, expected);
    if (progress.wrong != NULL || !reply->in_body)
        return progress;
    size_t left = reply->body_length - reply->body_seen;
    size_t take = length - progress.used < left ? length - progress.used : left;
    if (expected->bytes != NULL && memcmp(expected->bytes + reply->body_seen, data + progress.used, take) != 0)
        progress.wrong = "the body is not the expected one";
    progress.used += take;
    reply->body_seen += take;
    if (reply->body_seen == reply->body_length) {
        progress.complete = true;
        reply->in_body = false;
        reply->head_length = 0;
    }
    return progress;
}
