/* Cores that this process may use: affinity, and the CPU time that its control groups leave it. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <consilium/device.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP_PATH_MAX = 4096 };

/* Cores that `cpu.max` of one control group grants: "QUOTA PERIOD" in microseconds, or "max". */
static uint32_t granted_by(const char *folder)
{
    char path[2 * GROUP_PATH_MAX + 16];
    char line[64] = "";
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    FILE *file = fopen(path, "r");
    char *end = line;
    bool found = file && fgets(line, sizeof line, file);
    unsigned long long quota = found ? strtoull(line, &end, 10) : 0;
    found = end != line;
    unsigned long long period = found ? strtoull(end, NULL, 10) : 0;
    if (file) {
        fclose(file);
    }
    if (!found || period == 0) {
        return UINT32_MAX;
    }
    unsigned long long cores = quota / period + (quota % period != 0);
    return cores < 1 ? 1 : cores < UINT32_MAX ? (uint32_t)cores : UINT32_MAX;
}

uint32_t csl_core_quota(const char *root)
{
    char path[GROUP_PATH_MAX];
    char line[GROUP_PATH_MAX];
    const char *group = NULL;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "r");
    while (file && !group && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        group = strncmp(line, "0::/", 4) == 0 ? line + 3 : NULL; /* version 2 */
    }
    if (file) {
        fclose(file);
    }
    if (!group) {
        return UINT32_MAX;
    }
    char folder[2 * GROUP_PATH_MAX];
    int top = snprintf(folder, sizeof folder, "%s/sys/fs/cgroup", root);
    snprintf(folder + top, sizeof folder - (size_t)top, "%s", group);
    /* The tightest of the group and all above it. */
    uint32_t least = UINT32_MAX;
    for (;;) {
        uint32_t granted = granted_by(folder);
        least = granted < least ? granted : least;
        char *slash = strrchr(folder + top, '/');
        if (!slash) {
            return least;
        }
        *slash = 0;
    }
}

uint32_t csl_usable_cores(uint8_t *marks)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    uint32_t count = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        CPU_SET(0, &set); /* more cores than a cpu_set_t names: count at least this one */
    }
    for (uint32_t core = 0; core < CSL_CORES_MAX; core++) {
        bool usable = CPU_ISSET(core, &set);
        count += usable;
        if (marks) {
            marks[core] = usable;
        }
    }
    uint32_t quota = csl_core_quota("");
    count = count < quota ? count : quota;
    return count > 0 ? count : 1;
}
