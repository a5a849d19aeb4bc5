#include "descriptors.h"

#include <errno.h>
#include <sys/resource.h>

#include "fail.h"

void raise_descriptor_limit(unsigned connections)
{
    const rlim_t needed = connections + 16u;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(errno, "cannot read the limit of open files");
    if (limit.rlim_cur >= needed)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_max < needed || setrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail(0, "%u connections need %lu open files, but the hard limit (ulimit -Hn) is %lu", connections,
             (unsigned long)needed, (unsigned long)limit.rlim_max);
}
