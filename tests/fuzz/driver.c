/*
 * Runs a fuzz target without libFuzzer: every file of the seed corpus, then random changes of the
 * seeds for some seconds. Usage: TARGET CORPUS_FOLDER [SECONDS]. CSL_SEED replays; the input at
 * hand lies in crash-input of the working directory when the target dies.
 */
#include "test_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SEEDS_MAX = 256, INPUT_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    uint8_t *bytes;
    size_t size;
} input;

static input seeds_[SEEDS_MAX];
static size_t seed_count_;
static uint8_t current_[INPUT_MAX];
static size_t current_size_;

/* Keeps the input that killed the target; only calls that are safe in a signal handler. */
static void keep_input(int signal_number)
{
    int descriptor = open("crash-input", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (descriptor >= 0) {
        ssize_t written = write(descriptor, current_, current_size_);
        (void)written;
        close(descriptor);
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* The target gets its own copy of exactly that size, so that a sanitizer sees reads past the end.
 */
static void run_current(void)
{
    uint8_t *copy = malloc(current_size_ ? current_size_ : 1);
    if (copy) {
        memcpy(copy, current_, current_size_);
        LLVMFuzzerTestOneInput(copy, current_size_);
        free(copy);
    }
}

static void load_seed(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file || seed_count_ == SEEDS_MAX) {
        if (file) {
            fclose(file);
        }
        return;
    }
    size_t size = fread(current_, 1, sizeof current_, file);
    fclose(file);
    uint8_t *bytes = malloc(size ? size : 1);
    if (bytes) {
        memcpy(bytes, current_, size);
        seeds_[seed_count_++] = (input){bytes, size};
    }
}

static size_t below(size_t bound)
{
    return bound ? (size_t)(csl_test_random() % bound) : 0;
}

/* One random change: a flipped bit, an odd byte, a removed, repeated or foreign stretch. */
static void change_current(void)
{
    static const uint8_t odd[] = {0x00, 0xff, 0x7f, 0x80, '"', '\n', ':', '{', '[', '-'};
    const input *other = &seeds_[below(seed_count_)];
    size_t at = below(current_size_ + 1);
    size_t count = below(32);
    switch (below(5)) {
    case 0:
        if (at < current_size_) {
            current_[at] ^= (uint8_t)(1u << below(8));
        }
        break;
    case 1:
        if (at < current_size_) {
            current_[at] = odd[below(sizeof odd)];
        }
        break;
    case 2:
        count = count > current_size_ - at ? current_size_ - at : count;
        memmove(current_ + at, current_ + at + count, current_size_ - at - count);
        current_size_ -= count;
        break;
    case 3:
        count = count > other->size ? other->size : count;
        if (current_size_ + count <= INPUT_MAX) {
            memmove(current_ + at + count, current_ + at, current_size_ - at);
            if (count > 0) {
                memcpy(current_ + at, other->bytes + below(other->size - count + 1), count);
            }
            current_size_ += count;
        }
        break;
    default:
        current_size_ = below(16) == 0 ? at : current_size_;
        break;
    }
}

int main(int argc, char **argv)
{
    DIR *folder = argc > 1 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER [SECONDS]\n", argv[0]);
        return 2;
    }
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] != '.') {
            load_seed(argv[1], entry->d_name);
        }
    }
    closedir(folder);
    if (seed_count_ == 0) {
        fprintf(stderr, "%s: no seeds\n", argv[1]);
        return 2;
    }
    signal(SIGSEGV, keep_input);
    signal(SIGABRT, keep_input);
    csl_test_seed();
    uint64_t run_count = 0;
    for (size_t i = 0; i < seed_count_; i++, run_count++) {
        current_size_ = seeds_[i].size;
        memcpy(current_, seeds_[i].bytes, current_size_);
        run_current();
    }
    time_t end = time(NULL) + (argc > 2 ? strtol(argv[2], NULL, 10) : 3);
    while (time(NULL) < end) {
        const input *seed = &seeds_[below(seed_count_)];
        current_size_ = seed->size;
        memcpy(current_, seed->bytes, current_size_);
        for (size_t changes = 1 + below(8); changes > 0; changes--) {
            change_current();
        }
        run_current();
        run_count++;
    }
    printf("%llu inputs from %zu seeds\n", (unsigned long long)run_count, seed_count_);
    for (size_t i = 0; i < seed_count_; i++) {
        free(seeds_[i].bytes);
    }
    return 0;
}
