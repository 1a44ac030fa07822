/* PyTorch in a process of its own, which trains when asked to. */
#ifndef CSL_BENCH_PEER_H
#define CSL_BENCH_PEER_H

#include <consilium/model.h>

typedef struct csl_bench_peer csl_bench_peer;

/* Starts `python` with the network of `spec` and waits until it is warm. NULL if there is no such
 * interpreter or it has no PyTorch; quiet keeps the reason off standard error. */
csl_bench_peer *csl_bench_peer_start(
    const char *python, const csl_model_spec *spec, uint32_t batch, uint32_t threads, bool quiet);
/* "2.15.0", lent. */
const char *csl_bench_peer_version(const csl_bench_peer *peer);
/* Trains for about so many seconds in a memory format ("default", "channels_last"); images per
 * second, or NAN if the process ended. */
double csl_bench_peer_run(csl_bench_peer *peer, const char *memory_format, double seconds);
/* Ends the process; NULL is allowed. */
void csl_bench_peer_stop(csl_bench_peer *peer);

#endif
