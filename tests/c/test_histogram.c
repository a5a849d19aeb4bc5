/* Counting times, and what of a loop's life counts as a turn's work. */
#include <stdbool.h>

#include "check.h"
#include "nl_meter.h"

#define MICROSECOND INT64_C(1000)
#define MILLISECOND (1000 * MICROSECOND)
#define OVERFLOW (NL_HISTOGRAM_BUCKETS - 1)

static uint64_t counted(const struct nl_histogram *histogram)
{
    uint64_t count = 0;
    for (unsigned bucket = 0; bucket < NL_HISTOGRAM_BUCKETS; bucket++)
        count += histogram->counts[bucket];
    return count;
}

/* Another random time, of any order of magnitude. */
static uint64_t some_time(void)
{
    uint64_t time = check_random();
    time = time << 32 | check_random();
    return time >> (check_random() % 64);
}

static void pass_time(int64_t time)
{
    int64_t end = nl_clock(CLOCK_MONOTONIC) + time;
    while (nl_clock(CLOCK_MONOTONIC) < end)
        continue;
}

CASE(bounds_rise_from_a_microsecond_to_a_hundred_seconds)
{
    CHECK_EQUAL(nl_histogram_bound(0), MICROSECOND);
    CHECK_EQUAL(nl_histogram_bound(1), 1100);
    CHECK_EQUAL(nl_histogram_bound(NL_HISTOGRAM_STEPS), 10 * MICROSECOND);
    CHECK_EQUAL(nl_histogram_bound(OVERFLOW - 1), 100 * NL_SECOND);
    CHECK(nl_histogram_bound(OVERFLOW) == UINT64_MAX);
    for (unsigned bucket = 1; bucket < NL_HISTOGRAM_BUCKETS; bucket++)
        CHECK(nl_histogram_bound(bucket) > nl_histogram_bound(bucket - 1));
}

CASE(a_bound_belongs_to_the_bucket_that_it_ends)
{
    for (unsigned bucket = 0; bucket < OVERFLOW; bucket++) {
        CHECK_EQUAL(nl_histogram_bucket(nl_histogram_bound(bucket)), bucket);
        CHECK_EQUAL(nl_histogram_bucket(nl_histogram_bound(bucket) + 1), bucket + 1);
    }
}

CASE(every_time_is_in_its_bucket)
{
    for (int i = 0; i < 1000000; i++) {
        uint64_t time = some_time();
        unsigned bucket = nl_histogram_bucket(time);
        CHECK(bucket < NL_HISTOGRAM_BUCKETS);
        CHECK(time <= nl_histogram_bound(bucket));
        CHECK(bucket == 0 || time > nl_histogram_bound(bucket - 1));
    }
}

CASE(buckets_are_a_tenth_of_their_times_wide_at_most)
{
    for (unsigned bucket = 1; bucket < OVERFLOW; bucket++) {
        uint64_t bound = nl_histogram_bound(bucket), before = nl_histogram_bound(bucket - 1);
        CHECK((bound - before) * 10 <= before);
    }
}

CASE(the_bounds_that_people_ask_about_are_bounds)
{
    static const int64_t digits[] = {10, 20, 25, 50};
    for (int64_t unit = MICROSECOND; unit < 10 * NL_SECOND; unit *= 10)
        for (unsigned i = 0; i < sizeof(digits) / sizeof(*digits); i++) {
            uint64_t bound = (uint64_t)(digits[i] * unit);
            CHECK(nl_histogram_bound(nl_histogram_bucket(bound)) == bound);
        }
}

CASE(times_are_counted_and_added_up)
{
    struct nl_histogram histogram = {0};
    nl_histogram_add(&histogram, 0);
    nl_histogram_add(&histogram, -5);
    nl_histogram_add(&histogram, 2 * MILLISECOND);
    nl_histogram_add(&histogram, 2 * MILLISECOND);
    nl_histogram_add(&histogram, 200 * NL_SECOND);
    nl_histogram_add(&histogram, INT64_MAX / 2);
    CHECK_EQUAL(histogram.counts[0], 2);
    CHECK_EQUAL(histogram.counts[nl_histogram_bucket(2 * MILLISECOND)], 2);
    CHECK_EQUAL(histogram.counts[OVERFLOW], 2);
    CHECK_EQUAL(counted(&histogram), 6);
    CHECK_EQUAL(histogram.sum, 4 * MILLISECOND + 200 * NL_SECOND + INT64_MAX / 2);
}

CASE(a_rest_is_no_work)
{
    struct nl_meter meter = {0};
    nl_meter_go_on(&meter);
    pass_time(MILLISECOND);
    nl_meter_rest(&meter);
    uint64_t work = meter.turns.sum;
    CHECK_EQUAL(counted(&meter.turns), 1);
    CHECK(work >= (uint64_t)MILLISECOND);
    pass_time(MILLISECOND);
    nl_meter_rest(&meter);
    CHECK_EQUAL(counted(&meter.turns), 1);
    CHECK_EQUAL(meter.turns.sum, work);
}

CASE(turns_without_a_rest_leave_no_time_out)
{
    struct nl_meter meter = {0};
    int64_t begun = nl_clock(CLOCK_MONOTONIC);
    nl_meter_go_on(&meter);
    CHECK_EQUAL(counted(&meter.turns), 0);
    for (int i = 0; i < 10; i++) {
        pass_time(100 * MICROSECOND);
        nl_meter_go_on(&meter);
    }
    CHECK_EQUAL(counted(&meter.turns), 10);
    CHECK(meter.turns.sum >= (uint64_t)MILLISECOND);
    CHECK(meter.turns.sum <= (uint64_t)(nl_clock(CLOCK_MONOTONIC) - begun));
}

CASE(lateness_is_counted_from_when_a_timer_was_due)
{
    double now = (double)nl_clock(CLOCK_MONOTONIC) / NL_SECOND;
    CHECK(nl_lateness(now - 0.5) >= NL_SECOND / 2 - MICROSECOND);
    CHECK(nl_lateness(now - 0.5) < 10 * NL_SECOND);
    CHECK_EQUAL(nl_lateness(now + 3600), 0);
}
