#include "histogram.h"

#include <string.h>

static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_SUBS)
        return (unsigned)value;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(value);
    unsigned sub = (unsigned)(value >> (exponent - HISTOGRAM_SUB_BITS)) & (HISTOGRAM_SUBS - 1u);
    return (exponent - HISTOGRAM_SUB_BITS + 1u) * HISTOGRAM_SUBS + sub;
}

static uint64_t middle_of(unsigned bucket)
{
    if (bucket < HISTOGRAM_SUBS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_SUBS - 1u;
    uint64_t low = (uint64_t)(HISTOGRAM_SUBS + bucket % HISTOGRAM_SUBS) << shift;
    return low + ((1ull << shift) >> 1);
}

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->count++;
    h->sum += value;
    if (value > h->max)
        h->max = value;
    h->buckets[bucket_of(value)]++;
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
    if (h->count == 0)
        return 0;
    double exact = share * (double)h->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += h->buckets[bucket];
        if (seen >= rank)
            return middle_of(bucket) < h->max ? middle_of(bucket) : h->max;
    }
    return h->max;
}
