#include "folder_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "text_check.h"

/* Names of one folder, sorted. */
typedef struct name_list {
    char **names;
    size_t count, capacity;
} name_list;

static void free_names(name_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->names[i]);
    }
    free(list->names);
    *list = (name_list){0};
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static csl_status add_name(name_list *list, const char *name)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        char **names = realloc(list->names, capacity * sizeof *names);
        if (!names) {
            return csl_fail(CSL_E_NO_MEMORY, "no memory for %zu names", capacity);
        }
        list->names = names;
        list->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for a name");
    }
    list->names[list->count++] = copy;
    return CSL_OK;
}

static csl_status list_names(const char *path, name_list *list)
{
    DIR *folder = opendir(path);
    if (!folder) {
        return csl_fail(errno == ENOENT ? CSL_E_NOT_FOUND : CSL_E_IO, "%s: %s", path,
                        strerror(errno));
    }
    csl_status status = CSL_OK;
    for (struct dirent *entry; status == CSL_OK && (entry = readdir(folder));) {
        if (entry->d_name[0] != '.') {
            status = add_name(list, entry->d_name);
        }
    }
    closedir(folder);
    if (status == CSL_OK && list->count > 0) {
        qsort(list->names, list->count, sizeof *list->names, compare_names);
    }
    return status;
}

/* Puts root/name into path_out [CSL_PATH_MAX], which must be a folder or else a plain file. */
static csl_status
enter(const char *root, const char *name, bool folder, const char *expected, char *path_out)
{
    struct stat info;
    int length = snprintf(path_out, CSL_PATH_MAX, "%s/%s", root, name);
    if (length < 0 || length >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a path below %d bytes, found a longer one",
                        root, CSL_PATH_MAX);
    }
    if (stat(path_out, &info) != 0) {
        return csl_fail(CSL_E_IO, "%s: %s", path_out, strerror(errno));
    }
    if (folder ? !S_ISDIR(info.st_mode) : !S_ISREG(info.st_mode)) {
        return csl_fail(CSL_E_FORMAT, "%s: expected %s, found %s", path_out, expected,
                        S_ISDIR(info.st_mode)   ? "a folder"
                        : S_ISREG(info.st_mode) ? "a file"
                                                : "something else");
    }
    return CSL_OK;
}

/* The split a folder's name says, -1 for other names. */
static int split_of(const char *name)
{
    static const struct {
        const char *name;
        csl_split split;
    } known[] = {{"train", CSL_SPLIT_TRAIN},           {"training", CSL_SPLIT_TRAIN},
                 {"val", CSL_SPLIT_VALIDATION},        {"valid", CSL_SPLIT_VALIDATION},
                 {"validation", CSL_SPLIT_VALIDATION}, {"test", CSL_SPLIT_TEST}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) == 0) {
            return (int)known[i].split;
        }
    }
    return -1;
}

/* The name of a class goes into files and tables, unlike that of a picture. */
static csl_status check_class_name(const csl_folder_list *list, const char *name)
{
    char problem[CSL_TEXT_PROBLEM_MAX];
    if (!csl_text_is_sound(name, strlen(name), problem)) {
        return csl_fail(CSL_E_FORMAT, "%s/%s: expected the name of a class in UTF-8, found %s",
                        list->root, name, problem);
    }
    if (strlen(name) >= CSL_NAME_MAX) {
        return csl_fail(CSL_E_FORMAT,
                        "%s/%s: expected the name of a class below %d bytes, found %zu", list->root,
                        name, CSL_NAME_MAX, strlen(name));
    }
    return CSL_OK;
}

static csl_status find_class(csl_folder_list *list, const char *name, uint32_t *index_out)
{
    uint32_t index = 0;
    while (index < list->class_count && strcmp(list->class_names[index], name) != 0) {
        index++;
    }
    if (index == list->class_count) {
        CSL_TRY(check_class_name(list, name));
        if (index == CSL_CLASSES_MAX) {
            return csl_fail(CSL_E_FORMAT, "%s: expected at most %d classes, found '%s' too",
                            list->root, CSL_CLASSES_MAX, name);
        }
        memcpy(list->class_names[index], name, strlen(name) + 1);
        list->class_count++;
    }
    *index_out = index;
    return CSL_OK;
}

