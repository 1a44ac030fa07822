/*
 * The table of operations that a device carries.
 *
 * Each list entry is X(name, exactness, absolute, relative, (parameters), (arguments)): one
 * declaration from which the table, the guard device's wrappers, the parity tests and the table in
 * docs/ are expanded. `absolute` and `relative` bound |result - oracle| <= absolute + relative *
 * |oracle|_inf for BOUNDED operations and are 0 for EXACT ones.
 *
 * All pointers are device memory unless the name says host. Every operation returns a status and
 * takes the device first. No operation allocates device memory, except where a prepared object is
 * created. Arrays do not overlap unless the comment says "may be the same".
 */
#ifndef CONSILIUM_KERNELS_H
#define CONSILIUM_KERNELS_H

#include <consilium/device.h>
#include <consilium/kernels_nn.h>
#include <consilium/kernels_robust.h>

#define CSL_OP_LIST(X)                                                                             \
    CSL_NN_OP_LIST(X)                                                                              \
    CSL_ROBUST_OP_LIST(X)

#define CSL_OP_FIELD(name, exactness, absolute, relative, parameters, arguments)                   \
    csl_status(*name) parameters; /* NOLINT(bugprone-macro-parentheses): a declarator */

struct csl_kernels {
    CSL_OP_LIST(CSL_OP_FIELD)
};

#endif
