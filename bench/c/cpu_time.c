#include "cpu_time.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

static bool thread_run_time(pid_t pid, const char *thread, uint64_t *nanoseconds)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, thread);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool found = fscanf(file, "%" SCNu64, nanoseconds) == 1;
    fclose(file);
    return found;
}

bool cpu_time_of(pid_t pid, uint64_t *nanoseconds)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return false;
    *nanoseconds = 0;
    unsigned counted = 0;
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        uint64_t run_time;
        /* A thread may end between the listing and the reading; it is then simply not there any more. */
        if (entry->d_name[0] != '.' && thread_run_time(pid, entry->d_name, &run_time)) {
            *nanoseconds += run_time;
            counted++;
        }
    }
    closedir(threads);
    return counted > 0;
}
