/* ZIP archives built byte by byte: what is read, ZIP64 too, and what is refused. */
#include "test_support.h"
#include "zip_archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { ROOM = 4096, CONTENT = 300, STORED = 0, DEFLATED = 8 };

/* An archive of one member, `a.npy`, and where its parts lie. */
typedef struct archive {
    uint8_t bytes[ROOM];
    size_t size;
    size_t entry; /* in the central directory */
    size_t extra; /* of the entry: ZIP64's three numbers */
    size_t end64;
    size_t locator;
    size_t end;
    uint8_t content[CONTENT];
} archive;

static void put(archive *a, uint64_t value, int count)
{
    for (int i = 0; i < count; i++) {
        a->bytes[a->size++] = (uint8_t)(i < 8 ? value >> (8 * i) : 0);
    }
}

static void put_bytes(archive *a, const void *bytes, size_t size)
{
    memcpy(a->bytes + a->size, bytes, size);
    a->size += size;
}

static void set(archive *a, size_t at, uint64_t value, int count)
{
    size_t size = a->size;
    a->size = at;
    put(a, value, count);
    a->size = size;
}

/* Raw deflate data of the content. */
static size_t pack(const archive *a, uint8_t *packed, size_t room)
{
    z_stream stream = {0};
    CU_ASSERT_FATAL(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) ==
                    Z_OK);
    uint8_t copy[CONTENT];
    memcpy(copy, a->content, CONTENT);
    stream.next_in = copy;
    stream.avail_in = CONTENT;
    stream.next_out = packed;
    stream.avail_out = (uInt)room;
    CU_ASSERT_FATAL(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    size_t size = room - stream.avail_out;
    deflateEnd(&stream);
    return size;
}

/* The member itself: a header, its name, its data. */
static void
put_member(archive *a, uint32_t method, uint64_t crc, const uint8_t *packed, uint64_t packed_size)
{
    put_bytes(a, "PK\3\4", 4);
    put(a, 20, 2);
    put(a, 0, 2);
    put(a, method, 2);
    put(a, 0, 4);
    put(a, crc, 4);
    put(a, packed_size, 4);
    put(a, CONTENT, 4);
    put(a, 5, 2);
    put(a, 0, 2);
    put_bytes(a, "a.npy", 5);
    put_bytes(a, packed, (size_t)packed_size);
}

static void put_entry(archive *a, uint32_t method, uint64_t crc, uint64_t packed_size, bool zip64)
{
    a->entry = a->size;
    put_bytes(a, "PK\1\2", 4);
    put(a, 45, 2);
    put(a, 45, 2);
    put(a, 0, 2);
    put(a, method, 2);
    put(a, 0, 4);
    put(a, crc, 4);
    put(a, zip64 ? UINT32_MAX : packed_size, 4);
    put(a, zip64 ? UINT32_MAX : CONTENT, 4);
    put(a, 5, 2);
    put(a, zip64 ? 28 : 0, 2);
    put(a, 0, 10);
    put(a, zip64 ? UINT32_MAX : 0, 4);
    put_bytes(a, "a.npy", 5);
    a->extra = a->size;
    if (zip64) {
        put(a, 1, 2);
        put(a, 24, 2);
        put(a, CONTENT, 8);
        put(a, packed_size, 8);
        put(a, 0, 8);
    }
}

static void put_end(archive *a, bool zip64)
{
    size_t directory = a->size - a->entry;
    a->end64 = a->size;
    if (zip64) {
        put_bytes(a, "PK\6\6", 4);
        put(a, 44, 8);
        put(a, 0, 12);
        put(a, 1, 8);
        put(a, 1, 8);
        put(a, directory, 8);
        put(a, a->entry, 8);
        a->locator = a->size;
        put_bytes(a, "PK\6\7", 4);
        put(a, 0, 4);
        put(a, a->end64, 8);
        put(a, 1, 4);
    }
    a->end = a->size;
    put_bytes(a, "PK\5\6", 4);
    put(a, 0, 4);
    put(a, zip64 ? UINT16_MAX : 1, 2);
    put(a, zip64 ? UINT16_MAX : 1, 2);
    put(a, zip64 ? UINT32_MAX : directory, 4);
    put(a, zip64 ? UINT32_MAX : a->entry, 4);
    put(a, 0, 2);
}

