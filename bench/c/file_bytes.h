/* The bytes of a file, to be sent or compared with. */
#ifndef BENCH_FILE_BYTES_H
#define BENCH_FILE_BYTES_H

#include <stddef.h>

struct file_bytes {
    const char *bytes; /* NULL: no file */
    size_t length;
};

/* Map a file for the life of the process; without a path there are no bytes. Ends the process when it cannot. */
struct file_bytes file_bytes_of(const char *path);

#endif
