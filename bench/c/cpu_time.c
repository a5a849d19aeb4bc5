#include "cpu_time.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

static bool thread_ticks(pid_t pid, const char *thread, struct main_thread *ticks)
{
    char path[320];
    char line[1024];
    snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)pid, thread);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    /* The thread's name is in parentheses and may hold anything, parentheses too; utime is the 12th field after it. */
    const char *rest = strrchr(line, ')');
    return rest != NULL && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
                                  &ticks->user_ticks, &ticks->kernel_ticks) == 2;
}

bool cpu_time_of(pid_t pid, uint64_t *nanoseconds, struct main_thread *main)
{
    char path[64];
    char first[16];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    snprintf(first, sizeof first, "%d", (int)pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return false;
    *nanoseconds = 0;
    bool found = false;
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        uint64_t run_time;
        /* A thread may end between the listing and the reading; it is then simply not there any more. */
        if (entry->d_name[0] == '.' || !thread_run_time(pid, entry->d_name, &run_time))
            continue;
        *nanoseconds += run_time;
        if (strcmp(entry->d_name, first) != 0)
            continue;
        found = main == NULL || thread_ticks(pid, first, main);
        if (main != NULL)
            main->nanoseconds = run_time;
    }
    closedir(threads);
    return found;
}