/* ZIP64: all numbers that can stand in the additional records stand there alone. */
static archive build(uint32_t method, bool zip64)
{
    archive a = {.size = 0};
    for (int i = 0; i < CONTENT; i++) {
        a.content[i] = (uint8_t)(csl_test_random() % 7);
    }
    uint8_t packed[2 * CONTENT];
    memcpy(packed, a.content, CONTENT);
    uint64_t packed_size = method == DEFLATED ? pack(&a, packed, sizeof packed) : CONTENT;
    uint64_t crc = crc32_z(0, a.content, CONTENT);
    put_member(&a, method, crc, packed, packed_size);
    put_entry(&a, method, crc, packed_size, zip64);
    put_end(&a, zip64);
    return a;
}

static const char *store(const archive *a)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/a.npz", csl_test_directory());
    FILE *file = fopen(path, "wb");
    CU_ASSERT_FATAL(file != NULL);
    CHECK_U64(fwrite(a->bytes, 1, a->size, file), a->size);
    fclose(file);
    return path;
}

static void check_refused(const archive *a, const char *why)
{
    csl_zip zip = {0};
    const char *path = store(a);
    CHECK_STATUS(csl_zip_open(path, &zip), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), path);
    CHECK_CONTAINS(csl_error_message(), why);
    CU_ASSERT_PTR_NULL(zip.members);
}

static void members_are_read_in_every_form(void)
{
    for (int form = 0; form < 4; form++) {
        archive a = build(form % 2 ? DEFLATED : STORED, form / 2);
        uint8_t read[CONTENT + 1] = {0};
        csl_zip zip = {0};
        CHECK_OK(csl_zip_open(store(&a), &zip));
        CHECK_U64(zip.member_count, 1);
        CU_ASSERT_PTR_NULL(csl_zip_find(&zip, "b.npy"));
        const csl_zip_member *member = csl_zip_find(&zip, "a.npy");
        CU_ASSERT_PTR_NOT_NULL_FATAL(member);
        CHECK_U64(member->size, CONTENT);
        CHECK_OK(csl_zip_read(&zip, member, CONTENT, read));
        CU_ASSERT(memcmp(read, a.content, CONTENT) == 0);
        memset(read, 0xff, sizeof read);
        CHECK_OK(csl_zip_read(&zip, member, 10, read));
        CU_ASSERT(memcmp(read, a.content, 10) == 0 && read[10] == 0xff);
        CHECK_STATUS(csl_zip_read(&zip, member, CONTENT + 1, read), CSL_E_FORMAT);
        CHECK_CONTAINS(csl_error_message(), "a.npy: expected 301 bytes, found 300");
        csl_zip_close(&zip);
    }
}

static void damaged_zip64_records_are_refused(void)
{
    archive a = build(STORED, true);
    a.bytes[a.locator] = 'Q';
    check_refused(&a, "expected a ZIP64 locator, found other bytes");
    a = build(STORED, true);
    a.bytes[a.end64] = 'Q';
    check_refused(&a, "expected a ZIP64 end of directory");
    a = build(STORED, true);
    set(&a, a.locator + 8, UINT64_MAX - 3, 8);
    check_refused(&a, "found the end");
    a = build(STORED, true);
    set(&a, a.end64 + 40, UINT64_MAX, 8); /* size of the directory */
    check_refused(&a, "expected 1..4096 members");
    a = build(STORED, true);
    set(&a, a.end64 + 32, (uint64_t)1 << 40, 8); /* members */
    check_refused(&a, "expected 1..4096 members, found 1099511627776");
    a = build(STORED, true);
    set(&a, a.extra + 2, 20, 2); /* too short for three numbers */
    check_refused(&a, "directory entry 0");
    a = build(STORED, true);
    set(&a, a.extra + 2, 25, 2); /* longer than the extra fields */
    check_refused(&a, "directory entry 0");
    a = build(STORED, true);
    memmove(a.bytes, a.bytes + a.end, a.size - a.end); /* the end record alone */
    a.size -= a.end;
    check_refused(&a, "expected a ZIP64 locator, found the start");
}

