#include "patients_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATIENTS_SIZE_MAX = 256 << 20, COLUMNS_MAX = 64 };
enum { COLUMN_FILE, COLUMN_PATIENT, COLUMN_SITE, COLUMN_COUNT };

/* Splits its text into fields in place. */
typedef struct csv_reader {
    const char *path;
    char *bytes, *at, *end; /* one byte behind the end is ours */
    unsigned long long line;
} csv_reader;

/* What the file says of one picture; texts lie in the reader. */
typedef struct picture_owner {
    const char *file, *patient, *site;
    uint64_t picture;
} picture_owner;

static csl_status load(const char *path, csv_reader *reader)
{
    FILE *stream = fopen(path, "rb");
    struct stat info;
    if (!stream || fstat(fileno(stream), &info) != 0) {
        csl_status status =
            csl_fail(errno == ENOENT ? CSL_E_NOT_FOUND : CSL_E_IO, "%s: %s", path, strerror(errno));
        if (stream) {
            fclose(stream);
        }
        return status;
    }
    csl_status status = CSL_OK;
    char *bytes = NULL;
    if (!S_ISREG(info.st_mode) || info.st_size > PATIENTS_SIZE_MAX) {
        status = csl_fail(CSL_E_FORMAT, "%s: expected a file of at most %d bytes, found %s", path,
                          PATIENTS_SIZE_MAX, S_ISREG(info.st_mode) ? "more" : "no file");
    } else {
        bytes = calloc((size_t)info.st_size + 1, 1);
        status = bytes ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s: no memory", path);
    }
    size_t size = bytes ? (size_t)info.st_size : 0;
    if (bytes && fread(bytes, 1, size, stream) != size) {
        status = csl_fail(CSL_E_IO, "%s: cannot be read", path);
    } else if (bytes && memchr(bytes, 0, size)) {
        status = csl_fail(CSL_E_FORMAT, "%s: expected text, found a zero byte", path);
    }
    fclose(stream);
    if (status != CSL_OK) {
        free(bytes);
        return status;
    }
    size_t mark = size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    *reader = (csv_reader){path, bytes, bytes + mark, bytes + size, 1};
    return CSL_OK;
}

/* Takes the quotes off a field at reader->at; its end in to_out. */
static csl_status unquote(csv_reader *reader, char **to_out)
{
    unsigned long long first = reader->line;
    char *to = reader->at;
    for (char *at = reader->at + 1; at < reader->end; at++) {
        if (*at == '"' && at[1] != '"') { /* the byte behind the end is 0 */
            reader->at = at + 1;
            *to_out = to;
            return CSL_OK;
        }
        at += *at == '"';
        reader->line += *at == '\n';
        *to++ = *at;
    }
    return csl_fail(CSL_E_FORMAT, "%s: line %llu: expected a closing quote, found the end",
                    reader->path, first);
}

/* The next field; last_out: of its row. */
static csl_status next_field(csv_reader *reader, char **field_out, bool *last_out)
{
    char *start = reader->at, *to = NULL;
    if (start < reader->end && *start == '"') {
        CSL_TRY(unquote(reader, &to));
    } else {
        reader->at += strcspn(start, ",\r\n");
        to = reader->at;
    }
    char *at = reader->at;
    bool returns = *at == '\r' && (at[1] == '\n' || at + 1 == reader->end);
    bool ends = at == reader->end || *at == '\n' || returns;
    if (!ends && *at != ',') {
        return csl_fail(CSL_E_FORMAT, "%s: line %llu: expected a comma or the end of the line",
                        reader->path, reader->line);
    }
    at += returns;
    reader->at = at < reader->end ? at + 1 : reader->end;
    *to = 0;
    *field_out = start;
    *last_out = ends;
    return CSL_OK;
}

/* Fields of the next row that is not empty; count 0 at the end. line_out: where it began. */
static csl_status
next_row(csv_reader *reader, char **fields, uint32_t *count_out, unsigned long long *line_out)
{
    uint32_t count = 0;
    while (count == 0 && reader->at < reader->end) {
        *line_out = reader->line;
        for (bool last = false; !last; count++) {
            if (count == COLUMNS_MAX) {
                return csl_fail(CSL_E_FORMAT, "%s: line %llu: expected at most %d columns",
                                reader->path, reader->line, COLUMNS_MAX);
            }
            CSL_TRY(next_field(reader, &fields[count], &last));
        }
        reader->line++;
        count = count == 1 && fields[0][0] == 0 ? 0 : count;
    }
    *count_out = count;
    return CSL_OK;
}

