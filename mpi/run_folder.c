/*
 * The folder of a run: claimed before any work, given back by a run that cannot start, and, where
 * an earlier run's results are to be replaced, filled only when the new ones are complete.
 *
 * Only rank 0 comes here.
 */
#include "run_internal.h"

#include <consilium/atomic_file.h>
#include <consilium/log.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a run writes. study.yaml is last: where it stands, all of the run does. */
static const char *const file_names[] = {"institutions.json", "metrics.csv",   "rounds.jsonl",
                                         "model.h5",          "model-last.h5", "cross-site.csv",
                                         "study.yaml"};
static const struct {
    const char *name;
    const char *prefix; /* of the files in it, which all end in .h5 */
} folders[] = {
    {"institutions", "institution-"}, {"updates", "round-"}, {"personal", "institution-"}};

enum {
    FILES = sizeof file_names / sizeof *file_names,
    FOLDERS = sizeof folders / sizeof *folders,
    PLACE_MAX = CSL_PATH_MAX + 300 /* of a file in a folder in the run's folder */
};

static csl_status join(const char *folder, const char *name, char path_out[CSL_PATH_MAX])
{
    int length = snprintf(path_out, CSL_PATH_MAX, "%s/%s", folder, name);
    return length < CSL_PATH_MAX ? CSL_OK
                                 : csl_fail(CSL_E_RANGE, "%s: the path is too long", folder);
}

csl_status csl_run_path(const csl_federated_run *run, const char *name, char *path_out)
{
    return join(run->directory, name, path_out);
}

static csl_status make_folders(char *path, bool *made_out)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool failed = mkdir(path, 0777) != 0 && errno != EEXIST;
        csl_status status =
            failed ? csl_fail(CSL_E_IO, "folder %s: %s", path, strerror(errno)) : CSL_OK;
        *slash = '/';
        CSL_TRY(status);
    }
    *made_out = mkdir(path, 0777) == 0;
    if (!*made_out && errno != EEXIST) {
        return csl_fail(CSL_E_IO, "folder %s: %s", path, strerror(errno));
    }
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISDIR(info.st_mode)) {
        return csl_fail(CSL_E_IO, "%s: expected a folder or nothing, found a file", path);
    }
    return access(path, W_OK | X_OK) == 0
               ? CSL_OK
               : csl_fail(CSL_E_IO, "folder %s: %s", path, strerror(errno));
}

/* Files of a run in one of its folders, as scandir gives them; 0 where there are none. */
static int list(const char *folder, struct dirent ***entries_out)
{
    *entries_out = NULL;
    int found = scandir(folder, entries_out, NULL, alphasort);
    return found < 0 ? 0 : found;
}

static bool is_of_run(const struct dirent *entry, const char *prefix)
{
    size_t length = strlen(entry->d_name);
    return strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && length > 3 &&
           strcmp(entry->d_name + length - 3, ".h5") == 0;
}

/* Removes a run's files from a folder of its own, and the folder if nothing else is in it. */
static void clear_folder(const char *folder, const char *prefix)
{
    struct dirent **entries = NULL;
    int found = list(folder, &entries);
    for (int i = 0; i < found; i++) {
        char path[PLACE_MAX];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (is_of_run(entries[i], prefix)) {
            remove(path);
        }
        free(entries[i]);
    }
    free(entries);
    rmdir(folder);
}

/* csl_same_file of what exists, which keeps the last error: the one that ends the run. */
static bool are_one(const char *path, const char *other)
{
    struct stat info[2];
    return stat(path, &info[0]) == 0 && stat(other, &info[1]) == 0 &&
           info[0].st_dev == info[1].st_dev && info[0].st_ino == info[1].st_ino;
}

/* Takes away what a run wrote, but not the data that it read from such a folder. */
static void clear_files(const char *directory, const char *data)
{
    char path[CSL_PATH_MAX];
    for (size_t i = 0; i < FILES; i++) {
        if (join(directory, file_names[i], path) == CSL_OK) {
            remove(path);
        }
    }
    for (size_t i = 0; i < FOLDERS; i++) {
        if (join(directory, folders[i].name, path) == CSL_OK && !are_one(path, data)) {
            clear_folder(path, folders[i].prefix);
        }
    }
}

