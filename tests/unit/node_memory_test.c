/* Limits of control groups, in folders laid out as Linux does. */
#include "node_memory.h"
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char folder_[] = "/tmp/csl-groups-XXXXXX";

static void put(const char *name, const char *text)
{
    char path[CSL_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder_, name);
    for (char *slash = path + strlen(folder_) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    CU_ASSERT_FATAL(file != NULL);
    fputs(text, file);
    fclose(file);
}

static uint64_t limit_of(const char *groups)
{
    char path[CSL_PATH_MAX];
    put("groups", groups);
    snprintf(path, sizeof path, "%s/groups", folder_);
    return csl_control_group_limit(path, folder_);
}

static void the_least_limit_up_the_tree_holds(void)
{
    put("memory.max", "max\n"); /* a container's root */
    put("slurm/memory.max", "9000000000\n");
    put("slurm/job_1/memory.max", "4000000000\n");
    put("slurm/job_1/step_0/memory.max", "max\n");
    CU_ASSERT_EQUAL(limit_of("0::/slurm/job_1/step_0\n"), 4000000000U);
    CU_ASSERT_EQUAL(limit_of("0::/slurm/job_1\n"), 4000000000U);
    CU_ASSERT_EQUAL(limit_of("0::/slurm\n"), 9000000000U);
    CU_ASSERT_EQUAL(limit_of("0::/\n"), UINT64_MAX);
    put("memory.max", "700\n");
    CU_ASSERT_EQUAL(limit_of("0::/slurm/job_1/step_0\n"), 700);
    put("memory.max", "max\n");
}

static void version_one_has_a_folder_of_its_own(void)
{
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/slurm/job_2/memory.limit_in_bytes", "123456789\n");
    CU_ASSERT_EQUAL(limit_of("12:cpu,cpuacct:/slurm/job_2\n7:memory:/slurm/job_2\n1:name=x:/\n"),
                    123456789);
    /* Only the controller of memory counts, and the lesser of both versions. */
    CU_ASSERT_EQUAL(limit_of("7:cpuset:/slurm/job_2\n"), UINT64_MAX);
    CU_ASSERT_EQUAL(limit_of("7:memory:/slurm/job_2\n0::/slurm/job_1\n"), 123456789);
    /* A group that is not to be seen from inside a container: what is above it. */
    CU_ASSERT_EQUAL(limit_of("7:memory:/docker/abc\n"), 9223372036854771712U);
}

static void what_cannot_be_read_sets_no_limit(void)
{
    CU_ASSERT_EQUAL(csl_control_group_limit("/nowhere/cgroup", folder_), UINT64_MAX);
    CU_ASSERT_EQUAL(limit_of(""), UINT64_MAX);
    CU_ASSERT_EQUAL(limit_of("nonsense\n:\n0:\n0::"), UINT64_MAX);
    put("strange/memory.max", "-1\n");
    CU_ASSERT_EQUAL(limit_of("0::/strange\n"), UINT64_MAX);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"the least limit up the tree holds", the_least_limit_up_the_tree_holds},
        {"version one has a folder of its own", version_one_has_a_folder_of_its_own},
        {"what cannot be read sets no limit", what_cannot_be_read_sets_no_limit},
    };
    if (!mkdtemp(folder_)) {
        perror(folder_);
        return 1;
    }
    int failed = csl_test_main("node memory", cases, sizeof cases / sizeof *cases);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder_);
    return system(command) == 0 ? failed : 1;
}
