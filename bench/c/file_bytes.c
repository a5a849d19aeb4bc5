#define _GNU_SOURCE
#include "file_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"

struct file_bytes file_bytes_of(const char *path)
{
    struct file_bytes found = {0};
    struct stat status;
    if (path == NULL)
        return found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        fail(errno, "cannot read %s", path);
    if (status.st_size <= 0)
        fail(0, "%s is empty", path);
    found.length = (size_t)status.st_size;
    void *mapped = mmap(NULL, found.length, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (mapped == MAP_FAILED)
        fail(errno, "cannot map %s", path);
    found.bytes = mapped;
    close(fd);
    return found;
}
