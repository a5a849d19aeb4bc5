/*
 * A test program is a list of cases. CASE(name) { ... } defines one; `program name` runs it, `program` runs all of
 * them, and `program --list` names them. A check that fails says where and what, and ends the program.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_CASES 64

/* Not inline: with the sanitizers' checks in every copy of it, a test would take long to compile. */
#define OUT_OF_LINE static __attribute__((unused, noinline))

struct check_case {
    const char *name;
    void (*run)(void);
};

static struct check_case check_cases[CHECK_CASES];
static unsigned check_count;

OUT_OF_LINE void check_add(const char *name, void (*run)(void))
{
    if (check_count == CHECK_CASES) {
        fprintf(stderr, "more than %d cases in one program: raise CHECK_CASES\n", CHECK_CASES);
        exit(2);
    }
    check_cases[check_count++] = (struct check_case){.name = name, .run = run};
}

#define CASE(name)                                                                                                     \
    static void name(void);                                                                                            \
    __attribute__((constructor)) static void check_add_##name(void)                                                    \
    {                                                                                                                  \
        check_add(#name, name);                                                                                        \
    }                                                                                                                  \
    static void name(void)

OUT_OF_LINE void check_true(int holds, const char *text, const char *file, int line)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
    exit(1);
}

/* Most values here are results that may be -errno, so a failure names the error too. */
OUT_OF_LINE void check_equal(long long actual, long long expected, const char *text, const char *file, int line)
{
    if (actual == expected)
        return;
    fprintf(stderr, "%s:%d: %s is %lld", file, line, text, actual);
    if (actual < 0 && actual > -4096)
        fprintf(stderr, " (%s)", strerror((int)-actual));
    fprintf(stderr, ", expected %lld\n", expected);
    exit(1);
}

#define CHECK(condition) check_true(!!(condition), #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(actual, expected)                                                                                  \
    check_equal((long long)(actual), (long long)(expected), #actual, __FILE__, __LINE__)

/* Pseudo-random numbers that are the same in every run (xorshift). */
OUT_OF_LINE uint32_t check_random(void)
{
    static uint32_t state = 2463534242U;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (unsigned i = 0; i < check_count; i++)
            puts(check_cases[i].name);
        return 0;
    }
    unsigned ran = 0;
    for (unsigned i = 0; i < check_count; i++) {
        if (argc > 1 && strcmp(argv[1], check_cases[i].name) != 0)
            continue;
        check_cases[i].run();
        ran++;
    }
    if (!ran)
        fprintf(stderr, "there is no case %s\n", argc > 1 ? argv[1] : "in this program");
    return ran ? 0 : 2;
}

#endif