/* Places of the columns among `count`; of the site -1 where there is none. */
static csl_status find_columns(csv_reader *reader, int *column_out, uint32_t *count_out)
{
    static const char *const names[COLUMN_COUNT] = {"file", "patient", "site"};
    char *fields[COLUMNS_MAX];
    unsigned long long line = 1;
    uint32_t count = 0;
    CSL_TRY(next_row(reader, fields, &count, &line));
    for (int k = 0; k < COLUMN_COUNT; k++) {
        column_out[k] = -1;
        for (uint32_t i = 0; i < count; i++) {
            if (strcmp(fields[i], names[k]) != 0) {
                continue;
            }
            if (column_out[k] >= 0) {
                return csl_fail(CSL_E_FORMAT, "%s: line %llu: expected one column '%s', found two",
                                reader->path, line, names[k]);
            }
            column_out[k] = (int)i;
        }
        if (column_out[k] < 0 && k != COLUMN_SITE) {
            return csl_fail(CSL_E_FORMAT,
                            "%s: line %llu: expected columns file, patient and, if known, site, "
                            "found no '%s'",
                            reader->path, line, names[k]);
        }
    }
    *count_out = count;
    return CSL_OK;
}

static int compare_owner_files(const void *left, const void *right)
{
    const picture_owner *a = left, *b = right;
    return strcmp(a->file, b->file);
}

static csl_status
read_rows(csv_reader *reader, const char *root, picture_owner *owners, size_t size)
{
    int column[COLUMN_COUNT];
    char *fields[COLUMNS_MAX];
    unsigned long long line = 0;
    uint32_t column_count = 0, count = 0;
    CSL_TRY(find_columns(reader, column, &column_count));
    for (;;) {
        CSL_TRY(next_row(reader, fields, &count, &line));
        if (count == 0) {
            return CSL_OK;
        }
        if (count != column_count) {
            return csl_fail(CSL_E_FORMAT, "%s: line %llu: expected %u columns, found %u",
                            reader->path, line, column_count, count);
        }
        picture_owner key = {.file = fields[column[COLUMN_FILE]]};
        picture_owner *owner = bsearch(&key, owners, size, sizeof *owners, compare_owner_files);
        if (!owner || owner->patient) {
            return csl_fail(
                CSL_E_FORMAT, "%s: line %llu: expected %s, found '%.200s'%s", reader->path, line,
                owner ? "one row for a picture" : "the path of a picture below the folder",
                key.file, owner ? " again" : "");
        }
        owner->patient = fields[column[COLUMN_PATIENT]];
        owner->site = column[COLUMN_SITE] < 0 ? NULL : fields[column[COLUMN_SITE]];
        if (owner->patient[0] == 0 || (owner->site && owner->site[0] == 0)) {
            return csl_fail(CSL_E_FORMAT, "%s: line %llu: expected a %s, found none; folder %s",
                            reader->path, line, owner->patient[0] ? "site" : "patient", root);
        }
    }
}

static int compare_patients(const void *left, const void *right)
{
    const picture_owner *a = left, *b = right;
    int order = strcmp(a->patient, b->patient);
    return order ? order : (a->picture > b->picture) - (a->picture < b->picture);
}

static int compare_sites(const void *left, const void *right)
{
    const picture_owner *a = left, *b = right;
    return strcmp(a->site, b->site);
}

/* A subject's number is that of its first picture, a site's its place in the order of names. */
static csl_status number(picture_owner *owners, size_t count, csl_dataset *dataset)
{
    bool has_sites = owners[0].site != NULL;
    dataset->subject = calloc(count, sizeof *dataset->subject);
    dataset->group = has_sites ? calloc(count, sizeof *dataset->group) : NULL;
    if (!dataset->subject || (has_sites && !dataset->group)) {
        return csl_fail(CSL_E_NO_MEMORY, "no memory for the patients of %zu pictures", count);
    }
    qsort(owners, count, sizeof *owners, compare_patients);
    uint64_t first = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(owners[i].patient, owners[i - 1].patient) != 0) {
            first = owners[i].picture;
        }
        dataset->subject[owners[i].picture] = first;
    }
    if (has_sites) {
        qsort(owners, count, sizeof *owners, compare_sites);
        int32_t site = 0;
        for (size_t i = 0; i < count; i++) {
            site += i > 0 && strcmp(owners[i].site, owners[i - 1].site) != 0;
            dataset->group[owners[i].picture] = site;
        }
    }
    return CSL_OK;
}

csl_status csl_patients_read(const char *path, const csl_folder_list *list, csl_dataset *dataset)
{
    csv_reader reader = {0};
    CSL_TRY(load(path, &reader));
    size_t count = (size_t)list->file_count;
    picture_owner *owners = calloc(count, sizeof *owners);
    csl_status status = owners ? CSL_OK : csl_fail(CSL_E_NO_MEMORY, "%s: no memory", path);
    if (owners) {
        for (size_t i = 0; i < count; i++) {
            owners[i] = (picture_owner){.file = list->files[i].path, .picture = i};
        }
        qsort(owners, count, sizeof *owners, compare_owner_files);
        status = read_rows(&reader, list->root, owners, count);
    }
    for (size_t i = 0; status == CSL_OK && i < count; i++) {
        if (!owners[i].patient) {
            status =
                csl_fail(CSL_E_FORMAT, "%s: expected a row for each picture, found none for %s",
                         path, owners[i].file);
        }
    }
    if (status == CSL_OK) {
        status = number(owners, count, dataset);
    }
    free(owners);
    free(reader.bytes);
    return status;
}
