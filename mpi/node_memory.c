#include "node_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A number in a file; UINT64_MAX for "max" and where there is no such file. */
static uint64_t read_limit(const char *folder, const char *name)
{
    char path[2 * CSL_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    char text[64] = "";
    bool found = file && fgets(text, sizeof text, file) && text[0] >= '0' && text[0] <= '9';
    if (file) {
        fclose(file);
    }
    return found ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* The least limit of a group and of those above it. */
static uint64_t limit_up_from(const char *mount, const char *group, const char *name)
{
    char folder[CSL_PATH_MAX];
    int length = snprintf(folder, sizeof folder, "%s%s", mount, group);
    uint64_t least = UINT64_MAX;
    if (length < 0 || length >= CSL_PATH_MAX) {
        return least;
    }
    for (size_t top = strlen(mount); strlen(folder) >= top;) {
        uint64_t limit = read_limit(folder, name);
        least = limit < least ? limit : least;
        char *slash = strrchr(folder, '/');
        if (!slash || strlen(folder) == top) {
            break;
        }
        *slash = 0;
    }
    return least;
}

uint64_t csl_control_group_limit(const char *groups_path, const char *mount)
{
    FILE *file = fopen(groups_path, "r");
    char line[CSL_PATH_MAX];
    uint64_t least = UINT64_MAX;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) {
            continue;
        }
        *group++ = 0;
        char version_1[CSL_PATH_MAX];
        snprintf(version_1, sizeof version_1, "%s/memory", mount);
        uint64_t limit = UINT64_MAX;
        if (controllers[1] == 0) {
            limit = limit_up_from(mount, group, "memory.max");
        } else if (strcmp(controllers + 1, "memory") == 0) {
            limit = limit_up_from(version_1, group, "memory.limit_in_bytes");
        }
        least = limit < least ? limit : least;
    }
    if (file) {
        fclose(file);
    }
    return least;
}

uint64_t csl_node_memory_share(const csl_communicator *communicator)
{
    uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);
    uint64_t size = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = csl_control_group_limit("/proc/self/cgroup", "/sys/fs/cgroup");
    return (limit < size ? limit : size) / 2 / csl_communicator_local_size(communicator);
}