static void damaged_entries_are_refused(void)
{
    archive a = build(STORED, false);
    set(&a, a.end + 10, 0, 2);
    check_refused(&a, "expected 1..4096 members, found 0");
    a = build(STORED, false);
    set(&a, a.end + 10, 2, 2);
    check_refused(&a, "directory entry 1");
    a = build(STORED, false);
    set(&a, a.entry + 8, 1, 2); /* encrypted */
    check_refused(&a, "directory entry 0");
    a = build(STORED, false);
    set(&a, a.entry + 28, UINT16_MAX, 2); /* length of the name */
    check_refused(&a, "directory entry 0");
    a = build(STORED, false);
    set(&a, a.entry + 10, 12, 2);
    check_refused(&a, "a.npy: expected a stored or deflated member, found method 12");
    a = build(STORED, false);
    set(&a, a.entry + 24, CONTENT + 1, 4);
    check_refused(&a, "a.npy: 300 bytes cannot unpack to 301");
    a = build(DEFLATED, false);
    set(&a, a.entry + 24, UINT32_MAX - 1, 4); /* a bomb */
    check_refused(&a, "cannot unpack to 4294967294");
    a = build(STORED, false);
    a.size = a.end;
    check_refused(&a, "found no directory");
    a.size = 0;
    check_refused(&a, "found no directory");
    csl_zip zip;
    CHECK_STATUS(csl_zip_open("/", &zip), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), "found no plain file");
    CHECK_STATUS(csl_zip_open("/no/such/archive", &zip), CSL_E_NOT_FOUND);
    char path[512];
    snprintf(path, sizeof path, "%s/pipe", csl_test_directory());
    remove(path);
    CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0); /* nobody ever writes into it */
    CHECK_STATUS(csl_zip_open(path, &zip), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), "found no plain file");
}

static void check_unreadable(const archive *a, csl_status expected, const char *why)
{
    uint8_t read[CONTENT];
    csl_zip zip = {0};
    CHECK_OK(csl_zip_open(store(a), &zip));
    CU_ASSERT_PTR_NOT_NULL_FATAL(zip.members);
    CHECK_STATUS(csl_zip_read(&zip, &zip.members[0], CONTENT, read), (int)expected);
    CHECK_CONTAINS(csl_error_message(), why);
    csl_zip_close(&zip);
}

static void damaged_members_are_refused(void)
{
    archive a = build(STORED, false);
    a.bytes[a.entry - 1] ^= 1;
    check_unreadable(&a, CSL_E_VERIFY, "checksum does not hold");
    a = build(STORED, false);
    a.bytes[0] = 'Q';
    check_unreadable(&a, CSL_E_FORMAT, "expected a member's header");
    a = build(STORED, false);
    set(&a, a.entry + 42, UINT32_MAX - 1, 4);
    check_unreadable(&a, CSL_E_FORMAT, "found the end");
    a = build(DEFLATED, false);
    a.bytes[35] = 0x07; /* no such kind of block */
    check_unreadable(&a, CSL_E_FORMAT, "found damaged data after 0");
    a = build(DEFLATED, false);
    set(&a, a.entry + 20, 9, 4); /* cut short */
    check_unreadable(&a, CSL_E_FORMAT, "found damaged data after");
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"members are read in every form", members_are_read_in_every_form},
        {"damaged ZIP64 records are refused", damaged_zip64_records_are_refused},
        {"damaged entries are refused", damaged_entries_are_refused},
        {"damaged members are refused", damaged_members_are_refused},
    };
    return csl_test_main("zip archive", cases, sizeof cases / sizeof *cases);
}
