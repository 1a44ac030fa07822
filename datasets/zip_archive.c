#include "zip_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum {
    END_SIZE = 22,     /* end of central directory, without comment */
    LOCATOR_SIZE = 20, /* ZIP64 locator, just before it */
    END64_SIZE = 56,
    ENTRY_SIZE = 46, /* central directory entry, without its variable parts */
    LOCAL_SIZE = 30,
    COMMENT_MAX = 65535,
    PIECE_SIZE = 65536,
    DEFLATE_RATIO_MAX = 1032 /* zlib's documented limit */
};

static uint64_t little(const uint8_t *bytes, int count)
{
    uint64_t value = 0;
    for (int i = count - 1; i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static csl_status read_at(const csl_zip *zip, uint64_t offset, size_t size, void *bytes_out)
{
    if (offset > zip->file_size || size > zip->file_size - offset) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: byte %" PRIu64 ": expected %zu more bytes, found the end", zip->path,
                        offset, size);
    }
    for (size_t done = 0; done < size;) {
        ssize_t step =
            pread(zip->descriptor, (char *)bytes_out + done, size - done, (off_t)(offset + done));
        if (step < 0 && errno == EINTR) {
            continue;
        }
        if (step <= 0) {
            return csl_fail(CSL_E_IO, "%s: %s", zip->path,
                            step < 0 ? strerror(errno) : "file shrank");
        }
        done += (size_t)step;
    }
    return CSL_OK;
}

typedef struct directory {
    uint64_t offset, size, count;
} directory;

static csl_status read_end64(const csl_zip *zip, uint64_t end_offset, directory *found)
{
    uint8_t locator[LOCATOR_SIZE], end[END64_SIZE];
    if (end_offset < LOCATOR_SIZE) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a ZIP64 locator, found the start", zip->path);
    }
    CSL_TRY(read_at(zip, end_offset - LOCATOR_SIZE, sizeof locator, locator));
    if (memcmp(locator, "PK\6\7", 4) != 0) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a ZIP64 locator, found other bytes", zip->path);
    }
    CSL_TRY(read_at(zip, little(locator + 8, 8), sizeof end, end));
    if (memcmp(end, "PK\6\6", 4) != 0) {
        return csl_fail(CSL_E_FORMAT, "%s: expected a ZIP64 end of directory, found other bytes",
                        zip->path);
    }
    *found = (directory){little(end + 48, 8), little(end + 40, 8), little(end + 32, 8)};
    return CSL_OK;
}

static csl_status find_directory(const csl_zip *zip, directory *found)
{
    size_t size =
        zip->file_size < END_SIZE + COMMENT_MAX ? (size_t)zip->file_size : END_SIZE + COMMENT_MAX;
    uint8_t *tail = malloc(size + 1);
    if (!tail) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory to read", zip->path);
    }
    csl_status status = read_at(zip, zip->file_size - size, size, tail);
    size_t at = size < END_SIZE ? 0 : size - END_SIZE + 1;
    while (status == CSL_OK && at > 0 && memcmp(tail + at - 1, "PK\5\6", 4) != 0) {
        at--;
    }
    if (status == CSL_OK && at == 0) {
        status = csl_fail(CSL_E_FORMAT,
                          "%s: expected a whole ZIP archive, found no directory of members at "
                          "its end",
                          zip->path);
    }
    if (status == CSL_OK) {
        const uint8_t *end = tail + at - 1;
        *found = (directory){little(end + 16, 4), little(end + 12, 4), little(end + 10, 2)};
        if (found->offset == UINT32_MAX || found->size == UINT32_MAX ||
            found->count == UINT16_MAX) {
            status = read_end64(zip, zip->file_size - size + at - 1, found);
        }
    }
    free(tail);
    return status;
}

