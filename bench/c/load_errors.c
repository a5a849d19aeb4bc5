#include "load_errors.h"

#include <stdarg.h>
#include <stdio.h>

const char *const load_error_names[LOAD_ERROR_KINDS] = {"connect", "mismatch", "closed", "io", "http", "stalled"};

void load_errors_add(struct load_errors *errors, enum load_error kind, const char *format, ...)
{
    errors->counts[kind]++;
    if (errors->first[0] != '\0')
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(errors->first, sizeof errors->first, format, arguments);
    va_end(arguments);
}

uint64_t load_errors_total(const struct load_errors *errors)
{
    uint64_t total = 0;
    for (unsigned kind = 0; kind < LOAD_ERROR_KINDS; kind++)
        total += errors->counts[kind];
    return total;
}
