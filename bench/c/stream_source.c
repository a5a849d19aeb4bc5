#include "stream_source.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

#define SMALLEST_PERIOD 4099u

static void allocate(struct stream_source *source, size_t period)
{
    source->period = period;
    source->bytes = malloc(2 * period);
    if (source->bytes == NULL)
        fail(ENOMEM, "cannot allocate %zu bytes of message data", 2 * period);
}

void source_random(struct stream_source *source, size_t message_size)
{
    size_t period = (2 * message_size + 61) | 1u;
    allocate(source, period < SMALLEST_PERIOD ? SMALLEST_PERIOD : period);
    uint64_t state = 0x9e3779b97f4a7c15ull;
    for (size_t i = 0; i < source->period; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        source->bytes[i] = (char)(state >> 32);
    }
    memcpy(source->bytes + source->period, source->bytes, source->period);
}

void source_bytes(struct stream_source *source, const char *bytes, size_t length)
{
    allocate(source, length);
    memcpy(source->bytes, bytes, length);
    memcpy(source->bytes + length, bytes, length);
}

void source_free(struct stream_source *source)
{
    free(source->bytes);
    source->bytes = NULL;
}