/* What a run would replace in a folder, NULL if nothing. Institution files that this run reads are
 * none of its results. */
static const char *find_result(const csl_federated_run *run)
{
    char path[CSL_PATH_MAX];
    struct stat info;
    for (size_t i = FILES; i-- > 0;) {
        if (join(run->home, file_names[i], path) == CSL_OK && stat(path, &info) == 0) {
            return file_names[i];
        }
    }
    for (size_t i = 0; i < FOLDERS; i++) {
        if (join(run->home, folders[i].name, path) == CSL_OK && stat(path, &info) == 0 &&
            !csl_same_file(path, run->study->data.path)) {
            return folders[i].name;
        }
    }
    return NULL;
}

static csl_status refuse_input(const char *path)
{
    return csl_fail(CSL_E_INVALID_ARG,
                    "%s: the run would write over what it reads; choose another folder with --out",
                    path);
}

/* The study and the data that are read must not be what is written into a folder. */
static csl_status keep_inputs(const csl_federated_run *run, const char *directory)
{
    const char *data = run->study->data.path;
    const char *inputs[] = {run->options->study_path, data};
    char path[CSL_PATH_MAX];
    struct stat info;
    for (size_t i = 0; i < FILES; i++) {
        CSL_TRY(join(directory, file_names[i], path));
        for (size_t k = 0; k < 2 && stat(path, &info) == 0; k++) {
            if (csl_same_file(path, inputs[k])) {
                return refuse_input(inputs[k]);
            }
        }
    }
    /* A pool among the institutions that are cut from it. */
    char folder[CSL_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", data);
    char *slash = strrchr(folder, '/');
    CSL_TRY(join(directory, "institutions", path));
    if (slash && stat(data, &info) == 0 && S_ISREG(info.st_mode)) {
        *slash = 0;
        return stat(path, &info) == 0 && csl_same_file(path, folder) ? refuse_input(data) : CSL_OK;
    }
    return CSL_OK;
}

/* The new results wait in a folder of their own until they are complete. */
static csl_status stage(csl_federated_run *run)
{
    char path[CSL_PATH_MAX];
    struct stat info;
    CSL_TRY(join(run->home, "unfinished", run->directory));
    CSL_TRY(keep_inputs(run, run->directory));
    CSL_TRY(join(run->directory, "institutions", path));
    if (stat(path, &info) == 0 && csl_same_file(path, run->study->data.path)) {
        return refuse_input(run->study->data.path);
    }
    clear_files(run->directory, run->study->data.path); /* of an earlier attempt */
    return CSL_OK;
}

/* Two runs in one folder would mix their results, and both would end well. The lock leaves no trace
 * and ends with the process, however that ends; a file system without locks gives no protection. */
static csl_status lock_home(csl_federated_run *run)
{
    run->folder_lock = open(run->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run->folder_lock >= 0 && flock(run->folder_lock, LOCK_EX | LOCK_NB) != 0 &&
        errno == EWOULDBLOCK) {
        return csl_fail(CSL_E_STATE,
                        "%s: another run is writing its results there; choose another folder with "
                        "--out, or wait for its end",
                        run->home);
    }
    return CSL_OK;
}

void csl_run_release_directory(csl_federated_run *run)
{
    if (run->folder_lock >= 0) {
        close(run->folder_lock);
        run->folder_lock = -1;
    }
}

csl_status csl_run_claim_directory(csl_federated_run *run)
{
    const char *wanted = run->options->directory;
    int length = wanted ? snprintf(run->home, CSL_PATH_MAX, "%s", wanted)
                        : snprintf(run->home, CSL_PATH_MAX, "runs/%s", run->study->name);
    if (length == 0 || length >= CSL_PATH_MAX) {
        return csl_fail(CSL_E_RANGE, "run directory: expected a path of 1 to %d bytes",
                        CSL_PATH_MAX - 1);
    }
    bool made = false;
    CSL_TRY(keep_inputs(run, run->home));
    CSL_TRY(make_folders(run->home, &made));
    CSL_TRY(lock_home(run));
    const char *result = find_result(run);
    if (result && !run->options->overwrite) {
        return csl_fail(CSL_E_STATE,
                        "%s already holds a run (%s); choose another folder with --out, or replace "
                        "it with --overwrite",
                        run->home, result);
    }
    run->staged = result != NULL;
    if (run->staged) {
        CSL_TRY(stage(run));
        CSL_TRY(make_folders(run->directory, &run->made_directory));
    } else {
        snprintf(run->directory, CSL_PATH_MAX, "%s", run->home);
        run->made_directory = made;
    }
    run->claimed = true;
    return CSL_OK;
}

void csl_run_abandon_directory(const csl_federated_run *run)
{
    if (run->claimed) { /* nothing of a run was in it, so all there is now is of this one */
        clear_files(run->directory, run->study->data.path);
    }
    if (run->made_directory) {
        rmdir(run->directory); /* stays where anything is in it */
    }
}

void csl_run_leave_unfinished(const csl_federated_run *run)
{
    if (run->staged) {
        csl_log(CSL_LOG_WARN, "run",
                "the earlier results in %s are as they were; what this run wrote is in %s",
                run->home, run->directory);
    }
}

static csl_status move(const char *from, const char *to)
{
    return rename(from, to) == 0 ? CSL_OK
                                 : csl_fail(CSL_E_IO, "%s: cannot take its place as %s: %s", from,
                                            to, strerror(errno));
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* The new run's files of one folder go home; those of the earlier run that have no successor go. */
static csl_status publish_folder(const csl_federated_run *run, const char *name, const char *prefix)
{
    char from[CSL_PATH_MAX];
    char to[CSL_PATH_MAX];
    CSL_TRY(join(run->directory, name, from));
    CSL_TRY(join(run->home, name, to));
    if (csl_same_file(to, run->study->data.path)) {
        return CSL_OK; /* the data that were read; no such folder was written */
    }
    if (exists(from) && mkdir(to, 0777) != 0 && errno != EEXIST) {
        return csl_fail(CSL_E_IO, "folder %s: %s", to, strerror(errno));
    }
    struct dirent **entries = NULL;
    int found = list(to, &entries);
    for (int i = 0; i < found; i++) {
        char paths[2][PLACE_MAX];
        snprintf(paths[0], PLACE_MAX, "%s/%s", from, entries[i]->d_name);
        snprintf(paths[1], PLACE_MAX, "%s/%s", to, entries[i]->d_name);
        if (is_of_run(entries[i], prefix) && !exists(paths[0])) {
            remove(paths[1]);
        }
        free(entries[i]);
    }
    free(entries);
    csl_status status = CSL_OK;
    found = list(from, &entries);
    for (int i = 0; i < found; i++) {
        char paths[2][PLACE_MAX];
        snprintf(paths[0], PLACE_MAX, "%s/%s", from, entries[i]->d_name);
        snprintf(paths[1], PLACE_MAX, "%s/%s", to, entries[i]->d_name);
        if (status == CSL_OK && is_of_run(entries[i], prefix)) {
            status = move(paths[0], paths[1]);
        }
        free(entries[i]);
    }
    free(entries);
    rmdir(from);
    rmdir(to); /* stays where anything is in it */
    return status;
}

csl_status csl_run_publish(csl_federated_run *run)
{
    if (!run->staged) {
        return CSL_OK;
    }
    for (size_t i = 0; i < FOLDERS; i++) {
        CSL_TRY(publish_folder(run, folders[i].name, folders[i].prefix));
    }
    for (size_t i = 0; i < FILES; i++) {
        char from[CSL_PATH_MAX];
        char to[CSL_PATH_MAX];
        CSL_TRY(join(run->directory, file_names[i], from));
        CSL_TRY(join(run->home, file_names[i], to));
        if (exists(from)) {
            CSL_TRY(move(from, to));
        } else {
            remove(to);
        }
    }
    rmdir(run->directory);
    snprintf(run->directory, CSL_PATH_MAX, "%s", run->home);
    run->staged = false;
    return CSL_OK;
}
