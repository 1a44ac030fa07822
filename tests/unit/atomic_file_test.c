#include "test_support.h"

#include <consilium/atomic_file.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder_[] = "/tmp/csl-atomic-XXXXXX";

/* `name` in the test's own folder; four answers stay valid. */
static const char *at(const char *name)
{
    static char paths[4][CSL_PATH_MAX];
    static int next;
    char *path = paths[next = (next + 1) % 4];
    snprintf(path, CSL_PATH_MAX, "%s/%s", folder_, name);
    return path;
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CU_ASSERT_FATAL(file != NULL);
    fputs(text, file);
    fclose(file);
}

static void check_text(const char *path, const char *expected)
{
    char text[64] = "";
    FILE *file = fopen(path, "r");
    CU_ASSERT_FATAL(file != NULL);
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    CU_ASSERT_STRING_EQUAL(text, expected);
}

static void a_file_is_replaced_only_when_it_is_whole(void)
{
    char temporary[CSL_PATH_MAX];
    put(at("kept"), "old");
    CHECK_OK(csl_atomic_begin(at("kept"), temporary));
    put(temporary, "new");
    check_text(at("kept"), "old");
    csl_atomic_abandon(temporary);
    check_text(at("kept"), "old");
    put(temporary, "newer");
    CHECK_OK(csl_atomic_commit(temporary, at("kept")));
    check_text(at("kept"), "newer");
    CU_ASSERT(access(temporary, F_OK) != 0);
}

static void a_link_is_followed_and_stays_a_link(void)
{
    char temporary[CSL_PATH_MAX];
    struct stat info;
    put(at("target"), "old");
    CU_ASSERT_FATAL(symlink("target", at("link")) == 0);
    CHECK_OK(csl_atomic_begin(at("link"), temporary));
    put(temporary, "new");
    CHECK_OK(csl_atomic_commit(temporary, at("link")));
    check_text(at("target"), "new");
    CU_ASSERT(lstat(at("link"), &info) == 0 && S_ISLNK(info.st_mode));
    CU_ASSERT_FATAL(symlink("nothing", at("dangling")) == 0);
    CHECK_STATUS(csl_atomic_check(at("dangling")), CSL_E_IO);
    CHECK_CONTAINS(csl_error_message(), "leads nowhere");
}

static void nothing_but_files_is_replaced(void)
{
    char temporary[CSL_PATH_MAX];
    CU_ASSERT_FATAL(mkfifo(at("pipe"), 0600) == 0);
    CU_ASSERT_FATAL(symlink("/dev/null", at("null")) == 0);
    CHECK_STATUS(csl_atomic_check(at("pipe")), CSL_E_INVALID_ARG);
    CHECK_CONTAINS(csl_error_message(), "found a pipe");
    CHECK_STATUS(csl_atomic_begin(at("null"), temporary), CSL_E_INVALID_ARG);
    CHECK_CONTAINS(csl_error_message(), "found a device");
    CHECK_STATUS(csl_atomic_check(folder_), CSL_E_INVALID_ARG);
    CHECK_CONTAINS(csl_error_message(), "found a folder");
    CHECK_STATUS(csl_atomic_check(at("absent/file")), CSL_E_IO);
    CHECK_STATUS(csl_atomic_check(at("absent/")), CSL_E_IO);
    /* What was a file when the writing began must still be one at its end. */
    CHECK_OK(csl_atomic_begin(at("later"), temporary));
    put(temporary, "text");
    CU_ASSERT_FATAL(mkdir(at("later"), 0700) == 0);
    CHECK_STATUS(csl_atomic_commit(temporary, at("later")), CSL_E_INVALID_ARG);
    CU_ASSERT(access(temporary, F_OK) != 0);
}

static void one_file_is_known_under_any_of_its_names(void)
{
    put(at("one"), "1");
    put(at("two"), "2");
    CU_ASSERT_FATAL(symlink("one", at("alias")) == 0);
    CU_ASSERT_FATAL(link(at("one"), at("hard")) == 0);
    CU_ASSERT(csl_same_file(at("one"), at("alias")));
    CU_ASSERT(csl_same_file(at("one"), at("hard")));
    CU_ASSERT(csl_same_file(at("unborn"), at("./unborn")));
    CU_ASSERT(!csl_same_file(at("one"), at("two")));
    CU_ASSERT(!csl_same_file(at("one"), at("unborn")));
    CU_ASSERT(!csl_same_file(at("absent/x"), at("absent/y")));
    CU_ASSERT(csl_file_is_below(at("alias"), folder_));
    CU_ASSERT(csl_file_is_below(at("./unborn"), folder_));
    CU_ASSERT(csl_file_is_below(at("unborn"), "/"));
    CU_ASSERT(!csl_file_is_below("/tmp/csl-atomic-unborn", folder_));
    CU_ASSERT(!csl_file_is_below(at("one"), at("absent")));
}

static void a_program_that_ends_leaves_no_temporary_file(void)
{
    char temporary[4][CSL_PATH_MAX];
    const char *const names[] = {"committed", "abandoned", "begun", "begun-too"};
    for (int i = 0; i < 4; i++) {
        CHECK_OK(csl_atomic_begin(at(names[i]), temporary[i]));
        put(temporary[i], names[i]);
    }
    CHECK_OK(csl_atomic_commit(temporary[0], at("committed")));
    csl_atomic_abandon(temporary[1]);
    /* Whoever has these names now, they are no temporary files of this program any more. */
    put(temporary[0], "another's");
    put(temporary[1], "another's");
    csl_atomic_abandon_all();
    check_text(at("committed"), "committed");
    check_text(temporary[0], "another's");
    check_text(temporary[1], "another's");
    CU_ASSERT(access(temporary[2], F_OK) != 0);
    CU_ASSERT(access(temporary[3], F_OK) != 0);
    csl_atomic_abandon(temporary[2]);
    csl_atomic_abandon(temporary[3]);
}

/* More files than there are places: all are written. */
static void many_files_are_written_at_once(void)
{
    enum { MANY = 200 };
    static char temporary[MANY][CSL_PATH_MAX];
    char name[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        CHECK_OK(csl_atomic_begin(at(name), temporary[i]));
        put(temporary[i], name);
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        CHECK_OK(csl_atomic_commit(temporary[i], at(name)));
        check_text(at(name), name);
    }
    /* Their places are free again. */
    CHECK_OK(csl_atomic_begin(at("last"), temporary[0]));
    put(temporary[0], "text");
    csl_atomic_abandon_all();
    CU_ASSERT(access(temporary[0], F_OK) != 0);
    csl_atomic_abandon(temporary[0]);
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"a file is replaced only when it is whole", a_file_is_replaced_only_when_it_is_whole},
        {"a link is followed and stays a link", a_link_is_followed_and_stays_a_link},
        {"nothing but files is replaced", nothing_but_files_is_replaced},
        {"one file is known under any of its names", one_file_is_known_under_any_of_its_names},
        {"a program that ends leaves no temporary file",
         a_program_that_ends_leaves_no_temporary_file},
        {"many files are written at once", many_files_are_written_at_once},
    };
    if (!mkdtemp(folder_)) {
        perror(folder_);
        return 1;
    }
    int failed = csl_test_main("atomic files", cases, sizeof cases / sizeof *cases);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder_);
    return system(command) == 0 ? failed : 1;
}