/* Extra field 1 holds, in this order, those of the three that are all ones in the entry. */
static bool read_extra64(const uint8_t *extra, size_t size, csl_zip_member *member)
{
    for (size_t at = 0; at + 4 <= size;) {
        size_t length = (size_t)little(extra + at + 2, 2);
        if (length > size - at - 4) {
            return false;
        }
        const uint8_t *value = extra + at + 4, *end = value + length;
        uint64_t *fields[] = {&member->size, &member->packed_size, &member->header_offset};
        for (int i = 0; little(extra + at, 2) == 1 && i < 3; i++) {
            if (*fields[i] == UINT32_MAX) {
                if (end - value < 8) {
                    return false;
                }
                *fields[i] = little(value, 8);
                value += 8;
            }
        }
        at += 4 + length;
    }
    return true;
}

/* Returns the bytes the entry takes, 0 if it is damaged. */
static size_t parse_entry(const uint8_t *entry, size_t left, csl_zip_member *member)
{
    if (left < ENTRY_SIZE || memcmp(entry, "PK\1\2", 4) != 0) {
        return 0;
    }
    size_t name = (size_t)little(entry + 28, 2), extra = (size_t)little(entry + 30, 2);
    size_t total = ENTRY_SIZE + name + extra + (size_t)little(entry + 32, 2);
    if (total > left || name >= CSL_ZIP_NAME_MAX || (little(entry + 8, 2) & 1) != 0) {
        return 0;
    }
    member->method = (uint32_t)little(entry + 10, 2);
    member->crc32 = (uint32_t)little(entry + 16, 4);
    member->packed_size = little(entry + 20, 4);
    member->size = little(entry + 24, 4);
    member->header_offset = little(entry + 42, 4);
    memcpy(member->name, entry + ENTRY_SIZE, name);
    return read_extra64(entry + ENTRY_SIZE + name, extra, member) ? total : 0;
}

static csl_status check_member(const csl_zip *zip, const csl_zip_member *member)
{
    if (member->method != 0 && member->method != Z_DEFLATED) {
        return csl_fail(CSL_E_FORMAT,
                        "%s: %s: expected a stored or deflated member, found method %u", zip->path,
                        member->name, member->method);
    }
    uint64_t ratio = member->method ? DEFLATE_RATIO_MAX : 1;
    if (member->packed_size > zip->file_size || member->size / ratio > member->packed_size + 64 ||
        (!member->method && member->size != member->packed_size)) {
        return csl_fail(CSL_E_FORMAT, "%s: %s: %" PRIu64 " bytes cannot unpack to %" PRIu64,
                        zip->path, member->name, member->packed_size, member->size);
    }
    return CSL_OK;
}

static csl_status read_directory(csl_zip *zip)
{
    directory found = {0};
    CSL_TRY(find_directory(zip, &found));
    if (found.count == 0 || found.count > CSL_ZIP_MEMBERS_MAX || found.size > zip->file_size) {
        return csl_fail(CSL_E_FORMAT, "%s: expected 1..%d members, found %" PRIu64, zip->path,
                        CSL_ZIP_MEMBERS_MAX, found.count);
    }
    uint8_t *bytes = malloc((size_t)found.size + 1);
    zip->members = calloc((size_t)found.count, sizeof *zip->members);
    csl_status status = bytes && zip->members
                            ? read_at(zip, found.offset, (size_t)found.size, bytes)
                            : csl_fail(CSL_E_NO_MEMORY, "%s: no memory to read", zip->path);
    size_t at = 0;
    for (uint64_t i = 0; status == CSL_OK && i < found.count; i++) {
        size_t size = parse_entry(bytes + at, (size_t)found.size - at, &zip->members[i]);
        status = size ? check_member(zip, &zip->members[i])
                      : csl_fail(CSL_E_FORMAT,
                                 "%s: directory entry %" PRIu64 ": expected a plain one, "
                                 "found a damaged or encrypted one",
                                 zip->path, i);
        at += size;
    }
    zip->member_count = (uint32_t)found.count;
    free(bytes);
    return status;
}

