/* PyTorch in a process of its own, which trains or computes when asked to. */
#ifndef CSL_BENCH_PEER_H
#define CSL_BENCH_PEER_H

#include <consilium/model.h>
#include <jansson.h>

typedef struct csl_bench_peer csl_bench_peer;

/* Starts `python` with the network of `spec` and waits until it is warm. NULL if there is no such
 * interpreter or it has no PyTorch; quiet keeps the reason off standard error. */
csl_bench_peer *csl_bench_peer_start(
    const char *python, const csl_model_spec *spec, uint32_t batch, uint32_t threads, bool quiet);
/* The same with a script of ours, which answers the line of JSON that `run` describes with "ready
 * VERSION". Takes `run` over, which may be NULL where memory is out. */
csl_bench_peer *
csl_bench_peer_open(const char *python, const char *script, json_t *run, bool quiet);
/* "2.15.0", lent. */
const char *csl_bench_peer_version(const csl_bench_peer *peer);
/* Asks for `what` (no spaces: a memory format to train in, a kernel) during about so many seconds;
 * the number that the script answers, or NAN if the process ended or knows no such thing. */
double csl_bench_peer_run(csl_bench_peer *peer, const char *what, double seconds);
/* Ends the process; NULL is allowed. */
void csl_bench_peer_stop(csl_bench_peer *peer);

#endif
