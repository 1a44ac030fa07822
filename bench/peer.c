#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
/* bench/peer_train.py, put into the program by CMake so that it needs no file at run time. */
extern const char csl_bench_peer_train_script[];

struct csl_bench_peer {
    pid_t process;
    FILE *to;
    FILE *from;
    char version[64];
};

static json_t *describe_window(const uint32_t values[3])
{
    return json_pack("[i,i,i]", (int)values[0], (int)values[1], (int)values[2]);
}

static json_t *describe_layer(const csl_layer *layer)
{
    static const char *const kinds[] = {
        [CSL_LAYER_CONV] = "conv",
        [CSL_LAYER_LINEAR] = "linear",
        [CSL_LAYER_BATCH_NORM] = "batch_norm",
        [CSL_LAYER_GROUP_NORM] = "group_norm",
        [CSL_LAYER_RELU] = "relu",
        [CSL_LAYER_MAX_POOL] = "max_pool",
        [CSL_LAYER_AVERAGE_POOL] = "average_pool",
        [CSL_LAYER_GLOBAL_MAX_POOL] = "global_max_pool",
        [CSL_LAYER_GLOBAL_AVERAGE_POOL] = "global_average_pool",
        [CSL_LAYER_DROPOUT] = "dropout",
        [CSL_LAYER_ADD] = "add",
    };
    return json_pack("{s:s,s:i,s:i,s:i,s:i,s:b,s:f,s:o,s:o,s:o,s:o}", "kind", kinds[layer->kind],
                     "input", (int)layer->input, "from", (int)layer->from, "channels",
                     (int)layer->channels, "groups", (int)layer->groups, "bias", (int)layer->bias,
                     "rate", (double)layer->rate, "size", describe_window(layer->window.size),
                     "stride", describe_window(layer->window.stride), "padding",
                     describe_window(layer->window.padding), "dilation",
                     describe_window(layer->window.dilation));
}

static json_t *describe_run(const csl_model_spec *spec, uint32_t batch, uint32_t threads)
{
    json_t *layers = json_array();
    for (uint32_t i = 0; i < spec->layer_count; i++) {
        json_array_append_new(layers, describe_layer(&spec->layers[i]));
    }
    return json_pack("{s:i,s:i,s:i,s:i,s:o,s:o}", "batch", (int)batch, "threads", (int)threads,
                     "classes", (int)spec->class_count, "channels", (int)spec->input.channels,
                     "extent", describe_window(spec->input.extent), "layers", layers);
}

static int
spawn(const char *python, const char *script, int input, int output, bool quiet, pid_t *process_out)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        return ENOMEM;
    }
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (quiet) {
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    }
    char *const arguments[] = {(char *)python, "-c", (char *)script, NULL};
    int error = posix_spawnp(process_out, python, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static void close_on_exec(int descriptor)
{
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
}

/* Starts the process with a pipe each way. */
static csl_bench_peer *open_peer(const char *python, const char *script, bool quiet)
{
    int down[2], up[2];
    if (pipe(down) != 0) {
        return NULL;
    }
    if (pipe(up) != 0) {
        close(down[0]);
        close(down[1]);
        return NULL;
    }
    close_on_exec(down[1]);
    close_on_exec(up[0]);
    pid_t process = 0;
    int error = spawn(python, script, down[0], up[1], quiet, &process);
    close(down[0]);
    close(up[1]);
    csl_bench_peer *peer = error ? NULL : calloc(1, sizeof *peer);
    if (!peer) {
        close(down[1]);
        close(up[0]);
        return NULL;
    }
    *peer = (csl_bench_peer){
        .process = process, .to = fdopen(down[1], "w"), .from = fdopen(up[0], "r")};
    return peer;
}

csl_bench_peer *csl_bench_peer_open(const char *python, const char *script, json_t *run, bool quiet)
{
    signal(SIGPIPE, SIG_IGN); /* a peer that dies shows as an end of file */
    csl_bench_peer *peer = open_peer(python, script, quiet);
    bool sent = peer && peer->to && peer->from && run &&
                json_dumpf(run, peer->to, JSON_COMPACT) == 0 && fputc('\n', peer->to) != EOF &&
                fflush(peer->to) == 0;
    json_decref(run);
    char line[128];
    if (!sent || !fgets(line, sizeof line, peer->from) ||
        sscanf(line, "ready %63s", peer->version) != 1) {
        csl_bench_peer_stop(peer);
        return NULL;
    }
    return peer;
}

csl_bench_peer *csl_bench_peer_start(
    const char *python, const csl_model_spec *spec, uint32_t batch, uint32_t threads, bool quiet)
{
    return csl_bench_peer_open(python, csl_bench_peer_train_script,
                               describe_run(spec, batch, threads), quiet);
}

const char *csl_bench_peer_version(const csl_bench_peer *peer)
{
    return peer->version;
}

double csl_bench_peer_run(csl_bench_peer *peer, const char *what, double seconds)
{
    char line[64];
    char *end = line;
    if (fprintf(peer->to, "%s %.3f\n", what, seconds) < 0 || fflush(peer->to) != 0 ||
        !fgets(line, sizeof line, peer->from)) {
        return NAN;
    }
    double number = strtod(line, &end);
    return end == line ? NAN : number;
}

void csl_bench_peer_stop(csl_bench_peer *peer)
{
    if (!peer) {
        return;
    }
    if (peer->to) {
        fclose(peer->to);
    }
    if (peer->from) {
        fclose(peer->from);
    }
    waitpid(peer->process, NULL, 0);
    free(peer);
}
