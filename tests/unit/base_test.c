#include "test_support.h"

#include <consilium/hash.h>
#include <consilium/log.h>
#include <consilium/text.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FIPS 180-4 examples. */
static void sha256_gives_the_published_digests(void)
{
    uint8_t digest[CSL_SHA256_SIZE];
    char text[CSL_SHA256_TEXT_SIZE];
    CHECK_OK(csl_sha256("abc", 3, digest));
    csl_hex(digest, sizeof digest, text);
    CU_ASSERT_STRING_EQUAL(text,
                           "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK_OK(csl_sha256("", 0, digest));
    csl_hex(digest, sizeof digest, text);
    CU_ASSERT_STRING_EQUAL(text,
                           "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void a_digest_in_pieces_equals_the_digest_at_once(void)
{
    uint8_t bytes[1000];
    uint8_t at_once[CSL_SHA256_SIZE];
    uint8_t in_pieces[CSL_SHA256_SIZE];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)csl_test_random();
    }
    CHECK_OK(csl_sha256(bytes, sizeof bytes, at_once));
    csl_hash *hash = NULL;
    CHECK_OK(csl_hash_create(&hash));
    size_t done = 0;
    while (done < sizeof bytes) {
        size_t size = (size_t)(csl_test_random() % 100);
        size = size > sizeof bytes - done ? sizeof bytes - done : size;
        CHECK_OK(csl_hash_update(hash, bytes + done, size));
        done += size;
    }
    CHECK_OK(csl_hash_finish(hash, in_pieces));
    csl_hash_destroy(hash);
    CU_ASSERT(memcmp(at_once, in_pieces, sizeof at_once) == 0);
}

static void hexadecimal_text_reads_back_and_bad_text_is_refused(void)
{
    uint8_t bytes[2] = {1, 2};
    CHECK_OK(csl_unhex("fFa0", 2, bytes));
    CHECK_U64(bytes[0], 0xff);
    CHECK_U64(bytes[1], 0xa0);
    CHECK_STATUS(csl_unhex("ffa", 2, bytes), CSL_E_FORMAT);
    CHECK_STATUS(csl_unhex("ffag", 2, bytes), CSL_E_FORMAT);
    CHECK_CONTAINS(csl_error_message(), "character 4");
    CHECK_U64(bytes[0], 0xff);
}

static void the_nearest_name_is_what_a_person_meant(void)
{
    static const char *const names[] = {"momentum",  "batch", "local_epochs", "lr", "nesterov",
                                        "dirichlet", NULL};
    static const char *const meant[][2] = {
        {"momentun", "momentum"},         {"moemntum", "momentum"}, {"Batch", "batch"},
        {"local-epochs", "local_epochs"}, {"epochs", NULL},         {"l", "lr"},
        {"diriclet", "dirichlet"},        {"quantisation", NULL},   {"bacth", "batch"}};
    for (size_t i = 0; i < sizeof meant / sizeof *meant; i++) {
        const char *nearest = csl_nearest_name(meant[i][0], names);
        if (meant[i][1]) {
            CU_ASSERT_FATAL(nearest != NULL);
            CU_ASSERT_STRING_EQUAL(nearest, meant[i][1]);
        } else {
            CU_ASSERT_PTR_NULL(nearest);
        }
    }
    char endless[5000];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    CU_ASSERT_PTR_NULL(csl_nearest_name(endless, names));
}

static void numbers_in_text_read_back_to_the_same_bits(void)
{
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = csl_test_random();
        double value;
        float single;
        memcpy(&value, &bits, sizeof value);
        memcpy(&single, &bits, sizeof single);
        csl_text text = {0};
        if (isfinite(value)) {
            csl_text_add_double(&text, value);
            CU_ASSERT(strtod(csl_text_string(&text), NULL) == value);
        }
        csl_text_clear(&text);
        if (isfinite(single)) {
            csl_text_add_float(&text, single);
            CU_ASSERT(strtof(csl_text_string(&text), NULL) == single);
        }
        csl_text_clear(&text);
    }
    csl_text text = {0};
    csl_text_add_float(&text, 0.1f);
    csl_text_fill(&text, '-', 3);
    csl_text_format(&text, "%d%s", 42, "");
    CU_ASSERT_STRING_EQUAL(csl_text_string(&text), "0.1---42");
    CHECK_OK(csl_text_status(&text));
    csl_text_clear(&text);
}

static void utf8_is_told_from_other_bytes(void)
{
    static const char *const good[] = {"", "plain", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static const char *const bad[] = {
        "a\xc3", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK_U64(csl_utf8_check(good[i], strlen(good[i])), strlen(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CU_ASSERT(csl_utf8_check(bad[i], strlen(bad[i])) < strlen(bad[i]));
    }
    CHECK_U64(csl_utf8_width("M\xc3\xbcnchen"), 7);
}

static char logged_[256];
static void remember(void *context, csl_log_level level, const char *component, const char *text)
{
    (void)context;
    snprintf(logged_, sizeof logged_, "%s %s: %s", csl_log_level_name(level), component, text);
}

static void log_lines_reach_the_handler_only_at_its_level(void)
{
    csl_log(CSL_LOG_ERROR, "test", "nobody listens");
    csl_log_install(remember, NULL, CSL_LOG_INFO);
    csl_log(CSL_LOG_DEBUG, "test", "too talkative");
    CU_ASSERT_STRING_EQUAL(logged_, "");
    csl_log(CSL_LOG_WARN, "test", "value %d\nforged line", 7);
    CU_ASSERT_STRING_EQUAL(logged_, "warn test: value 7 forged line");
    csl_log_install(NULL, NULL, CSL_LOG_ERROR);
    csl_log_level level = CSL_LOG_TRACE;
    CHECK_OK(csl_log_level_parse("debug", &level));
    CHECK_U64(level, CSL_LOG_DEBUG);
    CHECK_STATUS(csl_log_level_parse("wran", &level), CSL_E_NOT_FOUND);
    CHECK_CONTAINS(csl_error_message(), "nearest is warn");
}

static void clocks_run_forward_and_name_the_time_in_utc(void)
{
    double earlier = csl_clock_seconds();
    char text[CSL_UTC_TEXT_SIZE];
    csl_clock_utc(text);
    CU_ASSERT(csl_clock_seconds() >= earlier);
    CHECK_U64(strlen(text), CSL_UTC_TEXT_SIZE - 1);
    CHECK_U64((unsigned char)text[10], 'T');
    CHECK_U64((unsigned char)text[23], 'Z');
}

int main(void)
{
    static const csl_test_case cases[] = {
        {"SHA-256 gives the published digests", sha256_gives_the_published_digests},
        {"a digest in pieces equals the digest at once",
         a_digest_in_pieces_equals_the_digest_at_once},
        {"hexadecimal text reads back", hexadecimal_text_reads_back_and_bad_text_is_refused},
        {"the nearest name is what a person meant", the_nearest_name_is_what_a_person_meant},
        {"numbers in text read back", numbers_in_text_read_back_to_the_same_bits},
        {"UTF-8 is told from other bytes", utf8_is_told_from_other_bytes},
        {"log lines reach the handler", log_lines_reach_the_handler_only_at_its_level},
        {"clocks run forward", clocks_run_forward_and_name_the_time_in_utc},
    };
    return csl_test_main("base", cases, sizeof cases / sizeof *cases);
}