static csl_status add_files(csl_folder_list *list,
                            const char *folder,
                            const name_list *names,
                            uint32_t class_index,
                            uint8_t split)
{
    size_t total = (size_t)list->file_count + names->count;
    csl_folder_file *files = realloc(list->files, (total + 1) * sizeof *files);
    if (!files) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory for %zu names", folder, total);
    }
    list->files = files;
    for (size_t i = 0; i < names->count; i++) {
        char path[CSL_PATH_MAX];
        CSL_TRY(enter(folder, names->names[i], false, "a picture", path));
        char *below = strdup(path + strlen(list->root) + 1);
        if (!below) {
            return csl_fail(CSL_E_NO_MEMORY, "%s: no memory for its name", path);
        }
        list->files[list->file_count++] = (csl_folder_file){below, class_index, split};
    }
    return CSL_OK;
}

/* Every class below one folder, which is the root or one split. */
static csl_status add_classes(csl_folder_list *list, const char *folder, uint8_t split)
{
    name_list classes = {0};
    csl_status status = list_names(folder, &classes);
    for (size_t i = 0; status == CSL_OK && i < classes.count; i++) {
        char path[CSL_PATH_MAX];
        name_list files = {0};
        uint32_t class_index = 0;
        status = enter(folder, classes.names[i], true, "a folder of a class", path);
        if (status == CSL_OK) {
            status = find_class(list, classes.names[i], &class_index);
        }
        if (status == CSL_OK) {
            status = list_names(path, &files);
        }
        if (status == CSL_OK) {
            status = add_files(list, path, &files, class_index, split);
        }
        free_names(&files);
    }
    free_names(&classes);
    return status;
}

static csl_status add_root(csl_folder_list *list, const name_list *names)
{
    size_t split_count = 0;
    for (size_t i = 0; i < names->count; i++) {
        split_count += split_of(names->names[i]) >= 0;
    }
    if (split_count == 0) {
        return add_classes(list, list->root, CSL_SPLIT_TRAIN);
    }
    if (split_count != names->count) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: expected folders of classes, or train, val and test alone, found both",
                        list->root);
    }
    for (size_t i = 0; i < names->count; i++) {
        char path[CSL_PATH_MAX];
        CSL_TRY(enter(list->root, names->names[i], true, "a folder of classes", path));
        CSL_TRY(add_classes(list, path, (uint8_t)split_of(names->names[i])));
    }
    return CSL_OK;
}

static int compare_files(const void *left, const void *right)
{
    const csl_folder_file *a = left, *b = right;
    if (a->split != b->split) {
        return a->split < b->split ? -1 : 1;
    }
    return strcmp(a->path, b->path);
}

/* Classes were found split by split; their order must not depend on that. */
static csl_status sort_classes(csl_folder_list *list)
{
    name_list sorted = {0};
    csl_status status = CSL_OK;
    for (uint32_t k = 0; status == CSL_OK && k < list->class_count; k++) {
        status = add_name(&sorted, list->class_names[k]);
    }
    if (status == CSL_OK && sorted.count > 0) {
        uint32_t place[CSL_CLASSES_MAX] = {0};
        qsort(sorted.names, sorted.count, sizeof *sorted.names, compare_names);
        for (uint32_t k = 0; k < list->class_count; k++) {
            while (strcmp(sorted.names[place[k]], list->class_names[k]) != 0) {
                place[k]++;
            }
        }
        for (uint64_t i = 0; i < list->file_count; i++) {
            list->files[i].class_index = place[list->files[i].class_index];
        }
        for (uint32_t k = 0; k < list->class_count; k++) {
            snprintf(list->class_names[k], CSL_NAME_MAX, "%s", sorted.names[k]);
        }
        qsort(list->files, (size_t)list->file_count, sizeof *list->files, compare_files);
    }
    free_names(&sorted);
    return status;
}

csl_status csl_folder_list_create(const char *root, csl_folder_list **list_out)
{
    csl_folder_list *list = calloc(1, sizeof *list);
    if (!list) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory", root);
    }
    list->root = root;
    name_list names = {0};
    csl_status status = list_names(root, &names);
    if (status == CSL_OK) {
        status = add_root(list, &names);
    }
    free_names(&names);
    if (status == CSL_OK && (list->class_count < 2 || list->file_count == 0)) {
        status = csl_fail(CSL_E_FORMAT,
                          "%s: expected pictures in a folder for each of 2 classes or more, found "
                          "%u folders with %llu pictures",
                          root, list->class_count, (unsigned long long)list->file_count);
    }
    if (status == CSL_OK) {
        status = sort_classes(list);
    }
    if (status != CSL_OK) {
        csl_folder_list_destroy(list);
        return status;
    }
    *list_out = list;
    return CSL_OK;
}

void csl_folder_list_destroy(csl_folder_list *list)
{
    for (uint64_t i = 0; list && i < list->file_count; i++) {
        free(list->files[i].path);
    }
    if (list) {
        free(list->files);
    }
    free(list);
}
