#include "nl_files.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

int nl_files_open(struct nl_files *files, struct nl_ring *ring, unsigned total, unsigned margin)
{
    memset(files, 0, sizeof(*files));
    struct rlimit limit;
    /* The kernel refuses a table larger than the descriptor limit, although its slots do not count against it. */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < total)
        total = (unsigned)limit.rlim_cur;
    if (total <= margin)
        return -EINVAL;
    files->free = malloc(total * sizeof(int));
    if (!files->free)
        return -ENOMEM;
    struct io_uring_rsrc_register registration = {.nr = total, .flags = IORING_RSRC_REGISTER_SPARSE};
    int error = nl_ring_control(ring, IORING_REGISTER_FILES2, &registration, sizeof(registration));
    if (error < 0) {
        nl_files_close(files);
        return error;
    }
    /* The lowest slots come first, so that a small server stays in a few cache lines of the kernel's table. */
    for (unsigned i = 0; i < total; i++)
        files->free[i] = (int)(total - 1 - i);
    files->total = files->unused = total;
    files->margin = margin;
    return 0;
}

void nl_files_close(struct nl_files *files)
{
    free(files->free);
    memset(files, 0, sizeof(*files));
}

int nl_files_put(struct nl_ring *ring, int slot, int descriptor)
{
    struct io_uring_rsrc_update update = {.offset = (unsigned)slot, .data = (uintptr_t)&descriptor};
    int done = nl_ring_control(ring, IORING_REGISTER_FILES_UPDATE, &update, 1);
    return done < 0 ? done : done == 1 ? 0 : -EBADF;
}
