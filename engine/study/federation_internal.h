/* The coordinates of a model by treatment, and a walk over them; shared by the files of this
 * folder. */
#ifndef CSL_FEDERATION_INTERNAL_H
#define CSL_FEDERATION_INTERNAL_H

#include <consilium/federation.h>

typedef struct csl_segment {
    size_t begin;
    size_t end;
    csl_treatment treatment;
    bool local; /* batch norm that stays at the institution */
} csl_segment;

struct csl_federation {
    csl_federation_options options;
    size_t parameter_count;
    size_t local_count;
    uint32_t segment_count;
    csl_segment *segments; /* ascending, without gaps */
};

/* The part of a range that lies in one segment. */
typedef struct csl_piece {
    size_t begin;
    size_t end;
    csl_treatment treatment;
    bool local;
    /* Where the walk stands. */
    const csl_federation *federation;
    size_t next;
    size_t stop;
    uint32_t index;
} csl_piece;

CSL_MUST_CHECK csl_status csl_federation_check_range(const csl_federation *federation,
                                                     size_t begin,
                                                     size_t count);
/* A walk over [begin, begin + count), which csl_federation_check_range accepted. */
csl_piece csl_federation_first_piece(const csl_federation *federation, size_t begin, size_t count);
/* Moves to the next piece; false at the end. */
bool csl_federation_next_piece(csl_piece *piece);
/* out = minuend - subtrahend, each rounded once, -0.0 made +0.0; out may be one of the others.
 * Returns the first coordinate whose difference is not finite, and leaves the rest of `out`
 * unspecified then; else count. */
size_t
csl_federation_subtract(const float *minuend, const float *subtrahend, float *out, size_t count);

#endif