csl_status csl_zip_open(const char *path, csl_zip *zip_out)
{
    /* A pipe would else be waited for. */
    csl_zip zip = {.path = path, .descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    struct stat info;
    if (zip.descriptor < 0 || fstat(zip.descriptor, &info) != 0) {
        csl_status status = errno == ENOENT ? CSL_E_NOT_FOUND : CSL_E_IO;
        return csl_fail(status, "%s: %s", path, strerror(errno));
    }
    csl_status status = CSL_OK;
    if (!S_ISREG(info.st_mode)) {
        status = csl_fail(CSL_E_FORMAT, "%s: expected an archive, found no plain file", path);
    }
    zip.file_size = (uint64_t)info.st_size;
    if (status == CSL_OK) {
        status = read_directory(&zip);
    }
    if (status != CSL_OK) {
        csl_zip_close(&zip);
        return status;
    }
    *zip_out = zip;
    return CSL_OK;
}

void csl_zip_close(csl_zip *zip)
{
    close(zip->descriptor);
    free(zip->members);
    zip->members = NULL;
}

const csl_zip_member *csl_zip_find(const csl_zip *zip, const char *name)
{
    for (uint32_t i = 0; i < zip->member_count; i++) {
        if (strcmp(zip->members[i].name, name) == 0) {
            return &zip->members[i];
        }
    }
    return NULL;
}

/* Inflates or copies from `offset`; returns zlib's verdict through the status. */
static csl_status unpack(const csl_zip *zip,
                         const csl_zip_member *member,
                         uint64_t offset,
                         uint64_t size,
                         uint8_t *target,
                         uint8_t *piece)
{
    z_stream stream = {0};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
        return csl_fail(CSL_E_NO_MEMORY, "%s: no memory to unpack", zip->path);
    }
    csl_status status = CSL_OK;
    uint64_t read = 0, written = 0;
    int verdict = Z_OK;
    while (status == CSL_OK && verdict == Z_OK && written < size && read < member->packed_size) {
        uint64_t left = member->packed_size - read;
        size_t step = left < PIECE_SIZE ? (size_t)left : PIECE_SIZE;
        status = read_at(zip, offset + read, step, piece);
        read += step;
        stream.next_in = piece;
        stream.avail_in = (uInt)step;
        while (status == CSL_OK && verdict == Z_OK && stream.avail_in > 0 && written < size) {
            uint64_t room = size - written;
            uInt part = room < (1u << 30) ? (uInt)room : 1u << 30;
            stream.next_out = target + written;
            stream.avail_out = part;
            verdict = inflate(&stream, Z_NO_FLUSH);
            written += part - stream.avail_out;
        }
    }
    inflateEnd(&stream);
    if (status == CSL_OK && (written != size || (verdict != Z_OK && verdict != Z_STREAM_END))) {
        status = csl_fail(CSL_E_FORMAT,
                          "%s: %s: expected %" PRIu64 " bytes, found damaged data after %" PRIu64,
                          zip->path, member->name, size, written);
    }
    return status;
}

csl_status
csl_zip_read(const csl_zip *zip, const csl_zip_member *member, uint64_t size, void *bytes_out)
{
    uint8_t header[LOCAL_SIZE];
    if (size > member->size) {
        return csl_fail(CSL_E_FORMAT, "%s: %s: expected %" PRIu64 " bytes, found %" PRIu64,
                        zip->path, member->name, size, member->size);
    }
    CSL_TRY(read_at(zip, member->header_offset, sizeof header, header));
    if (memcmp(header, "PK\3\4", 4) != 0) {
        return csl_fail(CSL_E_FORMAT, "%s: %s: expected a member's header, found other bytes",
                        zip->path, member->name);
    }
    uint64_t offset =
        member->header_offset + LOCAL_SIZE + little(header + 26, 2) + little(header + 28, 2);
    csl_status status;
    if (member->method == 0) {
        status = read_at(zip, offset, (size_t)size, bytes_out);
    } else {
        uint8_t *piece = malloc(PIECE_SIZE);
        status = piece ? unpack(zip, member, offset, size, bytes_out, piece)
                       : csl_fail(CSL_E_NO_MEMORY, "%s: no memory to unpack", zip->path);
        free(piece);
    }
    if (status == CSL_OK && size == member->size &&
        crc32_z(0, bytes_out, (z_size_t)size) != member->crc32) {
        status = csl_fail(CSL_E_VERIFY, "%s: %s: checksum does not hold", zip->path, member->name);
    }
    return status;
}
