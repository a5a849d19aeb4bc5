/*
 * How often something took how long: counters of times, in buckets that are two significant decimal digits wide.
 *
 * Up to 1 us is one bucket; from there on each power of ten has ninety of the same width, so that a bucket is at most
 * a tenth of its times wide, and every bound that people like to ask about, such as 25 ms, is the bound of a bucket.
 * Beyond 100 s is the last one. As in the formats that such counters are exported in, a bound belongs to the bucket
 * below it.
 *
 * One thread counts; others may read, each word as it was at some moment.
 */
#ifndef NL_HISTOGRAM_H
#define NL_HISTOGRAM_H

#include <stdint.h>

#define NL_HISTOGRAM_FIRST UINT64_C(1000) /* the bound of the first bucket, nanoseconds */
#define NL_HISTOGRAM_STEPS 90             /* buckets of a power of ten */
#define NL_HISTOGRAM_DECADES 8
#define NL_HISTOGRAM_BUCKETS (1 + NL_HISTOGRAM_DECADES * NL_HISTOGRAM_STEPS + 1)

struct nl_histogram {
    uint64_t sum; /* nanoseconds */
    uint64_t counts[NL_HISTOGRAM_BUCKETS];
};

/* The bucket of a time in nanoseconds. */
static inline unsigned nl_histogram_bucket(uint64_t time)
{
    uint64_t step = NL_HISTOGRAM_FIRST / 10, below;
    unsigned bucket = 1;
    if (time <= NL_HISTOGRAM_FIRST)
        return 0;
    below = time - 1; /* so that a bound is in the bucket which it ends */
    while (below >= 100 * step) {
        bucket += NL_HISTOGRAM_STEPS;
        if (bucket == NL_HISTOGRAM_BUCKETS - 1)
            return bucket;
        step *= 10;
    }
    /* Most times fit 32 bits, whose division takes many processors a third of the time. */
    if (below <= UINT32_MAX)
        return bucket + (uint32_t)below / (uint32_t)step - 10;
    return bucket + (unsigned)(below / step) - 10;
}

/* The longest time of a bucket, in nanoseconds; UINT64_MAX for the last one. */
static inline uint64_t nl_histogram_bound(unsigned bucket)
{
    uint64_t step = NL_HISTOGRAM_FIRST / 10;
    if (bucket == 0)
        return NL_HISTOGRAM_FIRST;
    if (bucket >= NL_HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX;
    for (bucket--; bucket >= NL_HISTOGRAM_STEPS; bucket -= NL_HISTOGRAM_STEPS)
        step *= 10;
    return (bucket + 11) * step;
}

/* Count a time in nanoseconds. What is less than nothing, by the clock's resolution, is nothing. */
static inline void nl_histogram_add(struct nl_histogram *histogram, int64_t time)
{
    uint64_t counted = time > 0 ? (uint64_t)time : 0;
    histogram->sum += counted;
    histogram->counts[nl_histogram_bucket(counted)]++;
}

#endif
