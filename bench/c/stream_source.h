/*
 * What a connection sends: an endless stream that repeats with a given period. The bytes are kept twice in a row, so
 * that any run of up to one period is contiguous from every position and can be sent and compared in place.
 */
#ifndef BENCH_STREAM_SOURCE_H
#define BENCH_STREAM_SOURCE_H

#include <stddef.h>

struct stream_source {
    char *bytes;
    size_t period;
};

/*
 * Pseudo-random bytes, the same in every run. The period is odd and longer than two messages, so that one message
 * differs from the next and a server that mixes up messages or connections is found out.
 */
void source_random(struct stream_source *source, size_t message_size);
/* The given bytes again and again. */
void source_bytes(struct stream_source *source, const char *bytes, size_t length);
void source_free(struct stream_source *source);

static inline size_t source_advance(const struct stream_source *source, size_t position, size_t count)
{
    position += count;
    return position >= source->period ? position - source->period : position;
}

#endif
